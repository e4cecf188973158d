"""T15: affine forms, for S, for S' and for Δ = S - S', around one image.

A form is c + G ξ + r: a center, a number for each symbol ξ in [-1, 1], and what lies in an interval
of its own, [-r, r]. Layers and sums are exact on forms, so what a value owes to a pixel of the
input, or to a rounding on the way, can cancel later: between a skip and its branch too. Where an
activation bends, a line takes its place, and what is left becomes a symbol of its own.

Of Δ a form says most while little bends, and later the forms of S and S': what they leave of Δ does
not depend on what is known of Δ, so it cannot run away with it.

A value is a form and a slip, a vector of which only the length in ℓ² is known: what float64's own
rounding took. It grows as T11 says, and not as intervals do, which would drown deep networks in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from qnotes.networks.operations import Operation
from qnotes.propagation.euclidean import column_sum
from qnotes.propagation.intervals import (
    TINY,
    Interval,
    Intervals,
    Signed,
    linear,
    met,
    outward,
    where,
)
from qnotes.propagation.outward import EPSILON
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.walk import Domain
from qnotes.propagation.weights import bias_of

#: More than what a length loses where squares become too small for float64.
SHORT = 1e-140
#: A coordinate so much smaller than the largest gets no symbol.
NEGLIGIBLE = 1e-12
#: Of the lines of S, S' and Δ, behind each activation.
Slopes = dict[fx.Node, tuple[Tensor, Tensor, Tensor]]


class Form(NamedTuple):
    """c + G ξ + r, coordinate by coordinate.

    Attributes:
        center: c, (1, ...).
        generators: G, (symbols, ...).
        radius: what lies within ±radius, (1, ...).
        symbols: which ones, rising, (symbols,).
        slip: how long in ℓ² what comes on top may be.
    """

    center: Tensor
    generators: Tensor
    radius: Tensor
    symbols: Tensor
    slip: float = 0.0

    @classmethod
    def of(cls, values: Interval) -> Form:
        """An interval without symbols."""
        center = values.low / 2 + values.high / 2
        radius = torch.maximum(values.high - center, center - values.low)
        nobody = torch.empty(0, dtype=torch.long)
        return cls(center, _none(center), radius * (1 + EPSILON), nobody)

    @property
    def reach(self) -> Tensor:
        """How far from the center at most, without the slip, rounded up."""
        total = self.generators.abs().sum(0, keepdim=True)
        return (total + self.radius) * (1 + (len(self.symbols) + 4) * EPSILON)

    @property
    def interval(self) -> Interval:
        reach = (self.reach + self.slip) * (1 + EPSILON)
        return outward(self.center - reach, self.center + reach)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Form:
        """Of a function that only moves coordinates, or puts zeros beside them."""
        center = function(self.center)
        generators = function(self.generators) if len(self.symbols) else _none(center)
        return Form(center, generators, function(self.radius), self.symbols, self.slip)

    def averaged(self, function: Callable[[Tensor], Tensor], stretch: float) -> Form:
        """Of means of any number of its coordinates, whose ℓ² norm is at most `stretch`."""
        share = (self.center.numel() + 8) * EPSILON
        lost = length(function(self.center.abs() + self.reach) * share + TINY)
        plain = self.mapped(function)
        slip = (stretch * self.slip + lost) * (1 + 4 * EPSILON)
        return plain._replace(radius=plain.radius * (1 + share), slip=slip)

    def on(self, symbols: Tensor) -> Tensor:
        """The generators of these symbols, which contain its own; 0 for the others."""
        if len(symbols) == len(self.symbols):
            return self.generators
        wider = torch.zeros(len(symbols), *self.generators.shape[1:], dtype=torch.float64)
        wider[torch.searchsorted(symbols, self.symbols)] = self.generators
        return wider


def _none(center: Tensor) -> Tensor:
    """No generators."""
    return torch.empty(0, *center.shape[1:], dtype=torch.float64)


def length(vector: Tensor) -> float:
    """In ℓ², rounded up."""
    found = torch.linalg.vector_norm(vector).item()
    return found * (1 + (vector.numel() + 8) * EPSILON) + SHORT * bool(vector.any())


class Forms(NamedTuple):
    """What is known of S, S' and Δ: a form of each, and of all three in intervals (T10)."""

    forms: tuple[Form, Form, Form]
    signed: Signed


def together(forms: Sequence[Form]) -> Tensor:
    """The symbols of all."""
    return torch.cat([form.symbols for form in forms]).unique()


def added(*forms: Form) -> Form:
    """The sum: what comes of the same symbol is added with its sign."""
    symbols = together(forms)
    center = sum(form.center for form in forms)
    lost = sum(form.center.abs() + form.reach for form in forms) * (2 * len(forms) * EPSILON)
    radius = sum(form.radius for form in forms) * (1 + 8 * EPSILON)
    slip = (sum(form.slip for form in forms) + length(lost)) * (1 + 8 * EPSILON)
    return Form(center, sum(form.on(symbols) for form in forms), radius, symbols, slip)


def layer(
    module: nn.Module, weight: Tensor, norm: float, form: Form, bias: Tensor | None = None
) -> Form:
    """W x + b, rounded outward; W, of spectral norm `norm`, may be a difference rounded once."""
    share = (weight[0].numel() + 12) * EPSILON
    center, radius = linear(module, form.center, weight), form.radius
    lost = linear(module, form.center.abs() + form.reach, weight.abs()) * (2 * share) + TINY
    if bias is not None:
        bias = bias.view(-1, *[1] * (center.dim() - 2))
        center = center + bias
        lost = lost + (center.abs() + bias.abs()) * (4 * EPSILON)
    radius = linear(module, radius, weight.abs()) * (1 + 2 * share)
    generators = linear(module, form.generators, weight) if len(form.symbols) else _none(center)
    slip = (norm * form.slip + length(lost)) * (1 + 4 * EPSILON)
    return Form(center, generators, radius, form.symbols, slip)


@dataclass
class Budget:
    """How many symbols a form may have.

    Attributes:
        most: the number.
        kept: whether no symbol was given up for lack of room.
        used: symbols that there are, in all forms.
    """

    most: int
    kept: bool = True
    used: int = 0

    def fresh(self, count: int) -> Tensor:
        """Symbols that no form has yet."""
        self.used += count
        return torch.arange(self.used - count, self.used)

    def with_symbols(self, form: Form, half: Tensor) -> Form:
        """What lies within ±half of a form, with a new symbol for each coordinate.

        Where there are too many, those stay that move the value most in all; others go into the
        interval. What is negligible goes into the slip.
        """
        small = half <= NEGLIGIBLE * (form.center.abs() + form.reach).max()
        slip = (form.slip + length(half.masked_fill(~small, 0.0))) * (1 + 2 * EPSILON)
        form, half = form._replace(slip=slip), half.masked_fill(small, 0.0)
        places = half.flatten().nonzero().flatten()
        weights = torch.cat([form.generators.abs().flatten(1).sum(1), half.flatten()[places]])
        if len(weights) > self.most:
            self.kept = False
            chosen = torch.zeros(len(weights), dtype=torch.bool)
            chosen[weights.topk(self.most).indices] = True
            old, new = chosen[: len(form.symbols)], chosen[len(form.symbols) :]
            given_up = form.generators[~old].abs().sum(0, keepdim=True)
            given_up.view(-1)[places[~new]] += half.flatten()[places[~new]]
            radius = (form.radius + given_up) * (1 + (len(old) + 4) * EPSILON)
            places = places[new]
            form = Form(form.center, form.generators[old], radius, form.symbols[old], slip)
        fresh = torch.zeros(len(places), *half.shape[1:], dtype=torch.float64)
        fresh.flatten(1)[torch.arange(len(places)), places] = half.flatten()[places]
        symbols = torch.cat([form.symbols, self.fresh(len(places))])
        return form._replace(generators=torch.cat([form.generators, fresh]), symbols=symbols)


class Affine(Domain):
    """S, S' and Δ as affine forms, and beside them T10, which the forms make smaller.

    Args:
        pair: that is walked.
        region: one box of inputs.
        budget: of symbols; its `kept` is told.
        norms: spectral norms of W, W' and W - W' of an operation, upper bounds.
        slopes: where units bend; all between 0 and 1 are sound. Those that are missing are put in,
            as they would be without.
    """

    def __init__(
        self,
        pair: Pair,
        region: Region,
        budget: Budget,
        norms: Callable[[Operation], Sequence[float]],
        slopes: Slopes | None = None,
    ) -> None:
        self.pair, self.budget, self.norms, self.slopes = pair, budget, norms, slopes
        self.intervals = Intervals(pair, region)

    def apply(self, operation: Operation, reads: tuple[Forms, ...]) -> Forms:
        """The rule for forms, where there is one; the intervals of T10 where there is none."""
        signed = self.intervals.apply(operation, tuple(read.signed for read in reads))
        rule = getattr(self, operation.kind, None)
        if rule is None:
            return Forms(tuple(map(self._anew, signed)), signed)
        forms = rule(operation, signed, *reads)
        found = (values & form.interval for values, form in zip(signed, forms, strict=True))
        return Forms(forms, met(*found))

    def identity(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, ...]:
        return read.forms

    output = identity

    def input(self, operation: Operation, signed: Signed) -> tuple[Form, ...]:
        values = self._anew(signed.theirs)
        return values, values, Form.of(signed.error)

    def affine(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, ...]:
        """T1 on forms: W Δ + (W - W') S' + (b - b')."""
        module = operation.module
        ours, theirs = (m.weight.detach().double() for m in (module, operation.quantized))
        biases = [bias_of(m) for m in (module, operation.quantized)]
        norms, (of_ours, of_theirs, of_error) = self.norms(operation), read.forms
        error = added(
            layer(module, ours, norms[0], of_error),
            layer(module, ours - theirs, norms[2], of_theirs, biases[0] - biases[1]),
        )
        return (
            layer(module, ours, norms[0], of_ours, biases[0]),
            layer(module, theirs, norms[1], of_theirs, biases[1]),
            error,
        )

    def sum(self, operation: Operation, signed: Signed, *reads: Forms) -> tuple[Form, ...]:
        return tuple(added(*several) for several in _side_by_side(reads))

    def activation(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, ...]:
        """Lines for ReLU and ReLU6: of S and S' by their ranges, of Δ by what leaves least over.

        They are lines of the values themselves, so a slip becomes no longer.
        """
        cap = 6.0 if isinstance(operation.module, nn.ReLU6) else inf
        before, change = read.signed, _Change.of(read.signed, signed.error, cap)
        ours, theirs, error = self._slopes(operation.node, before, change, cap)
        lines = (
            _beside(ours, before.ours, cap),
            _beside(theirs, before.theirs, cap),
            (error, change.beside(error)),
        )
        return tuple(self._bent(form, *line) for form, line in zip(read.forms, lines, strict=True))

    def _slopes(
        self, node: fx.Node, values: Signed, change: _Change, cap: float
    ) -> tuple[Tensor, ...]:
        """Chords for S and S', and for Δ what leaves least; or what is given, where units bend."""
        plain = *(_chord(each, cap) for each in values[:2]), change.best
        if self.slopes is None:
            return plain
        left = change.beside(plain[2])
        free = *((slope > 0) & (slope < 1) for slope in plain[:2]), left.high > left.low
        own = self.slopes.setdefault(node, tuple(s.clone().requires_grad_() for s in plain))
        return tuple(map(torch.where, free, (slope.clamp(0, 1) for slope in own), plain))

    def average_pool(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, ...]:
        stretch = sqrt(column_sum(operation, self.pair)) * (1 + 4 * EPSILON)
        return tuple(form.averaged(operation.module, stretch) for form in read.forms)

    mean = average_pool

    def flatten(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, ...]:
        return tuple(form.mapped(operation.module) for form in read.forms)

    padding = rearrangement = flatten

    def concatenation(
        self, operation: Operation, signed: Signed, *reads: Forms
    ) -> tuple[Form, ...]:
        join = operation.module
        return tuple(_concatenated(join, several) for several in _side_by_side(reads))

    def _anew(self, values: Interval) -> Form:
        """A symbol for each coordinate that is not known."""
        form = Form.of(values)
        nothing = torch.zeros_like(form.radius)
        return self.budget.with_symbols(form._replace(radius=nothing), form.radius)

    def _bent(self, form: Form, slope: Tensor, rest: Interval) -> Form:
        """slope · form + rest, with a symbol for what is left."""
        middle = rest.low / 2 + rest.high / 2
        half = torch.maximum(rest.high - middle, middle - rest.low) * (1 + EPSILON)
        lost = (slope * (form.center.abs() + form.reach) + middle.abs()) * (4 * EPSILON) + TINY
        straight = (half == 0) & (middle == 0) & (slope == 1)
        flat = slope == 0  # whatever the form said, it may be infinite, is not needed
        lost = lost.masked_fill(straight, 0.0).masked_fill(flat, 0.0)
        bent = Form(
            torch.where(flat, middle, slope * form.center + middle),
            (slope * form.generators).masked_fill(flat, 0.0),
            (slope * form.radius).masked_fill(flat, 0.0) * (1 + EPSILON),
            form.symbols,
            (form.slip + length(lost)) * (1 + EPSILON),
        )
        return self.budget.with_symbols(bent, half)


def _side_by_side(reads: Sequence[Forms]) -> Iterator[tuple[Form, ...]]:
    """The forms of S of all that is read, those of S', and those of Δ."""
    return zip(*(read.forms for read in reads), strict=True)


def _concatenated(join: Callable[..., Tensor], forms: tuple[Form, ...]) -> Form:
    symbols = together(forms)
    return Form(
        join(*(form.center for form in forms)),
        join(*(form.on(symbols) for form in forms)),
        join(*(form.radius for form in forms)),
        symbols,
        sum(form.slip for form in forms) * (1 + len(forms) * EPSILON),
    )


def _chord(values: Interval, cap: float) -> Tensor:
    """The slope between both ends of the graph of σ(x) = min(max(x, 0), cap) on an interval."""
    low, high = (end.detach() for end in values)
    width = high - low
    slope = (high.clamp(0, cap) - low.clamp(0, cap)) / width
    slope = torch.where(width > 0, slope, (low > 0).double()).clamp(0, 1).nan_to_num(0.0)
    return torch.where((low >= 0) & (high <= cap), torch.ones_like(slope), slope)


def _beside(slope: Tensor, values: Interval, cap: float) -> tuple[Tensor, Interval]:
    """The slope s, and where σ(x) - s x lies on an interval; s = 0 where it has no ends."""
    low, high = values
    bends = [low, high, torch.zeros_like(low).clamp(low, high)]
    if cap < inf:
        bends.append(torch.full_like(low, cap).clamp(low, high))
    over = torch.stack([point.clamp(0, cap) - slope * point for point in bends])
    found = Interval(over.amin(0), over.amax(0))
    exact = (slope == 0) | ((slope == 1) & (high <= cap))
    low, high = where(exact, found, _looser(found, values.size))
    unknown = ~over.isfinite().all(0)
    rest = Interval(low.masked_fill(unknown, 0.0), high.masked_fill(unknown, cap))
    return slope.masked_fill(unknown, 0.0), rest


class _Change(NamedTuple):
    """Where Δ lies before an activation, Δ⁺ behind it, and Δ⁺ - Δ."""

    before: Interval
    after: Interval
    rising: Interval

    @classmethod
    def of(cls, before: Signed, after: Interval, cap: float) -> _Change:
        """T10 says where Δ⁺ lies. Where x is small below 0, max(x, 0) - x is small."""
        rising = Interval(-before.error.high.clamp_min(0), -before.error.low.clamp_max(0))
        if cap == inf:
            under = [Interval(-v.high.clamp_max(0), -v.low.clamp_max(0)) for v in before[:2]]
            rising = rising & under[0].minus(under[1])
        straight = [(values.low >= 0) & (values.high <= cap) for values in before[:2]]
        rising = _zero_where(straight[0] & straight[1], rising)
        flat = [(values.high <= 0, values.low >= cap) for values in before[:2]]
        off = (flat[0][0] & flat[1][0]) | (flat[0][1] & flat[1][1])
        return cls(before.error, _zero_where(off, after), rising)

    @property
    def best(self) -> Tensor:
        """Of the slopes 0, 1/2 and 1 the one that leaves least."""
        rests = [self.beside(torch.full_like(self.after.low, share)) for share in (0.0, 0.5, 1.0)]
        widths = torch.stack([rest.high - rest.low for rest in rests]).nan_to_num(inf, inf)
        return widths.argmin(0).double() / 2

    def beside(self, slope: Tensor) -> Interval:
        """Where Δ⁺ - s Δ lies: it is (θ - s) Δ with θ in [0, 1], and (1 - s) Δ⁺ + s (Δ⁺ - Δ)."""
        (low, high), other = self.before, 1 - slope
        shares = Interval(
            torch.minimum(_times(other, low), -_times(slope, high)),
            torch.maximum(_times(other, high), -_times(slope, low)),
        )
        ends = zip(self.after, self.rising, strict=True)
        mixed = Interval(*(_times(other, end) + _times(slope, more) for end, more in ends))
        size = _times(other, self.after.size) + _times(slope, self.rising.size)
        found = _looser(shares, self.before.size) & _looser(mixed, size)
        for share, exactly in ((0, self.after), (1, self.rising)):
            found = where(slope == share, exactly, found)
        return found


def _looser(values: Interval, size: Tensor) -> Interval:
    """Ends that are off by what some operations on numbers of this size lose."""
    return outward(values.low - size * (4 * EPSILON), values.high + size * (4 * EPSILON))


def _times(share: Tensor, values: Tensor) -> Tensor:
    """0 times infinity is 0."""
    return torch.where(share > 0, share * values, torch.zeros_like(values))


def _zero_where(condition: Tensor, values: Interval) -> Interval:
    return Interval(*(end.masked_fill(condition, 0.0) for end in values))
