"""What is stored for one layer, and what rounding did to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from qnotes.quantization.grid import Grid
from qnotes.quantization.levels import Codebook

#: Bits of a scale, of a level of a codebook, and of a number that is not quantized.
FLOAT_BITS = 32


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
        """Distance of two levels: of shape (1,), (channels,) or (channels, groups).

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
        ends = (end.double() * (1 + 1e-6) for end in self.grid.reach)
        low, high = (self._spread(end, weight.shape[1]) for end in ends)
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

    def _spread(self, values: Tensor, columns: int) -> Tensor:
        return self.grid.spread(values, columns) if values.ndim else values


def rows(tensor: Tensor) -> Tensor:
    """A row for each output channel; the biases of a layer are one row."""
    return tensor.detach().flatten(1) if tensor.ndim > 1 else tensor.detach()[None]


def _compact(values: Tensor) -> Tensor:
    return values.flatten() if values.shape[1] == 1 else values
