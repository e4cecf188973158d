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

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __and__(self, other: Interval) -> Interval:
        """What lies in both; they have a number in common."""
        return Interval(torch.maximum(self.low, other.low), torch.minimum(self.high, other.high))

    def plus(self, other: Interval) -> Interval:
        """The sum, rounded outward."""
        return outward(self.low + other.low, self.high + other.high)

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


class Signed(NamedTuple):
    """What is known of S, of S' and of Δ = S - S': intervals of shape (images, ...)."""

    ours: Interval
    theirs: Interval
    error: Interval


def outward(low: Tensor, high: Tensor) -> Interval:
    """An interval whose ends were rounded once, made larger by one unit on both sides.

    What overflowed, and has no number any more, may be anything.
    """
    low, high = low.nan_to_num(-inf, inf, -inf), high.nan_to_num(inf, inf)
    return Interval(_next(low, -inf), _next(high, inf))


def _next(values: Tensor, end: float) -> Tensor:
    """The next number of float64; the step to it has no gradient, the values keep theirs."""
    plain = values.detach()
    found = torch.nextafter(plain, torch.full_like(plain, end))
    if not values.requires_grad:
        return found
    return values + (found - plain).nan_to_num(0.0)  # exact: both are neighbours


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
        module = operation.module
        weights = [m.weight.detach().double() for m in (module, operation.quantized)]
        biases = [bias_of(m) for m in (module, operation.quantized)]
        check_sums(operation.name, [operation], [t.sum() for t in (*weights, *biases)])
        ours = layer(module, [(weights[0], read.ours)], biases[0])
        theirs = layer(module, [(weights[1], read.theirs)], biases[1])
        change = (weights[0] - weights[1], read.theirs)
        error = layer(module, [(weights[0], read.error), change], biases[0] - biases[1])
        return met(ours, theirs, error)

    def sum(self, operation: Operation, first: Signed, second: Signed) -> Signed:
        return met(*(one.plus(other) for one, other in zip(first, second, strict=True)))

    def activation(self, operation: Operation, read: Signed) -> Signed:
        """Monotone, slopes in [0, 1], σ(0) = 0; and ReLU or ReLU6, whose pieces are known."""
        six = isinstance(operation.module, nn.ReLU6)
        ours, theirs = (values.through(F.relu6 if six else F.relu) for values in read[:2])
        shrunk = Interval(read.error.low.clamp_max(0), read.error.high.clamp_min(0))
        cap = 6.0 if six else inf
        straight = [(values.low >= 0) & (values.high <= cap) for values in read[:2]]
        error = where(straight[0] & straight[1], read.error, shrunk)
        if not six:
            # Where S ≥ 0, S - max(S', 0) = min(Δ, S); where S' ≥ 0, max(S, 0) - S' = max(Δ, -S').
            first = Interval(*map(torch.minimum, read.error, read.ours))
            second = Interval(*map(torch.maximum, read.error, -read.theirs))
            error = error & where(straight[0], first, error) & where(straight[1], second, error)
        return met(ours, theirs, error)

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


def met(ours: Interval, theirs: Interval, error: Interval) -> Signed:
    """Each of the three is where the two others put it: Δ = S - S'."""
    error = error & ours.plus(-theirs)
    return Signed(ours & theirs.plus(error), theirs & ours.plus(-error), error)


def where(condition: Tensor, one: Interval, other: Interval) -> Interval:
    """The one where the condition holds, the other where it does not."""
    return Interval(*(torch.where(condition, a, b) for a, b in zip(one, other, strict=True)))


def _averaged(module: nn.Module, values: Interval, terms: int) -> Interval:
    """A mean of at most so many values, rounded outward."""
    error = module(values.size) * ((terms + 8) * EPSILON) + TINY
    return outward(module(values.low) - error, module(values.high) + error)


def layer(module: nn.Module, terms: list[tuple[Tensor, Interval]], bias: Tensor) -> Interval:
    """Σ W x + b for x in intervals, by center and radius, rounded outward.

    A sum of n products in float64 is off by at most n EPSILON of the sum of their sizes, in
    whatever order it is added up. A weight or a bias may be a difference that was rounded once.
    """
    fan_in = terms[0][0][0].numel()
    share = (fan_in + 12) * EPSILON
    middle, radius = 0.0, 0.0
    for weight, values in terms:
        center = values.low / 2 + values.high / 2
        reach = torch.maximum(values.high - center, center - values.low)
        middle = middle + linear(module, center, weight)
        radius = radius + linear(module, reach * (1 + share) + center.abs() * share, weight.abs())
    bias = bias.view(-1, *[1] * (middle.dim() - 2))
    middle = middle + bias
    radius = (radius + (middle.abs() + bias.abs()) * 8 * EPSILON) * (1 + 2 * share) + TINY
    return outward(middle - radius, middle + radius)


def linear(module: nn.Module, values: Tensor, weight: Tensor) -> Tensor:
    """What a layer does, with another weight and no bias."""
    if isinstance(module, nn.Linear):
        return values @ weight.T
    convolution = (F.conv1d, F.conv2d, F.conv3d)[len(module.stride) - 1]
    options = (module.stride, module.padding, module.dilation, module.groups)
    return convolution(values, weight, None, *options)
