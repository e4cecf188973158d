"""`certify`: upper bounds on the error of each output, by one domain or by all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, fx, nn
from tqdm import tqdm

from qnotes.errors import NotVerified, QnotesError, UnsupportedOperation, real
from qnotes.networks.operations import Operation
from qnotes.networks.tracing import check_module
from qnotes.propagation.affine import Affine, Budget, Slopes
from qnotes.propagation.channels import Channels
from qnotes.propagation.ellipsoids import (
    Diagonals,
    Ellipsoids,
    at_center,
    check_memory,
    gradient_memory,
    thrifty,
)
from qnotes.propagation.euclidean import Euclidean
from qnotes.propagation.intervals import Intervals
from qnotes.propagation.norms import Norms
from qnotes.propagation.optimizing import Told, better_slopes, optimize
from qnotes.propagation.outward import log_up
from qnotes.propagation.pair import Pair, checked_pair
from qnotes.propagation.rationals import exact
from qnotes.propagation.regions import Region, checked_region
from qnotes.propagation.smallest import Known, Smallest, known, peak, winner
from qnotes.propagation.walk import Domain, Visit, no_rule, walk
from qnotes.propagation.weights import check_weights

BEST = "best"
#: What each cheap method walks with.
CHEAP = {
    "norms": lambda pair, region: Norms(pair),
    "channels": lambda pair, region: Channels(pair),
    "intervals": Intervals,
    "euclidean": Euclidean,
}
#: Those that say where weights are not finite as they read them; reading is what they cost.
QUICK = ("norms", "channels", "intervals")
ELLIPSOIDS = "ellipsoids"
AFFINE = "affine"
METHODS = (BEST, *CHEAP, ELLIPSOIDS, AFFINE)
THEOREMS = dict(zip(METHODS[1:], ("T2", "T8", "T10", "T11", "T14", "T15"), strict=True))
#: What ``best`` says at radius 0, where both networks can be computed in rational numbers.
EXACT = "exact"
#: Symbols of T15, at first: so many, or more where a form then has no more numbers than that.
SYMBOLS, NUMBERS = 256, 1 << 22
#: What T15 takes for each symbol that a form may have and each coordinate of the largest value; and
#: a step on its slopes for each symbol that there is and all coordinates.
FORM_BYTES, SLOPE_BYTES = 160, 200
#: Coordinates of the largest value of a network so small that T15 costs next to nothing.
LITTLE = 2048
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
        said: log10 of what each domain that took part says of the largest output error; those of
            ``best`` have been told the smallest of all on the way, except ``ellipsoids``.
        diagonals: of T14, as they were found; None where it took no part.
        left_out: by ``best``: the methods that have no bound here, and why.
    """

    log10: np.ndarray
    method: str
    layers: pd.DataFrame
    provenance: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    said: Mapping[str, float] = field(default_factory=dict)
    diagonals: Diagonals | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line; the parts have names of their own."""
        about = f"largest bound about {self.bound.max():.4g} (log10 {self.largest:.4f})"
        return f"Certificate(method={self.method!r}, {about}, {self.seconds:.2g} s)"

    @property
    def bound(self) -> np.ndarray:
        """The bounds themselves; inf where one is too large for float64."""
        with np.errstate(over="ignore"):
            values = np.power(10.0, self.log10)
        share = 1e-13 * np.maximum(1, np.abs(np.nan_to_num(self.log10, neginf=0)))
        # Below float64's normal numbers a share of them is nothing.
        return values * (1 + share) + 4 * 5e-324 * (self.log10 > -np.inf)

    @property
    def largest(self) -> float:
        """log10 of the largest bound, which bounds E."""
        return float(self.log10.max())


@torch.inference_mode(False)  # there no gradient leads anywhere
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
    memory: float = 8e9,
    diagonals: Diagonals | None = None,
    provenance: Mapping[str, object] | None = None,
    progress: bool = False,
) -> Certificate:
    """An upper bound on the error of each output, for all inputs of a region.

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`).
        quantized: the same network with other weights.
        input_shape: shape of one batch, batch dimension first; not needed with `center`.
        radius: D, or a number for each channel of the input.
        center: images, (images, ...): then the region is the ball of this radius, in the maximum
            norm, around each of them; radius 0 is the image alone. Without it, it is
            :math:`[-D, D]^{N_0}`.
        within: the values that inputs can have at all, such as (0, 1).
        method: ``norms`` (T2), ``channels`` (T8), ``intervals`` (T10), ``euclidean`` (T11),
            ``ellipsoids`` (T14), ``affine`` (T15, made for balls); or ``best``: after each
            operation the smallest of what all say goes on, of those that have a rule for every
            operation of the network, and for T14 the memory: on images of 224 × 224 it asks for
            20 GiB and takes ten minutes or more for ResNet-18, and more for most others. T15 takes
            part around images, and in small networks. At radius 0, where all operations have
            rational results and are not too many, both networks are computed in rational numbers:
            nothing is rounded. Descents run on the clock: of what ``best`` says a second time, or
            beside one of its methods by itself, digits differ.
        seconds: for finding the diagonals of T14; more make the bound smaller. With 0 they are
            multiples of the largest eigenvalue, or of Z's diagonal where few channels became many.
            The evaluation that follows takes its own time. T15 is tried with more and more symbols,
            and then with better slopes, until so many seconds would be over for all images.
        memory: bytes, about, that T14's matrices and T15's generators may take at once: where T14
            needs more it is refused before it begins, or has no descent, and T15 has fewer symbols.
        diagonals: where finding them starts, such as the `diagonals` of a certificate of the same
            network at another number of bits: any are sound, and good ones stay good.
        provenance: of the networks, kept with the result.
        progress: show a bar.

    Returns:
        Bounds that hold for float64's rounding too.

    Raises:
        QnotesError: for a region, a method or a memory that makes no sense, weights that are not
            finite, and what `qnotes.profile` raises.
    """
    start = time.perf_counter()
    for given in (network, quantized):
        check_module(given)
    _check_options(method, seconds, memory, diagonals, provenance)
    region = checked_region(input_shape, radius, center, within)
    shape = tuple(region.low.shape)
    with torch.no_grad():
        pair = checked_pair(network, quantized, input_shape=shape, radius=region.radii)
        if method not in QUICK:
            check_weights(pair.operations)
        found = Diagonals() if diagonals is None else diagonals.copy()
        effort = _Effort(seconds, memory, found, progress)
        steps = _certified(pair, region, method, effort, around=center is not None)
    layers = pd.DataFrame(steps.rows, columns=["name", "domain", "log10"])
    about = {"radius": radius, "images": 0 if center is None else len(center), "within": within}
    if np.isnan(steps.peaks).any():  # no bound may be read as one
        raise NotVerified(f"method={method!r} has no number in float64 for this network and region")
    log10 = steps.peaks if center is not None else steps.peaks[0]
    taken = time.perf_counter() - start
    found = found if ELLIPSOIDS in steps.said else None
    origin = {**(provenance or {}), **about}
    return Certificate(
        log10, method, layers, origin, taken, said=steps.said, diagonals=found,
        left_out=steps.left_out,
    )  # fmt: skip


def _check_options(
    method: object, seconds: object, memory: object, diagonals: object, provenance: object
) -> None:
    if not isinstance(method, str) or method not in METHODS:
        known_ones = ", ".join(f"{name} ({theorem})" for name, theorem in THEOREMS.items())
        raise QnotesError(f"method must be one of {BEST}, {known_ones}; got {method!r}")
    time_left, room = real(seconds), real(memory)
    if time_left is None or not time_left >= 0:
        raise QnotesError(f"seconds must be a number, 0 or larger; got {seconds!r}")
    if room is None or not room > 0:
        raise QnotesError(f"memory must be a positive number of bytes, such as 8e9; got {memory!r}")
    if not isinstance(diagonals, Diagonals | None):
        hint = "; pass its .diagonals" if isinstance(diagonals, Certificate) else ""
        what = type(diagonals).__name__
        raise QnotesError(f"diagonals must be those of a certificate; got {what}{hint}")
    if not isinstance(provenance, Mapping | None):
        raise QnotesError(f"provenance must be a mapping; got {type(provenance).__name__}")


#: Methods that bound the graph, for boxes, and what their bounds are called.
ON_THE_GRAPH = {
    "channels": "vector form",
    "intervals": "intervals with signs",
    "euclidean": "Euclidean norms",
    ELLIPSOIDS: "ellipsoids",
}


def graph_bounds(
    network: nn.Module, quantized: nn.Module, **options
) -> list[tuple[str, str, float, str]]:
    """For each bound on the graph: theorem, name, log10 of the largest, and why it has none."""
    rows = []
    for method, name in ON_THE_GRAPH.items():
        try:
            found, reason = certify(network, quantized, method=method, **options).largest, ""
        except (UnsupportedOperation, NotVerified) as error:
            found, reason = math.nan, str(error)
        rows.append((THEOREMS[method], name, found, reason))
    return rows


@dataclass(frozen=True)
class _Steps:
    peaks: np.ndarray
    rows: list[tuple[str, str, float]]
    said: dict[str, float]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Effort:
    """Seconds for the diagonals of T14, which are found in place; bytes; whether a bar shows it."""

    seconds: float
    memory: float
    diagonals: Diagonals
    progress: bool

    def walk(self, pair: Pair, domain: Domain, name: str) -> Iterator[Visit]:
        options = {"total": len(pair.operations), "unit": " operations", "leave": False}
        visits = walk(pair.operations, domain)
        return iter(tqdm(visits, desc=name, disable=not self.progress, **options))

    @contextmanager
    def steps(self, name: str) -> Iterator[Told]:
        """What shows the steps of a descent."""
        with tqdm(desc=name, unit=" steps", disable=not self.progress, leave=False) as bar:

            def told(step: int, log10: float) -> None:
                bar.set_postfix_str(f"log10 about {log10:.2f}", refresh=False)
                bar.update()

            yield told


def _certified(pair: Pair, region: Region, method: str, effort: _Effort, *, around: bool) -> _Steps:
    if method == BEST:
        return _smallest(pair, region, effort, around)
    if method in (ELLIPSOIDS, AFFINE):
        facts = (_ellipsoids if method == ELLIPSOIDS else _affine)(pair, region, effort)
        rows = [(o.name, method, _largest(facts[o.node])) for o in pair.operations]
        last = pair.operations[-1].node
        outputs = _outputs(facts[last], region, pair.shapes[last])
        return _Steps(outputs, rows, {method: _largest(facts[last])})
    rows = []
    for visit in effort.walk(pair, CHEAP[method](pair, region), method):
        shape = pair.shapes[visit.operation.node]
        rows.append((visit.operation.name, method, float(_log10(peak(visit.result, shape)))))
    facts = known(visit.result, shape)
    return _Steps(_outputs(facts, region, shape), rows, {method: _largest(facts)})


def _ellipsoids(pair: Pair, region: Region, effort: _Effort) -> dict[fx.Node, Known]:
    """What T14 says of each value: diagonals for the first image, used around every one."""
    if missing := _missing(Ellipsoids, pair):
        raise UnsupportedOperation(missing)
    pair = thrifty(pair)
    check_memory(pair, effort.memory)
    fits = gradient_memory(pair, SECOND) <= effort.memory
    if fits and effort.seconds > 0 and bool((region.reach > 0).any()):
        _descend(pair, Region(region.low[:1], region.high[:1]), effort)
    found = [
        _walked(pair, Region(low[None], high[None]), effort)
        for low, high in zip(region.low, region.high, strict=True)
    ]
    return {node: _stacked([one[node] for one in found]) for node in found[0]}


def _descend(pair: Pair, region: Region, effort: _Effort) -> None:
    # Few frequencies would spoil what has been found on more.
    shares = ((1.0, SECOND),) if effort.diagonals.found else ((0.6, FIRST), (0.4, SECOND))
    with effort.steps("diagonals") as told:
        for share, small in shares:
            seconds = share * effort.seconds
            optimize(pair, region, effort.diagonals, seconds=seconds, small=small, told=told)


def _walked(pair: Pair, region: Region, effort: _Effort) -> dict[fx.Node, Known]:
    domain = Ellipsoids(pair, region, at_center(pair, region), effort.diagonals)
    facts = {}
    for visit in effort.walk(pair, domain, ELLIPSOIDS):
        _ = visit.result
        facts[visit.operation.node] = domain.facts(visit.operation.node)
    return facts


def _affine(
    pair: Pair, region: Region, effort: _Effort, euclidean: Euclidean | None = None
) -> dict[fx.Node, Known]:
    """What T15 says of each value, around one image after the other; T11 has its spectral norms."""
    seconds = effort.seconds / len(region.low)
    norms = (euclidean or Euclidean(pair, region)).norms
    found = [
        _with_more_symbols(pair, Region(low[None], high[None]), norms, effort, seconds)
        for low, high in zip(region.low, region.high, strict=True)
    ]
    return {node: _stacked([one[node] for one in found]) for node in found[0]}


def _with_more_symbols(
    pair: Pair,
    region: Region,
    norms: Callable[[Operation], Sequence[float]],
    effort: _Effort,
    seconds: float,
) -> dict[fx.Node, Known]:
    """Four times as many symbols each time, while they are wanted, and there is time and room.

    Where there is a symbol for everything, what is left of the time goes into the slopes.
    """
    end = time.perf_counter() + seconds
    room = max(1, int(min(effort.memory, 1e18) / (FORM_BYTES * _coordinates(pair))))
    symbols, facts = min(max(SYMBOLS, NUMBERS // _coordinates(pair)), room), {}

    def evaluate(slopes: Slopes | None = None) -> Budget:
        budget = Budget(symbols)
        for visit in effort.walk(pair, Affine(pair, region, budget, norms, slopes), AFFINE):
            node = visit.operation.node
            mine = known(visit.result.signed, pair.shapes[node])
            facts[node] = mine & facts[node] if node in facts else mine
        return budget

    while True:
        start = time.perf_counter()
        budget = evaluate()
        now = time.perf_counter()
        if budget.kept:
            break
        symbols *= 4
        if now + 4 * (now - start) > end or symbols > room:
            return facts
    left = end - now - (now - start)  # one more evaluation follows
    if left > 0 and SLOPE_BYTES * budget.used * _coordinates(pair, sum) <= effort.memory:
        with effort.steps("slopes") as told:
            slopes = better_slopes(pair, region, norms, symbols, seconds=left, told=told)
        if slopes:
            evaluate(slopes)
    return facts


def _coordinates(pair: Pair, of: Callable = max) -> int:
    """Of the largest value, or the sum of all."""
    return of(math.prod(shape[1:]) for shape in pair.shapes.values())


def _stacked(facts: list[Known]) -> Known:
    return Known(*(torch.cat(parts) for parts in zip(*facts, strict=True)))


def _smallest(pair: Pair, region: Region, effort: _Effort, around: bool) -> _Steps:
    euclidean = Euclidean(pair, region)
    domains: dict[str, Domain] = {
        "channels": Channels(pair, cap_sizes=True, cap_errors=True),
        "intervals": Intervals(pair, region),
        "euclidean": euclidean,
    }
    left_out = {name: _missing(type(domain), pair) for name, domain in domains.items()}
    left_out = {name: reason for name, reason in left_out.items() if reason}
    domains = {name: domain for name, domain in domains.items() if name not in left_out}
    dear = {ELLIPSOIDS: lambda: _ellipsoids(pair, region, effort)}
    if (around or _coordinates(pair) <= LITTLE) and "intervals" in domains:
        dear[AFFINE] = lambda: _affine(pair, region, effort, euclidean)
    if not bool(region.reach.any()):
        dear = {EXACT: lambda: exact(pair, region)} | dear
    rows, facts = [], {}
    for name, made in dear.items():
        if EXACT not in facts:  # there is no more to know
            try:
                facts[name] = made()
            except (UnsupportedOperation, NotVerified) as error:  # the others have a bound
                left_out[name] = str(error)
    for visit in effort.walk(pair, Smallest(pair, domains, facts), BEST):
        facts, said = visit.result["known"], visit.result["said"]
        rows.append((visit.operation.name, winner(said), _largest(facts)))
    outputs = _outputs(facts, region, pair.shapes[visit.operation.node])
    said = {name: _largest(value) for name, value in said.items()}
    return _Steps(outputs, rows, said, left_out)


def _missing(domain: type[Domain], pair: Pair) -> str:
    """What keeps a domain from walking through the whole network; T8 always can."""
    for operation in pair.operations:
        if not hasattr(domain, operation.kind):
            return no_rule(domain, operation)
    return ""


def _outputs(facts: Known, region: Region, shape: tuple[int, ...]) -> np.ndarray:
    return _log10(facts.peaks.expand(len(region.low), *shape[1:]))


def _largest(facts: Known) -> float:
    """log10 of the bound on the largest coordinate."""
    return float(_log10(facts.peaks).max())


def _log10(logs: Tensor) -> np.ndarray:
    return (log_up(logs) / math.log(10)).numpy()
