"""`certify`: upper bounds on the error of each output, by one domain or by all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, fx, nn

from qnotes.errors import NotVerified, QnotesError, UnsupportedOperation
from qnotes.propagation.channels import Channels
from qnotes.propagation.ellipsoids import Diagonals, Ellipsoids, at_center, check_size
from qnotes.propagation.euclidean import Euclidean
from qnotes.propagation.intervals import Intervals
from qnotes.propagation.norms import Norms
from qnotes.propagation.optimizing import optimize
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
ELLIPSOIDS = "ellipsoids"
METHODS = (BEST, *CHEAP, ELLIPSOIDS)
#: Frequencies of each axis on which diagonals are found first, and then.
FIRST, SECOND = 3, 5


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
        left_out: by ``best``: the methods that have no bound here, and why.
    """

    log10: np.ndarray
    method: str
    layers: pd.DataFrame
    provenance: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    left_out: Mapping[str, str] = field(default_factory=dict)

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
    seconds: float = 10.0,
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
        method: ``norms`` (T2), ``channels`` (T8), ``intervals`` (T10), ``euclidean`` (T11),
            ``ellipsoids`` (T14); or ``best``: after each operation the smallest of what all say
            goes on, of those that have a rule for every operation of the network, and for T14 the
            memory: a real network on images of 224 × 224 has T8, T10 and T11.
        seconds: for finding the diagonals of T14; more make the bound smaller. With 0 they are
            multiples of λ_max. The evaluation that follows takes its own time.
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
        steps = _certified(pair, region, method, seconds)
    layers = pd.DataFrame(steps.rows, columns=["name", "domain", "log10"])
    about = {"radius": radius, "images": 0 if center is None else len(center), "within": within}
    if np.isnan(steps.peaks).any():  # no bound may be read as one
        raise NotVerified(f"method={method!r} has no number in float64 for this network and region")
    log10 = steps.peaks if center is not None else steps.peaks[0]
    taken = time.perf_counter() - start
    origin = {**(provenance or {}), **about}
    return Certificate(log10, method, layers, origin, taken, steps.left_out)


#: Bounds on the graph: theorem, its name, and the method that has it.
ON_THE_GRAPH = (
    ("T8", "vector form", "channels"),
    ("T10", "intervals with signs", "intervals"),
    ("T11", "Euclidean norms", "euclidean"),
    ("T14", "ellipsoids", ELLIPSOIDS),
)


def graph_bounds(
    network: nn.Module, quantized: nn.Module, **options
) -> list[tuple[str, str, float, str]]:
    """For each bound on the graph: theorem, name, log10 of the largest, and why it has none."""
    rows = []
    for theorem, name, method in ON_THE_GRAPH:
        try:
            found, reason = certify(network, quantized, method=method, **options).largest, ""
        except (UnsupportedOperation, NotVerified) as error:
            found, reason = math.nan, str(error)
        rows.append((theorem, name, found, reason))
    return rows


@dataclass(frozen=True)
class _Steps:
    peaks: np.ndarray
    rows: list[tuple[str, str, float]]
    left_out: Mapping[str, str] = field(default_factory=dict)


def _certified(pair: Pair, region: Region, method: str, seconds: float) -> _Steps:
    if method == BEST:
        return _smallest(pair, region, seconds)
    if method == ELLIPSOIDS:
        facts = _ellipsoids(pair, region, seconds)
        rows = [(o.name, method, _log10(facts[o.node].peaks).max()) for o in pair.operations]
        last = pair.operations[-1].node
        return _Steps(_outputs(facts[last], region, pair.shapes[last]), rows)
    rows = []
    for visit in walk(pair.operations, CHEAP[method](pair, region)):
        shape = pair.shapes[visit.operation.node]
        facts = known(visit.result, shape)
        rows.append((visit.operation.name, method, _log10(facts.peaks).max()))
    return _Steps(_outputs(facts, region, shape), rows)


def _ellipsoids(pair: Pair, region: Region, seconds: float) -> dict[fx.Node, Known]:
    """What T14 says of each value: diagonals for the first image, used around every one."""
    if missing := _missing(Ellipsoids, pair):
        raise UnsupportedOperation(missing)
    check_size(pair)
    diagonals, first = Diagonals(), Region(region.low[:1], region.high[:1])
    if seconds > 0 and bool((region.reach > 0).any()):
        for share, small in ((0.6, FIRST), (0.4, SECOND)):
            optimize(pair, first, diagonals, seconds=share * seconds, small=small)
    found = [
        _walked(pair, Region(low[None], high[None]), diagonals)
        for low, high in zip(region.low, region.high, strict=True)
    ]
    return {node: _stacked([one[node] for one in found]) for node in found[0]}


def _walked(pair: Pair, region: Region, diagonals: Diagonals) -> dict[fx.Node, Known]:
    domain = Ellipsoids(pair, region, at_center(pair, region), diagonals)
    facts = {}
    for visit in walk(pair.operations, domain):
        _ = visit.result
        facts[visit.operation.node] = domain.facts(visit.operation.node)
    return facts


def _stacked(facts: list[Known]) -> Known:
    return Known(*(torch.cat(parts) for parts in zip(*facts, strict=True)))


def _smallest(pair: Pair, region: Region, seconds: float) -> _Steps:
    domains: dict[str, Domain] = {
        "channels": Channels(pair, cap_sizes=True, cap_errors=True),
        "intervals": Intervals(pair, region),
        "euclidean": Euclidean(pair, region),
    }
    left_out = {name: _missing(type(domain), pair) for name, domain in domains.items()}
    left_out = {name: reason for name, reason in left_out.items() if reason}
    domains = {name: domain for name, domain in domains.items() if name not in left_out}
    rows, facts = [], {}
    try:
        facts = {ELLIPSOIDS: _ellipsoids(pair, region, seconds)}
    except (UnsupportedOperation, NotVerified) as error:  # the others have a bound
        left_out[ELLIPSOIDS] = str(error)
    for visit in walk(pair.operations, Smallest(pair, domains, facts)):
        facts, said = visit.result["known"], visit.result["said"]
        rows.append((visit.operation.name, winner(said), _log10(facts.peaks).max()))
    return _Steps(_outputs(facts, region, pair.shapes[visit.operation.node]), rows, left_out)


def _missing(domain: type[Domain], pair: Pair) -> str:
    """What keeps a domain from walking through the whole network; T8 always can."""
    for operation in pair.operations:
        if not hasattr(domain, operation.kind):
            return f"{operation.name}: {domain.__name__} has no rule for {operation.kind}"
    return ""


def _outputs(facts: Known, region: Region, shape: tuple[int, ...]) -> np.ndarray:
    return _log10(facts.peaks.expand(len(region.low), *shape[1:]))


def _log10(logs: Tensor) -> np.ndarray:
    return (log_up(logs) / math.log(10)).numpy()
