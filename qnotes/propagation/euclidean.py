"""T11: the recursion in ℓ², with spectral norms that are upper bounds.

Around the center c of a box of inputs, three lengths travel: how far S(x) can be from S(c), how far
S'(x) from S'(c), and how long Δ(x) is. Δ(x) = Δ(c) + (S - S(c)) - (S' - S'(c)) is used too, so
that at radius 0 the length is that of the error at c. S(c) and S'(c) are references (`centers`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from qnotes.networks.activations import slope_of
from qnotes.networks.operations import ADAPTIVE_MAX_POOLS, Operation
from qnotes.propagation.centers import Point, Points
from qnotes.propagation.intervals import Interval, layer
from qnotes.propagation.outward import log_up
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.spectral import spectral_norm
from qnotes.propagation.walk import Domain
from qnotes.propagation.weights import bias_of


class Lengths(NamedTuple):
    """ln of lengths, (images,), and both networks' references at the center (`centers`).

    Attributes:
        ours, theirs: of the distances of S(x) and S'(x) from their references.
        error: of Δ(x).
        center: references of S and of S'.
    """

    ours: Tensor
    theirs: Tensor
    error: Tensor
    center: tuple[Point, Point]

    @property
    def gap(self) -> Tensor:
        """Sizes of the difference of both references, (images, ...)."""
        ours, theirs = (Interval(point.value, point.value) for point in self.center)
        return ours.minus(theirs).size


class Euclidean(Domain):
    """Lengths in ℓ².

    Args:
        pair: that is walked.
        region: of inputs.
    """

    def __init__(self, pair: Pair, region: Region) -> None:
        self.pair = pair
        self.reach = log_length(region.reach)
        self.points = [Points(pair, region.center, quantized=q) for q in (False, True)]
        self.norms = cache(self._norms)  # the walk of T15 asks again and again

    def input(self, operation: Operation) -> Lengths:
        nothing = torch.full_like(self.reach, -math.inf)
        return Lengths(self.reach, self.reach, nothing, self._centers(operation))

    def _centers(self, operation: Operation, *reads: Lengths) -> tuple[Point, ...]:
        return tuple(
            points.apply(operation, tuple(read.center[side] for read in reads))
            for side, points in enumerate(self.points)
        )

    def affine(self, operation: Operation, read: Lengths) -> Lengths:
        """W Δ + (W - W') (S' - S'(c)), and what is known: (W - W') S'(c) + (b - b')."""
        ours, theirs, change = (math.log(n) if n else -math.inf for n in self.norms(operation))
        point = read.center[1].value
        known = log_length(_made(operation, Interval(point, point)).size)
        error = added(log_up(ours + read.error), log_up(change + read.theirs), known)
        lengths = (log_up(ours + read.ours), log_up(theirs + read.theirs), error)
        return joined(*lengths, self._centers(operation, read))

    def _norms(self, operation: Operation) -> list[float]:
        """Upper bounds on the spectral norms of W, of W' and of W - W'."""
        ours, theirs = (m.weight.detach().double() for m in (operation.module, operation.quantized))
        images = [self.pair.shapes[node][2:] for node in (operation.inputs[0], operation.node)]
        weights = (ours, theirs, ours - theirs)
        return [spectral_norm(operation.module, weight, *images) for weight in weights]

    def sum(self, operation: Operation, first: Lengths, second: Lengths) -> Lengths:
        lengths = (added(one, other) for one, other in zip(first[:3], second[:3], strict=True))
        return joined(*lengths, self._centers(operation, first, second))

    def activation(self, operation: Operation, read: Lengths) -> Lengths:
        """Slopes in [0, 1]."""
        return joined(*read[:3], self._centers(operation, read))

    def sloped_activation(self, operation: Operation, read: Lengths) -> Lengths:
        """κ-Lipschitz, whatever σ(0) is: all are differences, and of a range if it has one."""
        known = slope_of(operation.module)
        grown, most = math.log(known.slope), math.log(known.span)
        most += math.log(math.prod(self.pair.shapes[operation.node])) / 2
        lengths = (log_up((length + grown).clamp_max(most)) for length in read[:3])
        return joined(*lengths, self._centers(operation, read))

    def gated(self, operation: Operation, first: Lengths, second: Lengths) -> Lengths:
        """x g - x' g' = (x - x') g + x' (g - g'), and the same of the distances from references.

        A factor with one entry where the other has several is repeated: its length grows. Repeated
        x times others' entries is no longer than x times all of their length.
        """
        values, gate = (first, second) if operation.module.gate else (second, first)
        points = [point.value for point in values.center]
        many = math.prod(self.pair.shapes[operation.node]) / points[0][0].numel()
        carried = math.log(operation.module.ceiling) + math.log(many) / 2
        alike = [axis for axis, size in enumerate(gate.center[0].value.shape[1:], 1) if size == 1]
        ours, theirs = (_largest_row(point, alike) for point in points)
        lengths = (
            added(log_up(values.ours + carried), log_up(ours + gate.ours)),
            added(log_up(values.theirs + carried), log_up(theirs + gate.theirs)),
            added(log_up(values.error + carried), added(theirs, values.theirs) + gate.error),
        )
        return joined(*map(log_up, lengths), self._centers(operation, first, second))

    def concatenation(self, operation: Operation, *reads: Lengths) -> Lengths:
        """Squares of lengths add up."""
        parts = zip(*(read[:3] for read in reads), strict=True)
        lengths = (added(*(2 * length for length in kind)) / 2 for kind in parts)
        return joined(*lengths, self._centers(operation, *reads))

    def max_pool(self, operation: Operation, read: Lengths) -> Lengths:
        """A pixel is the largest of as many windows as see it, at most."""
        grown = math.log(sharing(operation, self.pair)) / 2
        lengths = (log_up(length + grown) for length in read[:3])
        return joined(*lengths, self._centers(operation, read))

    def average_pool(self, operation: Operation, read: Lengths) -> Lengths:
        """Rows have the sum 1; ‖P‖₂² ≤ the largest sum of a column."""
        grown = math.log(column_sum(operation, self.pair)) / 2
        lengths = (log_up(length + grown, 8) for length in read[:3])
        return joined(*lengths, self._centers(operation, read))

    mean = average_pool

    def flatten(self, operation: Operation, read: Lengths) -> Lengths:
        return read._replace(center=self._centers(operation, read))

    padding = rearrangement = flatten


def joined(ours: Tensor, theirs: Tensor, error: Tensor, center: tuple[Point, Point]) -> Lengths:
    """With the slips of the references, and the other way to Δ(x): from their difference."""
    ours, theirs = (
        added(length, log_length(point.slip))
        for length, point in zip((ours, theirs), center, strict=True)
    )
    found = Lengths(ours, theirs, error, center)
    other = added(log_length(found.gap), ours, theirs)
    return found._replace(error=torch.minimum(error, other))


def log_length(sizes: Tensor) -> Tensor:
    """ln of the ℓ² norm of each image, rounded up."""
    flat = sizes.abs().flatten(1)
    largest = flat.amax(1, keepdim=True)
    shares = torch.where(largest > 0, flat / largest, 0.0)
    shares = torch.where(shares > 0, shares.clamp_min(2.0**-500), shares)
    logs = log_up(shares.square().sum(1).log() / 2 + largest[:, 0].log(), flat.shape[1] + 8)
    return torch.where(logs.isnan(), math.inf, logs)  # where a size is infinite


def _largest_row(values: Tensor, axes: Sequence[int]) -> Tensor:
    """ln of the largest ℓ² norm over these axes of each image, rounded up."""
    size = math.prod(values.shape[axis] for axis in axes)
    rows = values.movedim(tuple(axes), tuple(range(-len(axes), 0))).reshape(-1, size)
    return log_length(rows).view(len(values), -1).amax(1)


def added(*logs: Tensor) -> Tensor:
    """ln of a sum, rounded up."""
    return log_up(torch.logsumexp(torch.stack(torch.broadcast_tensors(*logs)), 0), len(logs))


def _made(operation: Operation, values: Interval) -> Interval:
    """(W - W') S'(c) + (b - b')."""
    ours, theirs = (m.weight.detach().double() for m in (operation.module, operation.quantized))
    bias = bias_of(operation.module) - bias_of(operation.quantized)
    return layer(operation.module, ours - theirs, values, bias)


def sharing(operation: Operation, pair: Pair) -> int:
    """Windows of a max pool that see one pixel, at most (theory, T14)."""
    module = operation.module
    read, made = (pair.shapes[node] for node in (operation.inputs[0], operation.node))
    axes = int(type(module).__name__[-2])
    if isinstance(module, ADAPTIVE_MAX_POOLS):
        return math.prod(
            1 if before % after == 0 else 1 + math.ceil(after / before)
            for before, after in zip(read[-axes:], made[-axes:], strict=True)
        )
    options = (each(getattr(module, name), axes) for name in ("kernel_size", "stride", "dilation"))
    return math.prod(
        kernel if dilation > 1 else math.ceil(kernel / stride)
        for kernel, stride, dilation in zip(*options, strict=True)
    )


def each(option: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """The number of an option of a pool for each axis: torch takes one for all, too."""
    numbers = (option,) if isinstance(option, int) else tuple(option)
    return numbers * axes if len(numbers) == 1 else numbers


def column_sum(operation: Operation, pair: Pair) -> float:
    """The largest sum of a column of average pooling, rounded up."""
    with torch.enable_grad():
        ones = torch.ones(pair.shapes[operation.inputs[0]], dtype=torch.float64, requires_grad=True)
        (columns,) = torch.autograd.grad(operation.module(ones).sum(), ones)
    return float(columns.max()) * (1 + 1e-12)
