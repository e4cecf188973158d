"""Finding the diagonals of T14: gradient descent on few frequencies, for some seconds.

Whatever it finds is sound, since the bound is evaluated afterwards with its rounding. So it may use
a small torus, stop at any time, and be wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from qnotes.errors import QnotesError
from qnotes.networks.operations import OUTPUT
from qnotes.propagation.ellipsoids import Diagonals, Ellipsoids, at_center
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.walk import walk

#: Of a step, in logarithms of diagonals.
STEP = 0.05
#: A level below this makes matrices that are hard to verify.
LEAST_LEVEL = -5.0


def error_logs(domain: Ellipsoids, pair: Pair) -> Tensor:
    """ln of the bound on each channel of the output."""
    for visit in walk(pair.operations, domain):
        _ = visit.result
        if visit.operation.kind == OUTPUT:
            return domain.facts(visit.operation.node).peaks.flatten()
    raise AssertionError("a network has an output")


def optimize(
    pair: Pair,
    region: Region,
    diagonals: Diagonals,
    *,
    seconds: float,
    small: int,
    told: Callable[[int, float], object] = lambda step, log10: None,
) -> int:
    """Improve diagonals in place, until the time is over; returns the steps taken.

    `told` hears after each step its number and log10 of about the best bound so far.
    """
    start, cache, steps = time.perf_counter(), {}, 0
    known = at_center(pair, region)

    def objective() -> Tensor:
        domain = Ellipsoids(pair, region, known, diagonals, small=small, cache=cache)
        return (error_logs(domain, pair) * 4).logsumexp(0) / 4

    with torch.enable_grad():
        value = _value(objective)  # makes the numbers
        numbers = diagonals.numbers
        if value is None or not value.requires_grad:  # nothing depends on them
            return 0
        best, kept = float("inf"), [number.detach().clone() for number in numbers]
        step = STEP
        descent = torch.optim.Adam(numbers, lr=step, betas=(0.9, 0.95))
        longest = 0.0
        while time.perf_counter() - start + longest < seconds:
            before = time.perf_counter()
            value = _value(objective)
            if value is None or value.item() > best + 0.5:
                step /= 2
                _restore(numbers, kept)
                descent = torch.optim.Adam(numbers, lr=step, betas=(0.9, 0.95))
            else:
                if value.item() < best:
                    best, kept = value.item(), [number.detach().clone() for number in numbers]
                descent.zero_grad()
                value.backward()
                descent.step()
                with torch.no_grad():
                    for _, level in diagonals.found.values():
                        level.clamp_(LEAST_LEVEL, 3.0)
            steps += 1
            told(steps, best / math.log(10))
            longest = max(longest, time.perf_counter() - before) if steps > 1 else 0.0
        _restore(numbers, kept)
    return steps


def _value(objective: Callable[[], Tensor]) -> Tensor | None:
    try:
        value = objective()
    except QnotesError:
        return None
    return value if bool(torch.isfinite(value)) else None


def _restore(numbers: list[Tensor], kept: list[Tensor]) -> None:
    with torch.no_grad():
        for number, old in zip(numbers, kept, strict=True):
            number.copy_(old)
