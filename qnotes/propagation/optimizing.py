"""Gradient descent for some seconds: on the diagonals of T14, and on the slopes of T15.

Whatever it finds is sound, since the bound is evaluated afterwards with its rounding. So it may use
few frequencies, stop at any time, and be wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from qnotes.errors import QnotesError
from qnotes.networks.operations import OUTPUT, Operation
from qnotes.propagation.affine import Affine, Budget, Slopes
from qnotes.propagation.ellipsoids import Diagonals, Ellipsoids, at_center
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.walk import walk

#: What hears, after each step, its number and log10 of about the best bound so far.
Told = Callable[[int, float], object]
#: Of a step, in logarithms of diagonals.
STEP = 0.05
#: Of a step, in slopes.
SLOPE_STEP = 0.01
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
    told: Told = lambda step, log10: None,
) -> int:
    """Improve diagonals in place, until the time is over; returns the steps taken."""
    cache, known = {}, at_center(pair, region)

    def objective() -> Tensor:
        domain = Ellipsoids(pair, region, known, diagonals, small=small, cache=cache)
        return (error_logs(domain, pair) * 4).logsumexp(0) / 4

    def limit() -> None:
        for _, level in diagonals.found.values():
            level.clamp_(LEAST_LEVEL, 3.0)

    return descend(
        objective, lambda: diagonals.numbers, seconds=seconds, step=STEP, limit=limit, told=told
    )


def better_slopes(
    pair: Pair,
    region: Region,
    norms: Callable[[Operation], Sequence[float]],
    symbols: int,
    *,
    seconds: float,
    told: Told,
) -> Slopes:
    """Slopes of T15 around one image, for which the largest error is small; none without a step."""
    found: Slopes = {}

    def objective() -> Tensor:
        for visit in walk(pair.operations, Affine(pair, region, Budget(symbols), norms, found)):
            last = visit.result
        return last.signed.error.size.max().log()

    def free() -> list[Tensor]:
        return [slope for both in found.values() for slope in both]

    def limit() -> None:
        for slope in free():
            slope.clamp_(0, 1)

    steps = descend(objective, free, seconds=seconds, step=SLOPE_STEP, limit=limit, told=told)
    return found if steps else {}


def descend(
    objective: Callable[[], Tensor],
    numbers: Callable[[], list[Tensor]],
    *,
    seconds: float,
    step: float,
    limit: Callable[[], object],
    told: Told,
) -> int:
    """Make ln of a bound smaller, in place, until the time is over; returns the steps taken.

    Args:
        objective: which may fail, or have no number.
        numbers: what it depends on, once it has been computed.
        seconds: of wall time.
        step: of Adam, at first.
        limit: keeps the numbers where they may be.
        told: how far it is.
    """
    start, steps = time.perf_counter(), 0
    with torch.enable_grad():
        value = _value(objective)  # makes the numbers
        free = numbers()
        if value is None or not value.requires_grad:  # nothing depends on them
            return 0
        best, kept = float("inf"), [number.detach().clone() for number in free]
        descent = torch.optim.Adam(free, lr=step, betas=(0.9, 0.95))
        longest = 0.0
        while time.perf_counter() - start + longest < seconds:
            before = time.perf_counter()
            value = _value(objective)
            if value is None or value.item() > best + 0.5:
                step /= 2
                _restore(free, kept)
                descent = torch.optim.Adam(free, lr=step, betas=(0.9, 0.95))
            else:
                if value.item() < best:
                    best, kept = value.item(), [number.detach().clone() for number in free]
                descent.zero_grad()
                value.backward()
                if not any(number.grad is not None and number.grad.any() for number in free):
                    break  # nothing moves it
                descent.step()
                with torch.no_grad():
                    limit()
            steps += 1
            told(steps, best / math.log(10))
            longest = max(longest, time.perf_counter() - before) if steps > 1 else 0.0
        _restore(free, kept)
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
