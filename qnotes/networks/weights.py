"""Named networks with weights from one of three sources: digits, imagenet, random."""

import hashlib
import json
from collections.abc import Callable
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from qnotes.errors import QnotesError, WeightsUnavailable
from qnotes.files import data_folder
from qnotes.networks._torchvision import torchvision
from qnotes.networks.architectures import FULL, SMALL, STORED, Architecture, seeded
from qnotes.networks.preprocessing import DIGITS, PLAIN, Preprocessing

# -- the public face -------------------------------------------------------------------------------


def load(name: str, *, weights: str = "digits", seed: int = 0) -> nn.Module:
    """A named network with its weights, float32, in eval mode.

    ``weights`` is the source:

    - ``"digits"`` trained by this project on scikit-learn's handwritten digits and stored in the
      folder ``data`` (or in the folder that the environment variable ``QNOTES_DATA`` names); the
      file is compared with the sha256 in the manifest. Takes (n, 1, 32, 32) in [-1, 1].
    - ``"imagenet"`` torchvision's pretrained ``IMAGENET1K_V1``, downloaded by torchvision into
      torch's hub folder, compared with the sha256 in the file name. V1 and not V2, because only
      V1 exists for all of these networks: one training recipe, so that a comparison across depth
      compares depth. Takes (n, 3, h, w). For ``mobilenet_v2_features`` and ``efficientnet_lite0``
      the weights are stored in the folder ``data``, too: no download.
    - ``"random"`` initialized from ``seed`` (the only source that reads it), with batch-norm
      statistics measured on seeded noise. Torch's global random state stays as it was.

    See :func:`names` for the networks of each source. Raises
    :class:`~qnotes.errors.QnotesError` for an unknown name or source and
    :class:`~qnotes.errors.WeightsUnavailable` where weights are missing, damaged, or offline.
    """
    architecture = _architecture(name, weights)
    _, load_weights, _ = _SOURCES[weights]
    return load_weights(name, architecture, seed).eval()


def names(weights: str = "digits") -> tuple[str, ...]:
    """The names that :func:`load` knows for one weight source."""
    return tuple(_source(weights))


def input_shape(name: str, weights: str = "digits") -> tuple[int, int, int, int]:
    """The shape of one input: (1, 1, 32, 32) for small images, (1, 3, 224, 224) for ImageNet."""
    return _architecture(name, weights).input_shape


def preprocessing(name: str, weights: str = "digits") -> Preprocessing:
    """What the network expects of an image; its `radius` is the D of the box of all images.

    Networks with random weights have seen no images: for them pixels are scaled to [-1, 1].
    """
    architecture = _architecture(name, weights)
    if weights == "random":
        return DIGITS if architecture.input_shape[1] == 1 else PLAIN
    return architecture.preprocessing


def provenance(name: str, weights: str = "digits", seed: int = 0) -> dict[str, Any]:
    """Where the weights of :func:`load` come from, to stand under a figure.

    Keys: ``name``, ``weights``, ``source``, ``file``, ``sha256``, ``seed``, ``test_accuracy``
    (a fraction, with the images it was measured on in ``test_set``); None where there is none.
    For torchvision's weights ``sha256`` has the eight digits that it publishes, and the accuracy
    is the one it publishes; for "digits" ``seed`` is the one of the training.
    """
    _architecture(name, weights)
    _, _, about = _SOURCES[weights]
    return {"name": name, "weights": weights, **about(name, seed)}


# -- names -----------------------------------------------------------------------------------------


def _source(weights: str) -> dict[str, Architecture]:
    if not isinstance(weights, str) or weights not in _SOURCES:
        known = ", ".join(map(repr, SOURCES))
        raise QnotesError(f"unknown source of weights {weights!r}; pass one of {known}.")
    return _SOURCES[weights][0]


def _architecture(name: str, weights: str) -> Architecture:
    known = _source(weights)
    if not isinstance(name, str) or name not in known:
        raise QnotesError(
            f"unknown network {name!r} for weights={weights!r}; known are {', '.join(known)}."
            + _suggestion(str(name), known)
        )
    return known[name]


def _suggestion(name: str, known: dict[str, Architecture]) -> str:
    elsewhere = [f"weights={w!r}" for w, (table, *_) in _SOURCES.items() if name in table]
    if elsewhere:
        return f" {name} exists with {' and '.join(elsewhere)}."
    close = get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


# -- stored: digits networks of this project, and ImageNet's that packages ship --------------------


def _load_stored(name: str, architecture: Architecture, seed: int) -> nn.Module:
    model = architecture.build()
    path, state = _checkpoint(name)
    _fill(model, state, path.name)
    return model


def _digits_provenance(name: str, seed: int) -> dict[str, Any]:
    return about_training(_manifest_entry(name))


def about_training(entry: dict[str, Any]) -> dict[str, Any]:
    """What an entry of the manifest, or one made like it, says about where weights come from."""
    return {
        "source": "trained by this project on the digits of scikit-learn",
        **{key: entry.get(key) for key in ("file", "sha256", "seed", "test_accuracy")},
        "test_set": "digits, held-out third",
    }


def _shipped_provenance(name: str) -> dict[str, Any]:
    entry = _manifest_entry(name)
    origin = entry.get("origin", {})
    return {
        "source": f"{entry.get('weights')}; from {origin.get('package')}; {entry.get('licences')}",
        **{key: entry.get(key) for key in ("file", "sha256")},
        **dict.fromkeys(("seed", "test_accuracy", "test_set")),
    }


def _checkpoint(name: str) -> tuple[Path, dict[str, Tensor]]:
    entry = _manifest_entry(name)
    path = data_folder() / entry["file"]
    if not path.is_file():
        raise _unavailable(f"the checkpoint of {name!r} is missing: no file {path}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != entry["sha256"]:
        raise _unavailable(
            f"the checkpoint {path} is damaged or was changed: the manifest expects sha256 "
            f"{entry['sha256']}, the file has {found}"
        )
    try:
        return path, parse_safetensors(content)
    except SafetensorError as error:
        raise _unavailable(f"{path} is no safetensors file: {error}") from error


def _unavailable(what: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"{what}. Restore it from the repository, run `make checkpoints` (trains the digits "
        "networks again) or `make weights` (fetches ImageNet's), or let the environment variable "
        "QNOTES_DATA name a folder that has it."
    )


def _manifest_entry(name: str) -> dict[str, Any]:
    folder = data_folder()
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise _unavailable(f"no data folder: looked for {folder.absolute()}")
    if not path.is_file():
        raise _unavailable(f"the data folder has no manifest: no file {path}")
    entry = read_manifest(path).get(name)
    if not isinstance(entry, dict) or not {"file", "sha256"} <= entry.keys():
        raise _unavailable(f"{path} has no entry with file and sha256 for {name!r}")
    return entry


def read_manifest(path: Path) -> dict[str, Any]:
    """The networks of a manifest by name; WeightsUnavailable where it cannot be read."""
    try:
        networks = json.loads(path.read_text(encoding="utf-8"))["networks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unavailable(f"cannot read the manifest {path}: {error!r}") from error
    if not isinstance(networks, dict):
        raise _unavailable(f"{path}: 'networks' must map names to entries")
    return networks


def _fill(model: nn.Module, state: dict[str, Tensor], file: str) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsUnavailable(
            f"the weights in {file} do not fit the {type(model).__name__} that this version of "
            f"qnotes builds; use the file that belongs to this version. {error}"
        ) from error


# -- imagenet: torchvision's own -------------------------------------------------------------------


def _load_imagenet(name: str, architecture: Architecture, seed: int) -> nn.Module:
    if name in STORED:
        return _load_stored(name, architecture, seed)
    model = architecture.build()
    _fill(model, _imagenet_state(name), _imagenet_path(name).name)
    return model


def _imagenet_provenance(name: str, seed: int) -> dict[str, Any]:
    if name in STORED:
        return _shipped_provenance(name)
    entry, path = _imagenet_entry(name), _imagenet_path(name)
    return {
        "source": f"torchvision {torchvision.__version__} {entry!r}",
        "file": path.name,
        "sha256": _published_hash(path),
        "seed": None,
        "test_accuracy": round(entry.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
        "test_set": "ImageNet validation, top-1, as torchvision publishes it",
    }


def _imagenet_entry(name: str) -> Any:
    return torchvision.models.get_model_weights(name).IMAGENET1K_V1


def _imagenet_path(name: str) -> Path:
    file = Path(urlparse(_imagenet_entry(name).url).path).name
    return Path(torch.hub.get_dir()) / "checkpoints" / file


def _imagenet_state(name: str) -> dict[str, Tensor]:
    path = _imagenet_path(name)
    if path.exists():
        # torchvision checks what it downloads, not what is there.
        with path.open("rb") as file:
            found, expected = hashlib.file_digest(file, "sha256").hexdigest(), _published_hash(path)
        if not found.startswith(expected):
            raise WeightsUnavailable(
                f"the file {path} is damaged: its name promises a sha256 that starts with "
                f"{expected}, it has {found}. Delete it, so that it is downloaded again."
            )
    try:
        return _imagenet_entry(name).get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsUnavailable(
            f"cannot download {path.name} into {path.parent} ({error}): put the file there, or "
            f'load({name!r}, weights="random"), or another network with weights="digits".'
        ) from error


def _published_hash(path: Path) -> str:
    """The digits after the last dash: torchvision names its files ``name-<sha256 prefix>.pth``."""
    return path.stem.rpartition("-")[2]


# -- random: seeded, with calibrated batch norm ----------------------------------------------------


def _load_random(name: str, architecture: Architecture, seed: int) -> nn.Module:
    model = architecture.build(seed=seed)
    calibrate(model, noise(architecture.input_shape, seed))
    return model


def _random_provenance(name: str, seed: int) -> dict[str, Any]:
    source = "seeded initialization, batch norm calibrated on noise"
    nothing = dict.fromkeys(("file", "sha256", "test_accuracy", "test_set"))
    return {"source": source, "seed": seed, **nothing}


def noise(shape: tuple[int, int, int, int], seed: int) -> Tensor:
    """Clipped normal noise in [-1, 1]: many small images, or few large ones (memory and time)."""
    images = 16 if shape[-1] <= 32 else 2
    with seeded(seed):
        return torch.randn(images, *shape[1:]).clamp(-1, 1)


def calibrate(model: nn.Module, images: Tensor) -> None:
    """Set the statistics of every batch norm to those of ``images``; changes ``model``.

    An untrained batch norm with mean 0 and variance 1 normalizes nothing, and activations would
    double from block to block. Dropout stays off.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = None  # the plain average over the batches seen
    with torch.no_grad():
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


#: Of every source: the networks it has, how to load one, and what to say about it.
_SOURCES: dict[str, tuple[dict[str, Architecture], Callable, Callable]] = {
    "digits": (SMALL, _load_stored, _digits_provenance),
    "imagenet": (STORED | FULL, _load_imagenet, _imagenet_provenance),
    "random": (FULL | STORED | SMALL, _load_random, _random_provenance),
}
SOURCES = tuple(_SOURCES)
