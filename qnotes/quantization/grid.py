"""The grid: which numbers a quantized weight may take, and how a weight finds its place on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Equally spaced levels `scale * (code - zero_point)`, for integer codes in [qmin, qmax].

    `scale` and `zero_point` broadcast against the weight: one value, or one for each channel.
    """

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int

    def encode(self, weight: Tensor) -> Tensor:
        """Codes of the nearest levels; a tie goes to the even multiple of the scale.

        Weights outside the grid get its first or last level. Multiplying by the inverse of the
        scale, instead of dividing, is what torch's fake quantization does.
        """
        steps = (weight * (1.0 / self.scale)).round_()
        codes = steps.add_(self.zero_point).clamp_(self.qmin, self.qmax)
        return codes.to(torch.int8 if self.qmax < 2**7 else torch.int16)

    def decode(self, codes: Tensor) -> Tensor:
        """The levels of codes, in the precision of the scale."""
        return (codes.to(self.scale.dtype) - self.zero_point) * self.scale


def symmetric_grid(weight: Tensor, bits: int) -> Grid:
    """Codes in [-q, q] with q = 2^(bits-1) - 1, zero_point 0, scale = max|W| / q (theory, T12).

    The convention without clipping: the largest weight, of either sign, is a level.

    Args:
        weight: a row for each scale; the range of each row is its own.
        bits: width of a code.
    """
    q = 2 ** (bits - 1) - 1
    return Grid(_positive(weight.abs().amax(1, keepdim=True) / q), _zeros(weight), -q, q)


def affine_grid(weight: Tensor, bits: int) -> Grid:
    """Codes in [-2^(bits-1), 2^(bits-1) - 1], levels from min(W, 0) to max(W, 0).

    Zero is a level. Rounding the zero point moves the grid by at most half a step, so the nearest
    level is still at most half a step away.

    Args:
        weight: a row for each scale; the range of each row is its own.
        bits: width of a code.
    """
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    low = weight.amin(1, keepdim=True).clamp_max_(0)
    high = weight.amax(1, keepdim=True).clamp_min_(0)
    # Each end is divided first: high - low may overflow where neither does.
    scale = _positive(high / (qmax - qmin) - low / (qmax - qmin))
    zero_point = (qmin - (low / scale).round_()).clamp_(qmin, qmax)
    return Grid(scale, zero_point, qmin, qmax)


def _positive(scale: Tensor) -> Tensor:
    """A scale of 1 for rows of zeros, and never one so small that its inverse overflows."""
    smallest = torch.finfo(scale.dtype).tiny
    return torch.where(scale == 0, torch.ones_like(scale), scale.clamp_min(smallest))


def _zeros(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight[:, :1])
