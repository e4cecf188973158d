"""Rounding without data: what a whole number of steps is made of, weight by weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Each takes weights in steps of their grid and may work in place. A tie of ``nearest`` goes to the
#: even multiple of the scale. ``zero`` is truncation.
DIRECT: dict[str, Callable[[Tensor], Tensor]] = {
    "nearest": Tensor.round_,
    "floor": Tensor.floor_,
    "ceil": Tensor.ceil_,
    "zero": Tensor.trunc_,
}


def stochastic(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Up with the probability of the fraction that is above the step below, else down.

    The mean of the rounded weight is the weight itself, if nothing is clipped: what T13 needs
    (`qnotes.theorems.T13_typical_error`).

    Args:
        generator: draws the random numbers, in the order of the layers.
    """

    def rounded(steps: Tensor) -> Tensor:
        # Drawn in float64: in float32 the sum of a large step and a draw loses the draw's digits.
        drawn = torch.rand(steps.shape, generator=generator, dtype=torch.float64)
        return (steps.double() + drawn.to(steps.device)).floor_().to(steps.dtype)

    return rounded
