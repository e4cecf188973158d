"""Rounding outward: what floating point can have taken from a bound is added to it.

Every operation of float64 is off by at most u = 2^-53 of its result. A bound that n operations made
is raised by more than n u of itself, and by at least twice that where n is large.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

#: Distance from 1 to the next float64: 2 u.
EPSILON = 2.0**-52

Number = TypeVar("Number", float, Tensor)


def up(value: Number, terms: int) -> Number:
    """A sum of so many nonnegative numbers, rounded up by twice its largest rounding error.

    Each number may itself be a difference: a sum of n of them has been rounded n times.
    """
    return value * (1 + (terms + 2) * EPSILON)


def log_up(logs: Tensor, terms: int = 0, reach: float | Tensor = 0.0) -> Tensor:
    """Logarithms of sums of so many terms, rounded up; -inf, a sum of nothing, stays.

    Args:
        logs: natural logarithms.
        terms: of each sum.
        reach: largest absolute logarithm that the sums were made of. A logarithm of size s is off
            by some units of s u, and so is what is computed from it.
    """
    raised = logs + (terms + 8 * (1 + logs.abs().clamp_min(reach))) * EPSILON
    return torch.where(logs == -torch.inf, logs, raised)
