"""Write the stored profiles again: `python -m data.measure`, or `make profiles`.

Those of the networks whose weights are kept, and those of `open_nsfw` where its package is
installed; the others are measured when they are trained (`data/train.py`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn
from tqdm import tqdm

from data import open_nsfw
from qnotes.errors import QnotesError
from qnotes.experiments import in_precision, versions
from qnotes.networks import digits, fold, input_shape, load, names
from qnotes.networks.weights import about_training, read_manifest
from qnotes.observation import distances, outputs
from qnotes.observation.measured import margins
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.measuring import profile
from qnotes.propagation.profiles import STORED_BITS, Profile, profiles_folder, stored_name
from qnotes.quantization import quantize


def measure(name: str) -> list[Profile]:
    """The profiles of a digits network whose weights are kept, one for each bit-width."""
    entry = read_manifest(profiles_folder().parent / "manifest.json")[name]
    return measure_training(name, load(name), entry)


def measure_training(name: str, model: nn.Module, entry: dict) -> list[Profile]:
    """The profiles of a trained network, quantized as `quantize` does by default.

    Args:
        name: of its architecture.
        model: in eval mode, batch norms not folded.
        entry: what the manifest says about its training, or would say.
    """
    folded, shape = fold(model), input_shape(name)
    images, labels = digits("test")
    answers = _answers(folded, images)
    about = {"name": name, "weights": "digits", **about_training(entry), "epochs": entry["epochs"]}
    found = []
    for bits in STORED_BITS:
        quantized = quantize(folded, bits=bits)
        both = (folded, quantized.model)
        about_bits = {
            **quantized.scheme,
            "log10_T8": float(vector_bound(*both, input_shape=shape).max()),
            "held_out": held_out(answers, _answers(quantized.model, images), labels),
            "versions": versions(),
        }
        found.append(profile(*both, input_shape=shape, provenance=about | about_bits))
    return found


def held_out(answers: Tensor, quantized: Tensor, labels: Tensor) -> dict[str, float]:
    """What quantizing did to the answers on images that training did not see.

    Args:
        answers: outputs of the reference, of shape (images, classes).
        quantized: outputs of the quantized network, of the same shape.
        labels: class numbers, of shape (images,).

    Returns:
        Number of images; ``accuracy`` of the quantized network; largest and median error; and
        ``median_margin``, of the reference.
    """
    errors = distances(answers, quantized)
    return {
        "images": len(labels),
        "accuracy": round((quantized.argmax(1) == labels).double().mean().item(), 5),
        "largest_error": errors.max().item(),
        "median_error": errors.quantile(0.5).item(),
        "median_margin": margins(answers).quantile(0.5).item(),
    }


def _answers(network: nn.Module, images: Tensor) -> Tensor:
    """Outputs in float32, as `sweep` measures: three times as fast as float64."""
    return outputs(in_precision(network, "float32"), images)


def store(profiles: Iterable[Profile], folder: Path) -> None:
    """Write profiles into a folder, each under its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for measured in profiles:
        about = measured.provenance
        options = {key: about[key] for key in ("granularity", "equalization") if key in about}
        name = stored_name(about["name"], about["bits"], about["seed"], **options)
        measured.save(folder / name)


def main(arguments: list[str] | None = None) -> int:
    """Write the profiles of all networks whose weights are at hand; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = (*names(), open_nsfw.NAME)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; all, if none is named")
    parser.add_argument(
        "--folder", type=Path, default=profiles_folder(), help="where to (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    for name in tqdm(options.names or known):
        try:
            store(open_nsfw.measure() if name == open_nsfw.NAME else measure(name), options.folder)
        except QnotesError as error:
            if name != open_nsfw.NAME:
                raise
            print(f"{name}: {error}", file=sys.stderr)
            if options.names:
                return 2
            print(f"{name}: its stored profiles stay as they are", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
