"""A quantized network on disk: tensors in a safetensors file, the rest in a JSON file beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.files import write_whole
from qnotes.networks.operations import AFFINE_MODULES
from qnotes.networks.tracing import trace
from qnotes.quantization.grid import Grid
from qnotes.quantization.layer import QuantizedLayer
from qnotes.quantization.levels import Codebook, Log2Grid
from qnotes.quantization.model import Quantized

FORMAT = 1
GRIDS = {"uniform": Grid, "log2": Log2Grid, "kmeans": Codebook}


def save_quantized(quantized: Quantized, path: str | Path) -> None:
    """Write a quantized network as ``path.safetensors`` and ``path.json``.

    Stored are codes, scales, zero points, levels and biases, not the architecture. The JSON file
    holds the hash of the other, so that two files that do not belong together are not read.

    Args:
        quantized: from `qnotes.quantize`.
        path: where, without an ending.
    """
    path = Path(path)
    tensors, about = {}, {"format": FORMAT, "scheme": dict(quantized.scheme)}
    for kind in ("layers", "biases"):
        about[kind] = {}
        for name, layer in getattr(quantized, kind).items():
            about[kind][name] = _facts(layer)
            tensors |= {f"{kind}/{name}/{key}": t for key, t in _tensors(layer).items()}
    for name, module in quantized.model.named_modules():
        if name in quantized.layers and module.bias is not None:
            tensors[f"bias/{name}"] = module.bias.detach().contiguous()
    content = save(tensors)
    about["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(about, indent=1, ensure_ascii=False)
    files = {".safetensors": content, ".json": text.encode()}
    write_whole(path.parent, {path.name + ending: held for ending, held in files.items()})


def load_quantized(path: str | Path, network: nn.Module) -> Quantized:
    """Read a quantized network that `save_quantized` wrote.

    Args:
        path: as given to `save_quantized`.
        network: the reference that was quantized, folded; it is not changed. It supplies the
            architecture, and the weights before rounding.

    Raises:
        QnotesError: for missing or damaged files, or a network with other layers.
    """
    path = Path(path)
    about, tensors = _read(path)
    model = trace(network, copied=True)
    layers = {
        name: _layer(name, facts, tensors, model, "layers", "weight")
        for name, facts in about["layers"].items()
    }
    biases = {
        name: _layer(name, facts, tensors, model, "biases", "bias")
        for name, facts in about["biases"].items()
    }
    known = {n for n, m in model.named_modules() if isinstance(m, AFFINE_MODULES)}
    if known != set(layers):
        raise QnotesError(
            f"{path.name} holds the layers {', '.join(layers)}; the network has "
            f"{', '.join(sorted(known))}"
        )
    for name, layer in layers.items():
        module = model.get_submodule(name)
        module.weight = nn.Parameter(layer.weight, module.weight.requires_grad)
        if module.bias is not None:
            stored = tensors[f"bias/{name}"]
            module.bias = nn.Parameter(stored, module.bias.requires_grad)
    return Quantized(model, layers, about["scheme"], biases)


def _facts(layer: QuantizedLayer) -> dict[str, object]:
    kind = next(name for name, made in GRIDS.items() if type(layer.grid) is made)
    facts = {
        "bits": layer.bits,
        "grid": kind,
        "qmin": layer.qmin,
        "qmax": layer.qmax,
        "group_size": layer.grid.group_size,
    }
    # What rounding did, for whoever reads the file without the weights.
    return facts | {key: getattr(layer, key) for key in ("gap", "gap_norm", "clipped")}


def _tensors(layer: QuantizedLayer) -> dict[str, Tensor]:
    held = {"codes": layer.codes}
    if isinstance(layer.grid, Codebook):
        held["levels"] = layer.grid.levels
    else:
        held |= {"scale": layer.grid.scale, "zero_point": layer.grid.zero_point}
    return {key: tensor.contiguous() for key, tensor in held.items()}


def _layer(
    name: str, facts: Mapping, tensors: Mapping[str, Tensor], model, kind: str, what: str
) -> QuantizedLayer:
    module = dict(model.named_modules()).get(name)
    original = getattr(module, what, None)
    held = {
        key: tensors[f"{kind}/{name}/{key}"]
        for key in ("codes", "scale", "zero_point", "levels")
        if f"{kind}/{name}/{key}" in tensors
    }
    codes = held.pop("codes")
    if original is None or original.shape != codes.shape:
        found = "none" if original is None else f"one of shape {tuple(original.shape)}"
        raise QnotesError(
            f"{name}: the file has a {what} of shape {tuple(codes.shape)}, the network {found}"
        )
    if facts["grid"] == "kmeans":
        grid = Codebook(**held, group_size=facts["group_size"])
    else:
        limits = {key: facts[key] for key in ("qmin", "qmax", "group_size")}
        grid = GRIDS[facts["grid"]](**held, **limits)
    return QuantizedLayer(codes, grid, facts["bits"], original.detach())


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    try:
        about = json.loads(_with(path, ".json").read_bytes())
        content = _with(path, ".safetensors").read_bytes()
    except FileNotFoundError as error:
        raise QnotesError(
            f"there is no {error.filename}; save a quantized network first"
        ) from error
    except json.JSONDecodeError as error:
        raise QnotesError(f"{path.name}.json is damaged: {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise QnotesError(f"{path.name}.json is not of a quantized network, format {FORMAT}")
    if about["sha256"] != hashlib.sha256(content).hexdigest():
        raise QnotesError(
            f"{path.name}.safetensors is damaged or belongs to another {path.name}.json"
        )
    return about, load(content)


def _with(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
