"""The inputs that a certificate is about: a box around zero, or a ball around each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qnotes.errors import QnotesError, real
from qnotes.networks.probing import plain
from qnotes.propagation.profiles import check_radius
from qnotes.propagation.shapes import Shape, checked_shape

#: Positive, and so small that no bound sees it.
LEAST = 2.0**-1000


@dataclass(frozen=True)
class Region:
    """Boxes of inputs, one for each image; or one around zero.

    Attributes:
        low, high: (images, ...), float64.
    """

    low: Tensor
    high: Tensor

    @property
    def center(self) -> Tensor:
        """A point of each box, near its middle."""
        middle = self.low / 2 + self.high / 2
        return torch.minimum(torch.maximum(middle, self.low), self.high)

    @property
    def reach(self) -> Tensor:
        """How far inputs lie from the center at most, coordinate by coordinate, rounded up."""
        center = self.center
        reach = torch.maximum(self.high - center, center - self.low)
        return reach * (1 + 2.0**-52)  # of a difference that was rounded once

    @property
    def radii(self) -> list[float]:
        """For each channel a number that no input of any box exceeds."""
        largest = torch.maximum(self.low.abs(), self.high.abs())
        return largest.movedim(1, 0).flatten(1).amax(1).clamp_min(LEAST).tolist()


def checked_region(
    input_shape: Shape | None,
    radius: float | Sequence[float],
    center: Tensor | None,
    within: tuple[float, float] | None,
) -> Region:
    """The region that a call of `certify` names; refuses one that makes no sense."""
    middle = "the middle of the box, 0," if center is None else "center"
    if center is None:
        if input_shape is None:
            raise QnotesError("without center, input_shape is needed, such as (1, 3, 224, 224)")
        shape = checked_shape(input_shape)
        center = torch.zeros(shape, dtype=torch.float64)
        distance = _radii(radius, shape, zero=False)
    else:
        center = _checked_center(center, input_shape)
        distance = _radii(radius, tuple(center.shape), zero=True)
    low, high = center - distance, center + distance
    if (distance > 0).any():  # rounded outward
        low = torch.nextafter(low, low.new_tensor(-torch.inf))
        high = torch.nextafter(high, high.new_tensor(torch.inf))
    if within is None:
        return Region(low, high)
    least, most = _checked_ends(within)
    if not (center.min() >= least and center.max() <= most):
        there = f"from {center.min():g} to {center.max():g}"
        raise QnotesError(f"{middle} has values {there}, outside of within={within!r}")
    return Region(low.clamp_min(least), high.clamp_max(most))


def _checked_ends(within: object) -> tuple[float, float]:
    ends = [real(end) for end in within] if isinstance(within, tuple | list) else []
    if len(ends) != 2 or None in ends or not ends[0] < ends[1]:
        raise QnotesError(f"within must be two numbers, the first one smaller; got {within!r}")
    return ends[0], ends[1]


def _checked_center(center: object, input_shape: Shape | None) -> Tensor:
    expected = "center must be a tensor of finite images, (images, ...)"
    if not isinstance(center, Tensor):
        raise QnotesError(f"{expected}; got {type(center).__name__}")
    if center.dim() < 2 or not center.numel():
        raise QnotesError(f"{expected}; got the shape {tuple(center.shape)}")
    if not (finite := torch.isfinite(plain("center", center))).all():
        wrong = (~finite).flatten(1).any(1).nonzero().flatten().tolist()
        raise QnotesError(f"{expected}; image {wrong[0]} has values that are NaN or infinite")
    if input_shape is not None and checked_shape(input_shape)[1:] != tuple(center.shape[1:]):
        raise QnotesError(
            f"center has images of shape {tuple(center.shape[1:])}; input_shape says "
            f"{tuple(input_shape[1:])}"
        )
    return center.detach().double().cpu()


def _radii(radius: float | Sequence[float], shape: Shape, *, zero: bool) -> Tensor:
    several = isinstance(radius, Sequence) and not isinstance(radius, str)
    if several and len(radius) != shape[1]:
        raise QnotesError(f"radius has {len(radius)} numbers; the input has {shape[1]} channels")
    numbers = [check_radius(number, zero=zero) for number in (radius if several else [radius])]
    numbers = torch.tensor(numbers if several else numbers[0], dtype=torch.float64)
    return numbers.view(-1, *[1] * (len(shape) - 2)) if several else numbers
