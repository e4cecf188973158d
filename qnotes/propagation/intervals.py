"""T10: intervals with signs, for S, for S' and for their difference, coordinate by coordinate.

T8 keeps the size of an error; its sign is lost at the first layer. Here signs are kept, and what
both networks' values say about their difference is used at each activation. At radius 0 nothing is
lost but rounding.
"""

from __future__ import annotations

from math import inf, prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qnotes.networks.activations import slope_of
from qnotes.networks.operations import Operation
from qnotes.propagation.outward import EPSILON
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.walk import Domain
from qnotes.propagation.weights import bias_of, check_sums

#: More than what a sum loses where its terms become too small for float64.
TINY = 2.0**-1000


class Interval(NamedTuple):
    """All numbers between two, both included: tensors of one shape."""

    low: Tensor
    high: Tensor

    def __and__(self, other: Interval) -> Interval:
        """What lies in both; they have a number in common."""
        return Interval(torch.maximum(self.low, other.low), torch.minimum(self.high, other.high))

    def plus(self, other: Interval, *, room: bool = False) -> Interval:
        """The sum, rounded outward; or as it is, where the ends have room for its rounding."""
        ends = self.low + other.low, self.high + other.high
        return Interval(*ends) if room else _raised(*ends)

    def minus(self, other: Interval, *, room: bool = False) -> Interval:
        """The difference, likewise."""
        ends = self.low - other.high, self.high - other.low
        return Interval(*ends) if room else _raised(*ends)

    def times(self, other: Interval) -> Interval:
        """The product, rounded outward; 0 times infinity is 0."""
        products = torch.stack([a * b for a in self for b in other]).nan_to_num(0.0, inf, -inf)
        return outward(products.amin(0), products.amax(0))

    def through(self, monotone) -> Interval:
        """Of a function that is computed exactly and never decreases."""
        return Interval(monotone(self.low), monotone(self.high))

    @property
    def size(self) -> Tensor:
        """The largest absolute value."""
        return torch.maximum(self.low.abs(), self.high.abs())


class Ball(NamedTuple):
    """All numbers that are no farther than a radius from a center: tensors of one shape."""

    center: Tensor
    radius: Tensor

    @classmethod
    def of(cls, values: Interval, share: float = 0.0) -> Ball:
        """A ball around an interval, with room for errors of this share of every number in it.

        Of the center that is once, of the radius four times.
        """
        low, high = values.low / 2, values.high / 2
        center = low + high
        radius = (high - low).mul_(1 + 4 * (share + EPSILON)).add_(TINY)
        return cls(center, radius.add_(center.abs(), alpha=share + EPSILON))

    @property
    def interval(self) -> Interval:
        """As it is: the radius has room for its rounding."""
        return Interval(self.center - self.radius, self.center + self.radius)


class Signed(NamedTuple):
    """What is known of S, of S' and of Δ = S - S': intervals of shape (images, ...)."""

    ours: Interval
    theirs: Interval
    error: Interval


def outward(low: Tensor, high: Tensor) -> Interval:
    """An interval whose ends were rounded once, made larger by more than that."""
    return _raised(low - TINY, high + TINY)


def _raised(low: Tensor, high: Tensor) -> Interval:
    """Larger by a unit of the last place: sums that have fewer places are exact.

    What overflowed, and has no number any more, may be anything.
    """
    low, high = low.sub(low.abs(), alpha=EPSILON), high.add(high.abs(), alpha=EPSILON)
    if (low.sum() + high.sum()).isfinite():
        return Interval(low, high)
    return Interval(low.nan_to_num(-inf, inf, -inf), high.nan_to_num(inf, inf, -inf))


class Intervals(Domain):
    """S, S' and Δ in intervals with signs.

    Args:
        pair: that is walked.
        region: of inputs.
    """

    def __init__(self, pair: Pair, region: Region) -> None:
        self.pair, self.region = pair, region

    def input(self, operation: Operation) -> Signed:
        values = Interval(self.region.low, self.region.high)
        zero = torch.zeros_like(values.low)
        return Signed(values, values, Interval(zero, zero))

    def affine(self, operation: Operation, read: Signed) -> Signed:
        """T1 on intervals: W Δ + (W - W') S' + (b - b'); S and S' as they are."""
        modules = operation.module, operation.quantized
        ours, theirs = (module.weight.detach().double() for module in modules)
        weights = [(weight, weight.abs()) for weight in (ours, theirs, ours - theirs)]
        biases = [bias_of(module) for module in modules]
        balls = [Ball.of(values, _share(ours)) for values in read]
        made = (
            _image(modules[0], [(*weights[0], balls[0])], biases[0]),
            _image(modules[0], [(*weights[1], balls[1])], biases[1]),
            _image(
                modules[0],
                [(*weights[0], balls[2]), (*weights[2], balls[1])],
                biases[0] - biases[1],
            ),
        )
        if not all(ball.radius.sum().isfinite() for ball in made):
            check_sums(operation.name, [operation], [t.sum() for t in (ours, theirs, *biases)])
        ends = [ball.interval for ball in made]
        found = met(*ends, room=True)
        if all(end.sum().isfinite() for values in found for end in values):
            return found
        return met(*ends)  # what overflowed may be anything

    def sum(self, operation: Operation, first: Signed, second: Signed) -> Signed:
        return met(*map(Interval.plus, first, second))

    def activation(self, operation: Operation, read: Signed) -> Signed:
        """Of ReLU and ReLU6.

        Where S < 0, Δ becomes -σ(S'); elsewhere a cut at 0 only lowers it. So behind that cut Δ is
        at most the larger of Δ and -σ(S'), and likewise at least the smaller of Δ and σ(S). A cut
        at 6 is one at 0, of 6 - S' and 6 - S.
        """
        cap = 6.0 if isinstance(operation.module, nn.ReLU6) else inf
        ours, theirs = (values.through(lambda ends: ends.clamp(0, cap)) for values in read[:2])
        low = torch.minimum(read.error.low, ours.low)
        high = torch.maximum(read.error.high, -theirs.low)
        if cap < inf:  # differences that float64 has rounded once
            low = torch.minimum(low, (cap - theirs.high) * (1 - EPSILON))
            high = torch.maximum(high, (ours.high - cap) * (1 - EPSILON))
        return Signed(ours, theirs, Interval(low, high) & ours.minus(theirs))

    def max_pool(self, operation: Operation, read: Signed) -> Signed:
        """max Δ ≥ max S - max S' ≥ min Δ over each window."""
        module = operation.module
        ours, theirs = (values.through(module) for values in read[:2])
        error = Interval(-module(-read.error.low), module(read.error.high))
        return met(ours, theirs, error)

    def average_pool(self, operation: Operation, read: Signed) -> Signed:
        """Linear with positive weights; a window has no more terms than there are values."""
        terms = prod(self.pair.shapes[operation.inputs[0]][1:])
        return Signed(*(_averaged(operation.module, values, terms) for values in read))

    def flatten(self, operation: Operation, read: Signed) -> Signed:
        return Signed(*(values.through(operation.module) for values in read))

    padding = rearrangement = flatten

    def mean(self, operation: Operation, read: Signed) -> Signed:
        """Over positions."""
        return self.average_pool(operation, read)

    def concatenation(self, operation: Operation, *reads: Signed) -> Signed:
        parts = zip(*reads, strict=True)  # of S, of S', of Δ
        return Signed(*(Interval(*map(operation.module, *values)) for values in parts))

    def sloped_activation(self, operation: Operation, read: Signed) -> Signed:
        """κ-Lipschitz; where σ never decreases, Δ keeps its sign, and values lie between ends."""
        module, kappa = operation.module, slope_of(operation.module).slope
        ours, theirs = (_range(module, values, kappa) for values in read[:2])
        if rises(module):
            error = Interval(read.error.low.clamp_max(0), read.error.high.clamp_min(0))
        else:
            error = Interval(-read.error.size, read.error.size)
        return met(ours, theirs, outward(kappa * error.low, kappa * error.high))

    def gated(self, operation: Operation, *reads: Signed) -> Signed:
        """x g - x' g' = (x - x') g + x' (g - g')."""
        first, second = reads
        error = first.error.times(second.ours).plus(first.theirs.times(second.error))
        return met(first.ours.times(second.ours), first.theirs.times(second.theirs), error)


def rises(module: nn.Module) -> bool:
    """Whether an activation never decreases."""
    if isinstance(module, nn.SiLU | nn.GELU | nn.Hardswish):
        return False
    slopes = (getattr(module, "negative_slope", 0.0), getattr(module, "alpha", 0.0))
    steep = module.weight.min().item() if isinstance(module, nn.PReLU) else 0.0
    return min(*slopes, steep) >= 0


def _range(module: nn.Module, values: Interval, kappa: float) -> Interval:
    """What an activation makes of an interval; float64 is off by a few units in the last place.

    It gets copies: one that works in place would overwrite what both networks read.
    """
    if rises(module):
        found = values.through(lambda ends: module(ends.clone()).detach())
    else:
        center = values.low / 2 + values.high / 2
        reach = torch.maximum(values.high - center, center - values.low)
        middle = module(center.clone()).detach()
        reach = kappa * (reach + center.abs() * 4 * EPSILON)
        found = Interval(middle - reach, middle + reach)
    slack = found.size * 64 * EPSILON + TINY
    return outward(found.low - slack, found.high + slack)


def met(ours: Interval, theirs: Interval, error: Interval, *, room: bool = False) -> Signed:
    """Each of the three is where the two others put it: Δ = S - S'.

    Args:
        ours, theirs, error: what is known of S, of S' and of Δ.
        room: whether the ends have room for the rounding of a few sums of them.
    """
    error = error & ours.minus(theirs, room=room)
    ours, theirs = ours & theirs.plus(error, room=room), theirs & ours.minus(error, room=room)
    return Signed(ours, theirs, error)


def where(condition: Tensor, one: Interval, other: Interval) -> Interval:
    """The one where the condition holds, the other where it does not."""
    return Interval(*(torch.where(condition, a, b) for a, b in zip(one, other, strict=True)))


def _averaged(module: nn.Module, values: Interval, terms: int) -> Interval:
    """A mean of at most so many values, rounded outward."""
    error = module(values.size) * ((terms + 8) * EPSILON) + TINY
    return outward(module(values.low) - error, module(values.high) + error)


def _share(weight: Tensor) -> float:
    """What sums of a row's products may be off by, twice over, of the sum of their sizes.

    In float64, in whatever order they are added up. Each weight may be rounded once before.
    """
    return (weight[0].numel() + 12) * EPSILON


def _image(module: nn.Module, terms: list[tuple[Tensor, Tensor, Ball]], bias: Tensor) -> Ball:
    """Σ W x + b, where each term has W, |W| and a ball with room for the share of W.

    A weight or a bias may be a difference that was rounded once. At least 16 units of 2^-53 of
    |center| + radius are left over: the ends take one, and each sum of two of them one more.
    """
    (weight, size, ball), *others = terms
    center = linear(module, ball.center, weight, bias)
    radius = linear(module, ball.radius, size, bias.abs() * _share(weight) + TINY)
    for weight, size, ball in others:
        center = center + linear(module, ball.center, weight)
        radius = radius + linear(module, ball.radius, size)
    if not (center.sum() + radius.sum()).isfinite():  # what overflowed may be anything
        unknown = ~(center.isfinite() & radius.isfinite())
        return Ball(center.masked_fill(unknown, 0.0), radius.masked_fill(unknown, inf))
    return Ball(center, radius)


def layer(module: nn.Module, weight: Tensor, values: Interval, bias: Tensor) -> Interval:
    """W x + b for x in intervals, by center and radius, rounded outward."""
    ball = Ball.of(values, _share(weight))
    return _image(module, [(weight, weight.abs(), ball)], bias).interval


def linear(
    module: nn.Module, values: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """What a layer does, with another weight and bias."""
    if isinstance(module, nn.Linear):
        return F.linear(values, weight, bias)
    convolution = (F.conv1d, F.conv2d, F.conv3d)[len(module.stride) - 1]
    options = (module.stride, module.padding, module.dilation, module.groups)
    return convolution(values, weight, bias, *options)
