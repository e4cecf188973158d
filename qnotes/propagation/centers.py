"""A point of reference for each value: what a network computes in float64 at the center of a box.

Distances are measured from it. It is not the exact value, and need not be: what it is off by, layer
by layer, is a slip that is added to the distance. So rounding grows as distances do, and not as
intervals do.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from qnotes.networks.activations import slope_of
from qnotes.networks.operations import Operation
from qnotes.propagation.intervals import Interval, _averaged, _range, layer
from qnotes.propagation.pair import Pair
from qnotes.propagation.walk import Domain
from qnotes.propagation.weights import bias_of


class Point(NamedTuple):
    """A reference, (images, ...), and bounds on what its operation is off by."""

    value: Tensor
    slip: Tensor


class Points(Domain):
    """References for one of the two networks.

    Args:
        pair: that is walked.
        center: of inputs, (images, ...).
        quantized: whether the network is the quantized one.
    """

    def __init__(self, pair: Pair, center: Tensor, *, quantized: bool) -> None:
        self.pair, self.center, self.quantized = pair, center, quantized

    def input(self, operation: Operation) -> Point:
        return Point(self.center, 0 * self.center)

    def affine(self, operation: Operation, read: Point) -> Point:
        module: nn.Module = operation.quantized if self.quantized else operation.module
        weight = module.weight.detach().double()
        here = Interval(read.value, read.value)
        return _middle(layer(operation.module, weight, here, bias_of(module)))

    def sum(self, operation: Operation, first: Point, second: Point) -> Point:
        one, other = (Interval(point.value, point.value) for point in (first, second))
        return _middle(one.plus(other))

    def gated(self, operation: Operation, first: Point, second: Point) -> Point:
        one, other = (Interval(point.value, point.value) for point in (first, second))
        return _middle(one.times(other))

    def concatenation(self, operation: Operation, *reads: Point) -> Point:
        value = operation.module(*(read.value for read in reads))
        return Point(value, 0 * value)

    def average_pool(self, operation: Operation, read: Point) -> Point:
        terms = read.value[0].numel()
        return _middle(_averaged(operation.module, Interval(read.value, read.value), terms))

    mean = average_pool

    def activation(self, operation: Operation, read: Point) -> Point:
        """Exact, as all that only chooses."""
        value = operation.module(read.value.clone())
        return Point(value, 0 * value)

    max_pool = flatten = padding = rearrangement = activation

    def sloped_activation(self, operation: Operation, read: Point) -> Point:
        """As float64 has it, up to the last digits."""
        module, here = operation.module, Interval(read.value, read.value)
        return _middle(_range(module, here, slope_of(module).slope))


def _middle(exact: Interval) -> Point:
    middle = exact.low / 2 + exact.high / 2
    return Point(middle, Interval(middle - exact.high, middle - exact.low).size * (1 + 2.0**-50))
