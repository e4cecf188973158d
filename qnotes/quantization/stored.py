"""What is stored of a quantized network: layer by layer, as a whole, and on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.files import write_whole
from qnotes.networks.operations import AFFINE_MODULES
from qnotes.networks.tracing import trace, widened
from qnotes.quantization.channels import is_channelwise
from qnotes.quantization.grids import Codebook, Grid, Log2Grid, rows

#: Bits of a scale, of a level of a codebook, and of a number that is not quantized.
FLOAT_BITS = 32
FORMAT = 1
GRIDS = {"uniform": Grid, "log2": Log2Grid, "kmeans": Codebook}


@dataclass(frozen=True)
class QuantizedLayer:
    """What is stored for the weights (or the biases) of one layer, and what rounding did to them.

    Attributes:
        codes: integers in [qmin, qmax], of the weight's shape.
        grid: turns codes into levels.
        bits: width of a code.
        original: the weights before, of the weight's shape.
    """

    codes: Tensor
    grid: Grid | Codebook
    bits: int
    original: Tensor = field(repr=False)

    @property
    def scale(self) -> Tensor | None:
        """Distance of two levels, of shape (1,), (channels,) or (channels, groups).

        On a log2 grid the largest level; None for a codebook, whose levels are `grid.levels`.
        """
        return None if self.grid.scale is None else _compact(self.grid.scale)

    @property
    def zero_point(self) -> Tensor | None:
        """Code of the level 0, int32, of the scale's shape; None for a codebook."""
        zero_point = self.grid.zero_point
        return None if zero_point is None else _compact(zero_point).to(torch.int32)

    @property
    def qmin(self) -> int:
        """Smallest code."""
        return self.grid.qmin

    @property
    def qmax(self) -> int:
        """Largest code."""
        return self.grid.qmax

    @property
    def weight(self) -> Tensor:
        """The dequantized weight, `scale * (codes - zero_point)`, bit for bit the model's."""
        return self.grid.decode(rows(self.codes)).view(self.codes.shape)

    @cached_property
    def gap(self) -> float:
        """ε, the largest change of one weight."""
        return self._change.abs().amax().item()

    @cached_property
    def gap_norm(self) -> float:
        """δ, the largest sum of absolute changes in a row."""
        return self._change.abs().sum(1).amax().item()

    @cached_property
    def clipped(self) -> float:
        """Share of the weights that lie more than half a step outside the grid."""
        weight = rows(self.original).double()
        # On the grid "full" the largest weight lies half a step outside, up to rounding.
        low, high = (end.double() * (1 + 1e-6) for end in self.grid.reach(weight.shape[1]))
        return ((weight < low) | (weight > high)).double().mean().item()

    @cached_property
    def snr(self) -> float:
        """Signal to noise in decibels, 10 log10(Σ w² / Σ (w - w')²); infinite without a change."""
        noise = self._change.square().sum().item()
        signal = rows(self.original).double().square().sum().item()
        if noise == 0:
            return math.inf
        return 10 * math.log10(signal / noise) if signal else -math.inf

    @property
    def storage_bits(self) -> int:
        """Bits of codes, of scales and listed levels (32 each), and of zero points unless all 0."""
        stored = self.codes.numel() * self.bits
        if self.scale is None:
            return stored + self.grid.levels.numel() * FLOAT_BITS
        stored += self.scale.numel() * FLOAT_BITS
        return stored + (self.scale.numel() * self.bits if self.grid.zero_point.any() else 0)

    @cached_property
    def _change(self) -> Tensor:
        return rows(self.original).double() - rows(self.weight).double()


def _compact(values: Tensor) -> Tensor:
    return values.flatten() if values.shape[1] == 1 else values


@dataclass(frozen=True)
class Quantized:
    """A quantized network.

    Attributes:
        model: the network with its weights on the grids (dequantized).
        layers: what was stored for the weights of each layer, by the layer's name.
        scheme: the options that `quantize` was given, as far as they matter.
        biases: the same for biases; empty where they are as they were.
    """

    model: fx.GraphModule
    layers: Mapping[str, QuantizedLayer]
    scheme: Mapping[str, object]
    biases: Mapping[str, QuantizedLayer] = field(default_factory=dict)

    @property
    def storage_bits(self) -> int:
        """Bits of all layers, scales and biases; biases that are not quantized count 32 each."""
        stored = sum(layer.storage_bits for layer in (*self.layers.values(), *self.biases.values()))
        modules = {name: self.model.get_submodule(name) for name in self.layers}
        floats = [
            module.bias.numel()
            for name, module in modules.items()
            if name not in self.biases and module.bias is not None
        ]
        return stored + FLOAT_BITS * sum(floats)


# -- on disk ---------------------------------------------------------------------------------------


def save_quantized(quantized: Quantized, path: str | Path) -> None:
    """Write a quantized network as ``path.safetensors``.

    Stored are codes, scales, zero points, levels and biases, not the architecture. What is no
    tensor stands in the file's own metadata, as JSON under "qnotes", with a hash of the tensors.

    Args:
        quantized: from `qnotes.quantize`.
        path: where, without an ending.
    """
    path = Path(path)
    tensors, about = {}, {"format": FORMAT, "scheme": dict(quantized.scheme)}
    for kind in ("layers", "biases"):
        about[kind] = {}
        for name, layer in getattr(quantized, kind).items():
            held = {"codes": layer.codes, **vars(layer.grid)}
            listed = [key for key, value in held.items() if isinstance(value, Tensor)]
            tensors |= {f"{kind}/{name}/{key}": _alone(held[key]) for key in listed}
            about[kind][name] = {
                "bits": layer.bits,
                "kind": next(kind for kind, made in GRIDS.items() if type(layer.grid) is made),
                "grid": {key: value for key, value in held.items() if key not in listed},
                # What rounding did, for whoever reads the file without the weights.
                **{key: getattr(layer, key) for key in ("gap", "gap_norm", "clipped")},
            }
    for name in quantized.layers:
        bias = quantized.model.get_submodule(name).bias
        if bias is not None:
            tensors[f"bias/{name}"] = _alone(bias)
    about["sha256"] = _hash(tensors)
    content = save(tensors, {"qnotes": json.dumps(about, ensure_ascii=False)})
    write_whole(path.parent, {path.name + ".safetensors": content})


def _alone(tensor: Tensor) -> Tensor:
    """A tensor that shares its memory with no other, as two layers may share a bias."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


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
    about, tensors = _read(path.with_name(path.name + ".safetensors"))
    model = widened(trace(network, copied=True))
    layers, biases = (
        {name: _layer(name, facts, tensors, model, kind) for name, facts in about[kind].items()}
        for kind in ("layers", "biases")
    )
    known = {name for name, m in model.named_modules() if isinstance(m, AFFINE_MODULES)}
    kept = {n for n in known - set(layers) if is_channelwise(model.get_submodule(n))}
    if known - kept != set(layers):
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


def _layer(name: str, facts: Mapping, tensors: Mapping, model, kind: str) -> QuantizedLayer:
    what = {"layers": "weight", "biases": "bias"}[kind]
    original = getattr(dict(model.named_modules()).get(name), what, None)
    start = f"{kind}/{name}/"
    held = {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}
    codes = held.pop("codes")
    if original is None or original.shape != codes.shape:
        found = "none" if original is None else f"one of shape {tuple(original.shape)}"
        raise QnotesError(
            f"{name}: the file has a {what} of shape {tuple(codes.shape)}, the network {found}"
        )
    grid = GRIDS[facts["kind"]](**held, **facts["grid"])
    return QuantizedLayer(codes, grid, facts["bits"], original.detach())


def _read(file: Path) -> tuple[dict, dict[str, Tensor]]:
    try:
        with safe_open(file, "pt") as held:
            about = json.loads((held.metadata() or {}).get("qnotes", "{}"))
            tensors = {key: held.get_tensor(key) for key in held.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise QnotesError(f"there is no {file}; save a quantized network first") from error
    except (SafetensorError, json.JSONDecodeError) as error:
        raise QnotesError(f"{file.name} is damaged: {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise QnotesError(f"{file.name} is not of a quantized network, format {FORMAT}")
    if about["sha256"] != _hash(tensors):
        raise QnotesError(f"{file.name} is damaged: its tensors are not those that were saved")
    return about, tensors


def _hash(tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(save(dict(tensors))).hexdigest()
