"""Uniform grids: equally spaced levels that a quantized weight may take.

A weight is seen as a matrix, a row for each output channel. Its scales have the shape (1, 1) for
one scale a tensor, (rows, 1) for one a channel, and (rows, groups) for one a group of columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Names of the symmetric grids; see `symmetric_grid`.
CONVENTIONS = ("narrow", "full", "unclipped")


@dataclass(frozen=True)
class Grid:
    """Equally spaced levels `scale * (code - zero_point)`, for integer codes in [qmin, qmax].

    Attributes:
        scale: distance of two levels, of shape (1, 1), (rows, 1) or (rows, groups).
        zero_point: code of the level 0, of the scale's shape and precision.
        qmin: smallest code.
        qmax: largest code.
        group_size: columns of a group; None without groups.
    """

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int
    group_size: int | None = None

    def encode(self, rows: Tensor, rounding: Callable[[Tensor], Tensor] = Tensor.round_) -> Tensor:
        """Codes of weights; those outside the grid get its first or last level.

        Multiplying by the inverse of the scale, instead of dividing, is what torch's fake
        quantization does.

        Args:
            rows: weights, a row for each channel.
            rounding: makes whole numbers of steps, may work in place; nearest by default, a tie to
                the even multiple of the scale.
        """
        steps = rounding(rows * self.spread(1.0 / self.scale, rows.shape[1]))
        steps += self.spread(self.zero_point, rows.shape[1])
        return steps.clamp_(self.qmin, self.qmax).to(code_dtype(self.qmin, self.qmax))

    def decode(self, codes: Tensor) -> Tensor:
        """The levels of codes, in the precision of the scale."""
        steps = codes.to(self.scale.dtype)
        steps -= self.spread(self.zero_point, codes.shape[1])
        return steps.mul_(self.spread(self.scale, codes.shape[1]))

    def of_rows(self, part: slice) -> Grid:
        """The grid of some of the rows."""
        if len(self.scale) == 1:
            return self
        return replace(self, scale=self.scale[part], zero_point=self.zero_point[part])

    def spread(self, values: Tensor, columns: int) -> Tensor:
        """Values of groups as values of columns; without groups they broadcast as they are."""
        if self.group_size is None:
            return values
        return values.repeat_interleave(self.group_size, dim=1)[:, :columns]

    @property
    def reach(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest weight that is at most half a step from a level."""
        low = (self.qmin - 0.5 - self.zero_point) * self.scale
        high = (self.qmax + 0.5 - self.zero_point) * self.scale
        return low, high


def code_dtype(qmin: int, qmax: int) -> torch.dtype:
    """The smallest integer type that holds all codes."""
    for dtype in (torch.int8, torch.int16):
        if torch.iinfo(dtype).min <= qmin and qmax <= torch.iinfo(dtype).max:
            return dtype
    return torch.int32


def symmetric_grid(
    low: Tensor, high: Tensor, bits: int, *, convention: str = "narrow", power_of_two: bool = False
) -> Grid:
    """A grid with zero_point 0. Libraries mean three different things by "symmetric".

    With a = max(-low, high):

    - ``narrow``: codes in [-q, q], q = 2^(bits-1) - 1, scale a/q
      (`qnotes.theorems.T12_bits`). The levels lie symmetrically and ±a are levels. LiteRT
      (TensorFlow Lite) and ONNX Runtime store weights of 8 bits so; with 4 bits ONNX Runtime uses
      all 16 codes.
    - ``full``: codes in [-2^(bits-1), 2^(bits-1) - 1], scale 2a/(2^bits - 1). One code more, and +a
      lies half a step outside. torchao's ``MappingType.SYMMETRIC``.
    - ``unclipped``: the same codes, scale max(-low/2^(bits-1), high/(2^(bits-1) - 1)): the smallest
      scale that clips neither end. torchao's ``MappingType.SYMMETRIC_NO_CLIPPING_ERR``.

    In all three a weight in [low, high] moves by at most half a step.

    Args:
        low: smallest weight of each row or group, not above 0.
        high: largest weight of each row or group, not below 0.
        bits: width of a code, at least 2.
        convention: one of `CONVENTIONS`.
        power_of_two: round the scale up to a power of two.
    """
    largest = torch.maximum(-low, high)
    half = 2 ** (bits - 1)
    if convention == "narrow":
        scale, qmin = largest / (half - 1), 1 - half
    elif convention == "full":
        scale, qmin = largest / (half - 0.5), -half
    else:
        scale, qmin = torch.maximum(-low / half, high / (half - 1)), -half
    scale = _positive(scale, power_of_two)
    return Grid(scale, torch.zeros_like(scale), qmin, half - 1)


def affine_grid(low: Tensor, high: Tensor, bits: int, *, power_of_two: bool = False) -> Grid:
    """Codes in [-2^(bits-1), 2^(bits-1) - 1], levels from low to high, and zero is one of them.

    Rounding the zero point moves the grid by at most half a step, so the nearest level is still at
    most half a step away.

    Args:
        low: smallest weight of each row or group, not above 0.
        high: largest weight of each row or group, not below 0.
        bits: width of a code.
        power_of_two: round the scale up to a power of two.
    """
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    # Each end is divided first: high - low may overflow where neither does.
    scale = _positive(high / (qmax - qmin) - low / (qmax - qmin), power_of_two)
    zero_point = (qmin - (low / scale).round_()).clamp_(qmin, qmax)
    return Grid(scale, zero_point, qmin, qmax)


def _positive(scale: Tensor, power_of_two: bool) -> Tensor:
    """A scale of 1 for rows of zeros, and never one so small that its inverse overflows."""
    smallest = torch.finfo(scale.dtype).tiny
    scale = torch.where(scale == 0, torch.ones_like(scale), scale.clamp_min(smallest))
    return _power_of_two_above(scale) if power_of_two else scale


def _power_of_two_above(scale: Tensor) -> Tensor:
    """The smallest power of two that is not smaller.

    Rounding to the nearest power would make some scales smaller: the grid then ends before the
    largest weight, which is clipped by up to 1 - 1/√2 of its size, far more than half a step.
    """
    fraction, exponent = torch.frexp(scale)  # scale = fraction · 2^exponent, 1/2 ≤ fraction < 1
    return torch.ldexp(torch.ones_like(scale), exponent - (fraction == 0.5).to(exponent.dtype))
