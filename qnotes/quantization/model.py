"""Quantizing a whole network: a new network with its weights on grids, and what was stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE_MODULES, operations
from qnotes.networks.tracing import check_finite, trace
from qnotes.quantization.grid import Grid, affine_grid, symmetric_grid

GRANULARITIES = ("tensor", "channel")
ROUNDINGS = ("nearest",)
CLIPS = ("minmax",)
BITS = range(2, 17)


@dataclass(frozen=True)
class QuantizedLayer:
    """What is stored for the weights of one layer.

    Attributes:
        codes: integers in [qmin, qmax], of the weight's shape.
        scale: distance of two levels; of shape (1,), or (channels,) for per-channel scales.
        zero_point: code of the level 0, of the scale's shape.
        qmin: smallest code.
        qmax: largest code.
        bits: width of a code.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int
    bits: int

    @property
    def weight(self) -> Tensor:
        """The dequantized weight, `scale * (codes - zero_point)`, bit for bit the model's."""
        along_channels = (-1, *[1] * (self.codes.ndim - 1))
        scale, zero_point = self.scale.view(along_channels), self.zero_point.view(along_channels)
        return Grid(scale, zero_point, self.qmin, self.qmax).decode(self.codes)


@dataclass(frozen=True)
class Quantized:
    """A quantized network.

    Attributes:
        model: the network with its weights on the grids (dequantized); biases are as they were.
        layers: what was stored for each layer, by the layer's name.
        scheme: the options that `quantize` was given.
    """

    model: fx.GraphModule
    layers: Mapping[str, QuantizedLayer]
    scheme: Mapping[str, object]


def quantize(
    network: nn.Module,
    *,
    bits: int = 8,
    granularity: str = "channel",
    symmetric: bool = True,
    rounding: str = "nearest",
    clip: str = "minmax",
) -> Quantized:
    """Round the weights of every linear and convolutional layer to a grid; biases stay as they are.

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`); it is not changed.
        bits: width of a code, 2 to 16.
        granularity: ``tensor`` for one scale a layer, ``channel`` for one an output channel.
            Channels differ much after folding, so the default is ``channel``.
        symmetric: codes in [-q, q] around 0 without clipping, q = 2^(bits-1) - 1; else all 2^bits
            codes between the smallest and the largest weight, with a zero point.
        rounding: ``nearest``, ties to even.
        clip: ``minmax``: the grid reaches the largest weight.

    Returns:
        The new network, and codes, scale and zero_point for each layer.

    Raises:
        QnotesError: for an unknown option or weights that are not finite, by the layer's name.
        UnsupportedOperation: for a network that the theory does not cover, by the operation.
    """
    _check_choice("granularity", granularity, GRANULARITIES)
    _check_choice("rounding", rounding, ROUNDINGS)
    _check_choice("clip", clip, CLIPS)
    _check_choice("symmetric", symmetric, (True, False))
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in BITS:
        raise QnotesError(f"bits must be an integer from {BITS[0]} to {BITS[-1]}; got {bits!r}")
    model = trace(network, copied=True)
    operations(model)  # refuses what is not covered, before anything is rounded
    make_grid = symmetric_grid if symmetric else affine_grid
    layers = {}
    for name, module in model.named_modules():
        if isinstance(module, AFFINE_MODULES):
            check_finite(name, {"weight": module.weight, "bias": module.bias})
            layers[name] = _quantize_weight(module, bits, granularity, make_grid)
            check_finite(name, {"quantized weight": module.weight})
    scheme = {
        "bits": bits,
        "granularity": granularity,
        "symmetric": symmetric,
        "rounding": rounding,
        "clip": clip,
    }
    return Quantized(model, layers, scheme)


def _check_choice(option: str, value: object, known: tuple) -> None:
    if value not in known:
        raise QnotesError(f"{option} must be one of {', '.join(map(repr, known))}; got {value!r}")


@torch.no_grad()
def _quantize_weight(module: nn.Module, bits: int, granularity: str, make_grid) -> QuantizedLayer:
    """Put the weight of a copied layer on a grid, and return what is stored."""
    weight = module.weight
    rows = weight.reshape(1, -1) if granularity == "tensor" else weight.flatten(1)
    grid = make_grid(rows, bits)
    codes = grid.encode(rows)
    # A parameter of its own: layers that share one would round it twice.
    module.weight = nn.Parameter(grid.decode(codes).view_as(weight), weight.requires_grad)
    return QuantizedLayer(
        codes.view(weight.shape),
        grid.scale.flatten(),
        grid.zero_point.flatten().to(torch.int32),
        grid.qmin,
        grid.qmax,
        bits,
    )
