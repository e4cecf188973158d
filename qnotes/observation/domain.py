"""The inputs that a search may try: a box, and random points of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from qnotes.errors import QnotesError, check_whole
from qnotes.networks.probing import plain
from qnotes.propagation.profiles import check_radius
from qnotes.propagation.shapes import checked_shape

#: Sizes of the coarse random images that are enlarged to patches.
COARSE = (1, 2, 4, 8)


def random_inputs(
    input_shape: tuple[int, ...], *, count: int, radius: float = 1.0, seed: int = 0
) -> Tensor:
    """Inputs from [-radius, radius]: one half uniform, the other half corners, float64.

    Args:
        input_shape: shape of one batch; its first entry is not used.
        count: how many inputs, at least 2.
        radius: of the box [-radius, radius].
        seed: of a generator of its own.
    """
    shape, count = checked_shape(input_shape), check_whole("count", count, 1)
    generator = torch.Generator().manual_seed(check_whole("seed", seed, 0))
    uniform = _uniform((count, *shape[1:]), generator)
    uniform[count // 2 :] = uniform[count // 2 :].sign()
    return check_radius(radius, inward=True) * uniform


@dataclass(frozen=True)
class Domain:
    """The inputs between two corners, coordinate by coordinate.

    Attributes:
        low: smallest values, of shape (1, ...), float64.
        high: largest values, of the same shape.
    """

    low: Tensor
    high: Tensor

    @property
    def reach(self) -> Tensor:
        """Half the width of the box in each coordinate."""
        return self.high / 2 - self.low / 2  # their difference may overflow

    def to(self, device: torch.device) -> Domain:
        """The same box on another device."""
        return Domain(self.low.to(device), self.high.to(device))

    def project(self, inputs: Tensor) -> Tensor:
        """The nearest points of the box."""
        return inputs.clamp(self.low, self.high)

    def placed(self, unit: Tensor) -> Tensor:
        """Points of [-1, 1]^N_0 moved to the box: corners to corners, 0 to the middle."""
        return self.project(self.low / 2 + self.high / 2 + unit.to(self.low) * self.reach)

    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """Random points of the box."""
        return self.placed(_uniform((count, *self.low.shape[1:]), generator))

    def random(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random points of the box by kind: uniform, corners, and patches where there are images.

        Patches are coarse random images, enlarged: neighbouring coordinates are equal, as nearly
        in real images. Noise averages out in a convolutional network, and patches do not.
        """
        shape = tuple(self.low.shape[1:])
        draws = {"uniform": _uniform, "corner": _signs, "patches": _patches}
        if len(shape) == 1:
            del draws["patches"]
        return {
            kind: self.placed(draw((len(range(first, count, len(draws))), *shape), generator))
            for first, (kind, draw) in enumerate(draws.items())
        }


def make_domain(
    input_shape: tuple[int, ...] | None,
    radius: float,
    center: Tensor | None,
    box: tuple[float | Tensor, float | Tensor] | None,
) -> Domain:
    """[-radius, radius]^N_0, or the ball of that radius around an input, cut to a box if given."""
    checked = check_radius(radius, inward=True)
    middle = _middle(input_shape, center)
    low, high = -_inside(-middle, checked), _inside(middle, checked)
    if box is None:
        return Domain(low, high)
    smallest, largest = _checked_box(box, middle)
    domain = Domain(torch.maximum(low, smallest), torch.minimum(high, largest))
    if (domain.low > domain.high).any():
        raise QnotesError(
            f"box={box!r} leaves nothing of the inputs within {radius:.17g} of the center"
        )
    return domain


def _inside(middle: Tensor, radius: float) -> Tensor:
    """middle + radius, rounded down to a number that is no further from the middle."""
    end = middle + radius
    taken = end - middle
    lost = (middle - (end - taken)) + (radius - taken)  # end + lost is the exact sum (Knuth)
    below = torch.nextafter(end, torch.full_like(end, -torch.inf))
    return torch.where((lost < 0) | end.isinf(), below, end)


def _middle(input_shape: tuple[int, ...] | None, center: Tensor | None) -> Tensor:
    if center is None:
        if input_shape is None:
            raise QnotesError("give input_shape, such as (1, 3, 224, 224), or center, an input")
        return torch.zeros(checked_shape(input_shape), dtype=torch.float64)
    if not isinstance(center, Tensor) or center.dim() < 2 or len(center) != 1:
        came = tuple(center.shape) if isinstance(center, Tensor) else type(center).__name__
        raise QnotesError(f"center must be one input as a tensor of shape (1, ...); got {came}")
    if input_shape is not None and tuple(input_shape)[1:] != tuple(center.shape)[1:]:
        raise QnotesError(
            f"input_shape is {tuple(input_shape)} and the center has shape {tuple(center.shape)}; "
            "leave input_shape out"
        )
    if not torch.isfinite(plain("center", center)).all():
        raise QnotesError("the center has values that are NaN or infinite")
    return center.detach().double().cpu()


def _checked_box(box, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Its two corners, of the shape of an input."""
    try:
        ends = (torch.as_tensor(end, dtype=middle.dtype, device=middle.device) for end in box)
        low, high = (end.broadcast_to(middle.shape) for end in ends)
    except (TypeError, ValueError, RuntimeError):
        low = high = torch.tensor(math.nan)
    if not (low < high).all():
        raise QnotesError(
            "box must be two numbers, the smaller first, as in (-1, 1), or two tensors that fit an "
            f"input of shape {tuple(middle.shape)}, such as one of shape (1, channels, 1, 1); "
            f"got {box!r}"
        )
    return low, high


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return _uniform(shape, generator).sign()


def _patches(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    count, channels, *sizes = shape
    images = []
    for number in range(count):
        coarse = COARSE[number % len(COARSE)]
        small = _uniform((1, channels, *[coarse] * len(sizes)), generator)
        images.append(interpolate(small, size=tuple(sizes)))
    return torch.cat(images) if images else torch.empty(shape, dtype=torch.float64)
