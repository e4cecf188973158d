"""Train the networks of the book on the digits: `python -m data.train`, or `make checkpoints`.

Each is trained from three seeds, so that it can be seen what a number owes to one training. Of seed
0 the weights are kept; of all seeds the profiles, with what only weights can tell.
"""

import argparse
import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn
from tqdm import tqdm

from qnotes.errors import QnotesError, WeightsUnavailable
from qnotes.files import write_whole
from qnotes.networks._torchvision import torchvision
from qnotes.networks.architectures import SMALL, seeded
from qnotes.networks.digits import digits
from qnotes.networks.training import fit
from qnotes.networks.weights import data_folder, read_manifest
from qnotes.observation import accuracy
from qnotes.propagation.profiles import STORED_BITS, STORED_SEEDS, Profile, stored_name
from qnotes.threads import one_thread

from . import measure

KEPT = 0  # the seed whose weights are kept
EPOCHS = 12
EPOCHS_OF_DEEP = {"resnet56": 18, "resnet110": 24}  # with 12, ResNet-110 stays below 97 %
REQUIRED_ACCURACY = 0.97


@dataclass(frozen=True)
class Trained:
    """A trained network in eval mode, its accuracy on held-out digits, and how it was made."""

    model: nn.Module
    test_accuracy: float
    seed: int
    epochs: int


def train(
    name: str,
    *,
    seed: int = KEPT,
    epochs: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Trained:
    """Train a small network on the digits from scratch.

    AdamW with decoupled weight decay (Loshchilov and Hutter 2019) under a one-cycle learning rate
    (Smith and Topin 2019), images shifted by up to three pixels. ``epochs`` is 12 by default, and
    more for the deepest networks; ``progress`` is called after each. The same seed gives the same
    weights with the same versions and kind of processor; torch's global random state stays as it
    was. Raises :class:`~qnotes.errors.QnotesError` for an unknown name or fewer than one epoch.
    """
    _check(name, epochs)
    epochs = _epochs(name, epochs)
    images, labels = digits("train")
    model = SMALL[name].build(seed=seed).to(memory_format=torch.channels_last)  # twice as fast
    with seeded(seed), one_thread():
        fit(model, images, labels, epochs=epochs, progress=progress)
    model = model.to(memory_format=torch.contiguous_format).eval()
    return Trained(model, accuracy(model, *digits("test")), seed, epochs)


def save(name: str, trained: Trained, folder: Path) -> dict[str, Any]:
    """Store a network as ``folder/name.safetensors``, enter it in the manifest, return the entry.

    Both files are written beside their places and then moved into them, so that an interruption
    leaves the earlier ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = to_safetensors(trained.model.state_dict())
    entry = _entry(name, trained, content)
    manifest = _as_json(_earlier(folder) | {name: entry})
    write_whole(folder, {entry["file"]: content, "manifest.json": manifest})
    return entry


def keep(name: str, trained: Trained, folder: Path) -> None:
    """Store what the book keeps of a training: profiles in ``folder/profiles``, weights of seed 0.

    The profiles have the sha256 of the weights, so that whoever trains again can compare.
    """
    if trained.seed == KEPT:
        entry = save(name, trained, folder)
    else:
        content = to_safetensors(trained.model.state_dict())
        entry = _entry(name, trained, content) | {"file": None}
    with one_thread():  # the same sums on any machine
        measure.store(measure.measure_training(name, trained.model, entry), folder / "profiles")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the named networks (all, if none is named), store them, compare their accuracies."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options.names or list(SMALL), options.data, options.seeds, options.epochs)
    except QnotesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was finished is stored, the rest is as before", file=sys.stderr)
        return 130


def _epochs(name: str, given: int | None) -> int:
    return EPOCHS_OF_DEEP.get(name, EPOCHS) if given is None else given


def _check(name: str, epochs: int | None) -> None:
    if name not in SMALL:
        raise QnotesError(f"unknown network {name!r}; trained here are {', '.join(SMALL)}.")
    if epochs is not None and epochs < 1:
        raise QnotesError(f"epochs must be at least 1, got {epochs!r}.")


def _entry(name: str, trained: Trained, content: bytes) -> dict[str, Any]:
    architecture = SMALL[name]
    return {
        "architecture": {
            "name": architecture.builder.__name__,
            "arguments": architecture.arguments,
        },
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "test_accuracy": round(trained.test_accuracy, 5),
        "seed": trained.seed,
        "epochs": trained.epochs,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    import sklearn

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "scikit-learn": sklearn.__version__,
    }


def _as_json(networks: dict[str, Any]) -> bytes:
    ordered = {name: networks[name] for name in SMALL if name in networks}
    return (json.dumps({"networks": ordered | networks}, indent=2) + "\n").encode()


def _earlier(folder: Path) -> dict[str, Any]:
    """The manifest's networks; none where it is missing or damaged, since it is made anew here."""
    try:
        return read_manifest(folder / "manifest.json")
    except WeightsUnavailable:
        return {}


def _run(names: Sequence[str], folder: Path, seeds: Sequence[int], epochs: int | None) -> int:
    for name in names:
        _check(name, epochs)
    _check_writable(folder)
    weak = []
    total = len(seeds) * sum(_epochs(name, epochs) for name in names)
    with tqdm(total=total, unit="epoch") as bar:
        for name, seed in product(names, seeds):
            bar.set_description(f"{name}, seed {seed}")
            before = _accuracy_before(name, seed, folder)
            trained = train(name, seed=seed, epochs=epochs, progress=bar.update)
            bar.write(_report(name, trained, before))
            if trained.test_accuracy < REQUIRED_ACCURACY:
                weak.append(f"{name} (seed {seed})")
            else:
                keep(name, trained, folder)
    return _verdict(weak)


def _accuracy_before(name: str, seed: int, folder: Path) -> float | None:
    """What is stored about an earlier training: in the manifest, or in a profile."""
    if seed == KEPT:
        return _earlier(folder).get(name, {}).get("test_accuracy")
    path = folder / "profiles" / stored_name(name, STORED_BITS[0], seed)
    try:
        return Profile.read(path).provenance.get("test_accuracy")
    except (OSError, ValueError, QnotesError):  # missing or damaged: it is made anew
        return None


def _report(name: str, trained: Trained, before: float | None) -> str:
    line = f"{name:20} seed {trained.seed}: test accuracy {trained.test_accuracy:.2%}"
    if before is None:
        return f"{line}, no earlier one stored"
    return f"{line}, stored {before:.2%} ({trained.test_accuracy - before:+.2%})"


def _verdict(weak: list[str]) -> int:
    if weak:
        print(
            f"error: below the required {REQUIRED_ACCURACY:.0%}, so not stored: {', '.join(weak)}; "
            "more epochs or another seed may help.",
            file=sys.stderr,
        )
    return 1 if weak else 0


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise QnotesError(
            f"cannot write checkpoints into {folder}: {error}; pass another folder with --data."
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"networks to train, of {', '.join(SMALL)}")
    parser.add_argument(
        "--data", type=Path, default=data_folder(), help="folder of the checkpoints (%(default)s)"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=STORED_SEEDS,
        help=f"of weights, order and shifts; 0, 1 and 2 without it. Weights of {KEPT} are kept",
    )
    parser.add_argument(
        "--epochs", type=int, help=f"passes over the training set ({EPOCHS}, more for the deepest)"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
