"""T15: affine forms, for S' and for Δ = S - S', around one image.

A form is c + G ξ + r: a center, a number for each symbol ξ in [-1, 1], and what lies in an interval
of its own, [-r, r]. Layers and sums are exact on forms, so what a value owes to a pixel of the
input, or to a rounding on the way, can cancel later: between a skip and its branch too. Where an
activation bends, a line takes its place, and what is left becomes a symbol of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qnotes.networks.operations import Operation
from qnotes.propagation.intervals import TINY, Interval, Intervals, Signed, linear, met, outward
from qnotes.propagation.outward import EPSILON
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.walk import Domain
from qnotes.propagation.weights import bias_of


class Form(NamedTuple):
    """c + G ξ + r, coordinate by coordinate.

    Attributes:
        center: c, (1, ...).
        generators: G, (symbols, ...).
        radius: what lies within ±radius, (1, ...).
        symbols: which ones, rising, (symbols,).
    """

    center: Tensor
    generators: Tensor
    radius: Tensor
    symbols: Tensor

    @classmethod
    def of(cls, values: Interval) -> Form:
        """An interval without symbols."""
        center = values.low / 2 + values.high / 2
        radius = torch.maximum(values.high - center, center - values.low)
        nobody = torch.empty(0, dtype=torch.long)
        return cls(center, _none(center), radius * (1 + EPSILON), nobody)

    @property
    def reach(self) -> Tensor:
        """How far from the center at most, rounded up."""
        total = self.generators.abs().sum(0, keepdim=True)
        return (total + self.radius) * (1 + (len(self.symbols) + 4) * EPSILON)

    @property
    def interval(self) -> Interval:
        reach = self.reach
        return outward(self.center - reach, self.center + reach)

    def mapped(self, function: Callable[[Tensor], Tensor], terms: int = 0) -> Form:
        """Of a linear function that adds up to so many values with weights in [0, 1]."""
        lost = function(self.center.abs() + self.reach) * ((terms + 8) * EPSILON)
        radius = function(self.radius) + (lost + TINY if terms else 0)
        center = function(self.center)
        generators = function(self.generators) if len(self.symbols) else _none(center)
        return Form(center, generators, radius, self.symbols)

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


class Forms(NamedTuple):
    """What is known of S' and Δ as forms, and of S, S' and Δ in intervals (T10)."""

    theirs: Form
    error: Form
    signed: Signed


def added(*forms: Form) -> Form:
    """The sum: what comes of the same symbol is added with its sign."""
    symbols = torch.cat([form.symbols for form in forms]).unique()
    center = sum(form.center for form in forms)
    lost = sum(form.center.abs() + form.reach for form in forms) * (2 * len(forms) * EPSILON)
    radius = (sum(form.radius for form in forms) + lost) * (1 + 8 * EPSILON)
    return Form(center, sum(form.on(symbols) for form in forms), radius, symbols)


def layer(module: nn.Module, weight: Tensor, form: Form, bias: Tensor | None = None) -> Form:
    """W x + b, rounded outward; W may be a difference that was rounded once."""
    share = (weight[0].numel() + 12) * EPSILON
    center = linear(module, form.center, weight)
    size = form.center.abs() + form.reach
    radius = linear(module, form.radius * (1 + share) + size * share, weight.abs())
    if bias is not None:
        bias = bias.view(-1, *[1] * (center.dim() - 2))
        center = center + bias
        radius = radius + (center.abs() + bias.abs()) * (4 * EPSILON)
    radius = radius * (1 + 2 * share) + TINY
    generators = linear(module, form.generators, weight) if len(form.symbols) else _none(center)
    return Form(center, generators, radius, form.symbols)


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
        interval.
        """
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
            form = Form(form.center, form.generators[old], radius, form.symbols[old])
        fresh = torch.zeros(len(places), *half.shape[1:], dtype=torch.float64)
        fresh.flatten(1)[torch.arange(len(places)), places] = half.flatten()[places]
        symbols = torch.cat([form.symbols, self.fresh(len(places))])
        return form._replace(generators=torch.cat([form.generators, fresh]), symbols=symbols)


class Affine(Domain):
    """S' and Δ as affine forms, and beside them T10, which the forms make smaller.

    Args:
        pair: that is walked.
        region: one box of inputs.
        budget: of symbols; its `kept` is told.
    """

    def __init__(self, pair: Pair, region: Region, budget: Budget) -> None:
        self.budget, self.intervals = budget, Intervals(pair, region)

    def apply(self, operation: Operation, reads: tuple[Forms, ...]) -> Forms:
        """The rule for forms, where there is one; the intervals of T10 where there is none."""
        signed = self.intervals.apply(operation, tuple(read.signed for read in reads))
        rule = getattr(self, operation.kind, None)
        if rule is None:
            return Forms(self._anew(signed.theirs), self._anew(signed.error), signed)
        theirs, error = rule(operation, signed, *reads)
        signed = met(signed.ours, signed.theirs & theirs.interval, signed.error & error.interval)
        return Forms(theirs, error, signed)

    def identity(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, Form]:
        return read.theirs, read.error

    output = identity

    def input(self, operation: Operation, signed: Signed) -> tuple[Form, Form]:
        return self._anew(signed.theirs), Form.of(signed.error)

    def affine(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, Form]:
        """T1 on forms: W Δ + (W - W') S' + (b - b')."""
        module = operation.module
        ours, theirs = (m.weight.detach().double() for m in (module, operation.quantized))
        biases = [bias_of(m) for m in (module, operation.quantized)]
        error = added(
            layer(module, ours, read.error),
            layer(module, ours - theirs, read.theirs, biases[0] - biases[1]),
        )
        return layer(module, theirs, read.theirs, biases[1]), error

    def sum(self, operation: Operation, signed: Signed, *reads: Forms) -> tuple[Form, Form]:
        return (
            added(*(read.theirs for read in reads)),
            added(*(read.error for read in reads)),
        )

    def activation(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, Form]:
        """Lines for ReLU and ReLU6: of S' by its range, of Δ by what leaves least over."""
        cap = 6.0 if isinstance(operation.module, nn.ReLU6) else inf
        theirs = self._bent(read.theirs, *_chord(read.signed.theirs, cap))
        return theirs, self._bent(read.error, *_of_difference(read.signed, signed.error, cap))

    def average_pool(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, Form]:
        """Linear with positive weights; a window has no more terms than there are values."""
        terms = read.theirs.center.numel()
        return tuple(form.mapped(operation.module, terms) for form in read[:2])

    mean = average_pool

    def flatten(self, operation: Operation, signed: Signed, read: Forms) -> tuple[Form, Form]:
        return tuple(form.mapped(operation.module) for form in read[:2])

    padding = rearrangement = flatten

    def concatenation(
        self, operation: Operation, signed: Signed, *reads: Forms
    ) -> tuple[Form, Form]:
        theirs, error, _ = zip(*reads, strict=True)
        return tuple(_concatenated(operation.module, forms) for forms in (theirs, error))

    def _anew(self, values: Interval) -> Form:
        """A symbol for each coordinate that is not known."""
        form = Form.of(values)
        nothing = torch.zeros_like(form.radius)
        return self.budget.with_symbols(form._replace(radius=nothing), form.radius)

    def _bent(self, form: Form, slope: Tensor, rest: Interval) -> Form:
        """slope · form + rest, with a symbol for what is left."""
        middle = rest.low / 2 + rest.high / 2
        half = torch.maximum(rest.high - middle, middle - rest.low) * (1 + EPSILON)
        lost = (slope * (form.center.abs() + form.reach) + middle.abs()) * (4 * EPSILON)
        straight = (half == 0) & (middle == 0) & (slope == 1)
        radius = torch.where(straight, form.radius, slope * form.radius + lost)
        bent = Form(slope * form.center + middle, slope * form.generators, radius, form.symbols)
        flat = slope == 0  # whatever the form said, it may be infinite, is not needed
        bent = Form(
            torch.where(flat, middle, bent.center),
            bent.generators.masked_fill(flat, 0.0),
            radius.masked_fill(flat, 0.0),
            form.symbols,
        )
        return self.budget.with_symbols(bent, half)


def _concatenated(join: Callable[..., Tensor], forms: tuple[Form, ...]) -> Form:
    symbols = torch.cat([form.symbols for form in forms]).unique()
    return Form(
        join(*(form.center for form in forms)),
        join(*(form.on(symbols) for form in forms)),
        join(*(form.radius for form in forms)),
        symbols,
    )


def _chord(values: Interval, cap: float) -> tuple[Tensor, Interval]:
    """A slope s, and where σ(x) - s x lies, for σ(x) = min(max(x, 0), cap) on an interval."""
    low, high = values
    below, above = low.clamp(0, cap), high.clamp(0, cap)
    width = high - low
    slope = torch.where(width > 0, (above - below) / width, (low > 0).double()).clamp(0, 1)
    slope = torch.where((low >= 0) & (high <= cap), torch.ones_like(slope), slope)
    bends = [low, high, torch.zeros_like(low).clamp(low, high)]
    if cap < inf:
        bends.append(torch.full_like(low, cap).clamp(low, high))
    over = torch.stack([point.clamp(0, cap) - slope * point for point in bends])
    size = torch.maximum(low.abs(), high.abs()) * (4 * EPSILON)
    curved = (slope > 0) & (slope < 1)
    size = torch.where(curved, size, torch.zeros_like(size))
    unknown = ~over.isfinite().all(0)  # of an interval without ends
    low = (over.amin(0) - size).masked_fill(unknown, 0.0)
    high = (over.amax(0) + size).masked_fill(unknown, cap)
    return slope.masked_fill(unknown, 0.0), Interval(low, high)


def _of_difference(before: Signed, after: Interval, cap: float) -> tuple[Tensor, Interval]:
    """A slope s, and where Δ⁺ - s Δ lies; of the slopes 0, 1/2 and 1 the one that leaves least.

    0: T10 says where Δ⁺ lies. 1/2: Δ⁺ lies between 0 and Δ. 1: so it does, and where x is small
    below 0, max(x, 0) - x is small.
    """
    half = before.error.size / 2
    rising = Interval(-before.error.high.clamp_min(0), -before.error.low.clamp_max(0))
    if cap == inf:
        under = [Interval(-v.high.clamp_max(0), -v.low.clamp_max(0)) for v in before[:2]]
        rising = rising & under[0].plus(-under[1])
    straight = [(values.low >= 0) & (values.high <= cap) for values in before[:2]]
    rising = _zero_where(straight[0] & straight[1], rising)
    flat = [(values.high <= 0, values.low >= cap) for values in before[:2]]
    after = _zero_where((flat[0][0] & flat[1][0]) | (flat[0][1] & flat[1][1]), after)
    rests = [after, Interval(-half, half), rising]
    widths = torch.stack([rest.high - rest.low for rest in rests]).nan_to_num(inf, inf)
    best = widths.argmin(0, keepdim=True)
    ends = (torch.stack([getattr(rest, end) for rest in rests]) for end in ("low", "high"))
    return best[0].double() / 2, Interval(*(end.gather(0, best)[0] for end in ends))


def _zero_where(condition: Tensor, values: Interval) -> Interval:
    return Interval(*(end.masked_fill(condition, 0.0) for end in values))
