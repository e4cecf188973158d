"""`certify`: upper bounds on the error of each output, by one domain or by all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.propagation.channels import Channels
from qnotes.propagation.euclidean import Euclidean
from qnotes.propagation.intervals import Intervals
from qnotes.propagation.norms import Norms
from qnotes.propagation.outward import log_up
from qnotes.propagation.pair import Pair, checked_pair
from qnotes.propagation.regions import Region, checked_region
from qnotes.propagation.smallest import Known, Smallest, known, winner
from qnotes.propagation.walk import Domain, walk

BEST = "best"
#: What each method walks with, cheap ones; and where its theorem is.
CHEAP = {
    "norms": lambda pair, region: Norms(pair),
    "channels": lambda pair, region: Channels(pair),
    "intervals": Intervals,
    "euclidean": Euclidean,
}
METHODS = (BEST, *CHEAP)


@dataclass(frozen=True)
class Certificate:
    """Upper bounds on the error of each output, from `certify`.

    Attributes:
        log10: decimal logarithms, of the shape of the output; (images, ...) for balls around them.
        method: that was asked for.
        layers: a row for each operation: ``name``, ``domain`` that has the smallest bound on the
            largest error of its value there, ``log10`` of that bound.
        provenance: of the networks, as given, and of the region.
        seconds: that it took.
    """

    log10: np.ndarray
    method: str
    layers: pd.DataFrame
    provenance: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def bound(self) -> np.ndarray:
        """The bounds themselves; inf where one is too large for float64."""
        with np.errstate(over="ignore"):
            values = np.power(10.0, self.log10)
        return values * (1 + 1e-13 * np.maximum(1, np.abs(np.nan_to_num(self.log10, neginf=0))))

    @property
    def largest(self) -> float:
        """log10 of the largest: it bounds E."""
        return float(self.log10.max())


def certify(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...] | None = None,
    radius: float | Sequence[float] = 1.0,
    center: Tensor | None = None,
    within: tuple[float, float] | None = None,
    method: str = BEST,
    provenance: Mapping[str, object] | None = None,
) -> Certificate:
    """An upper bound on the error of each output, for all inputs of a region (theory, section 5).

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`).
        quantized: the same network with other weights.
        input_shape: shape of one batch, batch dimension first; not needed with `center`.
        radius: D, or a number for each channel of the input.
        center: images, (images, ...): then the region is the ball of this radius, in the maximum
            norm, around each of them; radius 0 is the image alone. Without it, it is [-D, D]^N_0.
        within: the values that inputs can have at all, such as (0, 1).
        method: ``norms`` (T2), ``channels`` (T8), ``intervals`` (T10), ``euclidean`` (T11); or
            ``best``: after each operation the smallest of what all say goes on.
        provenance: of the networks, kept with the result.

    Returns:
        Bounds that hold for float64's rounding too.

    Raises:
        QnotesError: for a region or a method that makes no sense, and what `qnotes.profile` raises.
    """
    start = time.perf_counter()
    if method not in METHODS:
        raise QnotesError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    region = checked_region(input_shape, radius, center, within)
    shape = tuple(region.low.shape)
    with torch.no_grad():
        pair = checked_pair(network, quantized, input_shape=shape, radius=region.radii)
        steps = _certified(pair, region, method)
    layers = pd.DataFrame(steps.rows, columns=["name", "domain", "log10"])
    about = {"radius": radius, "images": 0 if center is None else len(center), "within": within}
    log10 = steps.peaks if center is not None else steps.peaks[0]
    seconds = time.perf_counter() - start
    return Certificate(log10, method, layers, {**(provenance or {}), **about}, seconds)


@dataclass(frozen=True)
class _Steps:
    peaks: np.ndarray
    rows: list[tuple[str, str, float]]


def _certified(pair: Pair, region: Region, method: str) -> _Steps:
    if method == BEST:
        return _smallest(pair, region)
    rows = []
    for visit in walk(pair.operations, CHEAP[method](pair, region)):
        shape = pair.shapes[visit.operation.node]
        facts = known(visit.result, shape)
        rows.append((visit.operation.name, method, _log10(facts.peaks).max()))
    return _Steps(_outputs(facts, region, shape), rows)


def _smallest(pair: Pair, region: Region) -> _Steps:
    domains: dict[str, Domain] = {
        "channels": Channels(pair, cap_sizes=True, cap_errors=True),
        "intervals": Intervals(pair, region),
        "euclidean": Euclidean(pair, region),
    }
    rows = []
    for visit in walk(pair.operations, Smallest(pair, domains)):
        facts, said = visit.result["known"], visit.result["said"]
        rows.append((visit.operation.name, winner(said), _log10(facts.peaks).max()))
    return _Steps(_outputs(facts, region, pair.shapes[visit.operation.node]), rows)


def _outputs(facts: Known, region: Region, shape: tuple[int, ...]) -> np.ndarray:
    return _log10(facts.peaks.expand(len(region.low), *shape[1:]))


def _log10(logs: Tensor) -> np.ndarray:
    return (log_up(logs) / math.log(10)).numpy()
