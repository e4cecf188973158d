"""Both networks at one input, in rational numbers: what certificates are at radius 0.

Weights and inputs are floating-point numbers, so fractions with a power of two below; ReLU networks
only add, multiply and choose. So nothing is rounded, at any depth, and the error is what it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn

from qnotes.errors import NotVerified, UnsupportedOperation
from qnotes.networks.operations import AFFINE, Operation
from qnotes.propagation.outward import log_up
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.smallest import Known
from qnotes.propagation.spectral import paddings
from qnotes.propagation.walk import Domain, propagate

#: Products of both networks, at most: of integers with hundreds of digits.
MOST_PRODUCTS = 1 << 27
#: Numbers of the matrix that says which positions an average pool takes, at most.
MOST_SHARES = 1 << 24


class Rational(NamedTuple):
    """integers · unit, integers of any size in an array of Python's."""

    integers: np.ndarray
    unit: Fraction

    def __add__(self, other: Rational) -> Rational:
        if self.unit == other.unit:
            return Rational(self.integers + other.integers, self.unit)
        below = math.lcm(self.unit.denominator, other.unit.denominator)
        factors = [number.unit * below for number in (self, other)]
        common = math.gcd(*(factor.numerator for factor in factors))
        one, two = (factor.numerator // common for factor in factors)
        return Rational(self.integers * one + other.integers * two, Fraction(common, below))

    def __sub__(self, other: Rational) -> Rational:
        return self + Rational(-other.integers, other.unit)

    def chosen(self, choose: Callable[[Tensor], Tensor]) -> Rational:
        """What takes each entry from the value as it is, or is 0."""
        shape = self.integers.shape
        numbers = torch.arange(1, self.integers.size + 1, dtype=torch.float64).view(shape)
        places = choose(numbers).numpy().astype(int)
        return Rational(np.concatenate([[0], self.integers.reshape(-1)])[places], self.unit)


def rational(values: Tensor) -> Rational:
    """Finite floating-point numbers as they are."""
    ratios = [number.as_integer_ratio() for number in values.detach().double().flatten().tolist()]
    below = max((denominator for _, denominator in ratios), default=1)
    numbers = np.empty(len(ratios), dtype=object)
    numbers[:] = [above * (below // denominator) for above, denominator in ratios]
    return Rational(numbers.reshape(tuple(values.shape)), Fraction(1, below))


class Rationals(Domain):
    """One of the two networks, at one input.

    Args:
        pair: that is walked.
        image: (1, ...).
        quantized: whether the network is the quantized one.
    """

    def __init__(self, pair: Pair, image: Tensor, *, quantized: bool) -> None:
        self.pair, self.image, self.quantized = pair, image, quantized

    def input(self, operation: Operation) -> Rational:
        return rational(self.image)

    def affine(self, operation: Operation, read: Rational) -> Rational:
        module = operation.quantized if self.quantized else operation.module
        weights = rational(module.weight)
        unit = weights.unit * read.unit
        if isinstance(module, nn.Linear):
            made = Rational(read.integers @ weights.integers.T, unit)
        else:
            made = Rational(_convolved(module, weights.integers, read.integers), unit)
        if module.bias is None:
            return made
        bias = rational(module.bias)
        axes = (-1, *[1] * (weights.integers.ndim - 2))
        return made + Rational(bias.integers.reshape(axes), bias.unit)

    def sum(self, operation: Operation, first: Rational, second: Rational) -> Rational:
        return first + second

    def activation(self, operation: Operation, read: Rational) -> Rational:
        """ReLU, or ReLU6."""
        integers = np.maximum(read.integers, 0)
        if not isinstance(operation.module, nn.ReLU6):
            return Rational(integers, read.unit)
        over = 6 / read.unit
        # In units of which 6 is a whole number of.
        return Rational(
            np.minimum(integers * over.denominator, over.numerator), read.unit / over.denominator
        )

    def max_pool(self, operation: Operation, read: Rational) -> Rational:
        """Numbers of a rank, which float64 holds, are pooled in place of the values."""
        ranked = np.array(sorted(set(read.integers.reshape(-1))), dtype=object)
        ranks = np.searchsorted(ranked, read.integers.reshape(-1)).astype(float)
        pooled = operation.module(torch.from_numpy(ranks.reshape(read.integers.shape)))
        return Rational(ranked[pooled.numpy().astype(int)], read.unit)

    def average_pool(self, operation: Operation, read: Rational) -> Rational:
        """The mean of each window; which positions it takes, the module says."""
        module, sides = operation.module, read.integers.shape[2:]
        rows = read.integers.reshape(read.integers.shape[1], -1)
        made = self.pair.shapes[operation.node]
        if rows.shape[1] * math.prod(made[2:]) > MOST_SHARES:
            raise NotVerified(f"{operation.name}: rational numbers are for smaller images")
        ones = torch.eye(rows.shape[1], dtype=torch.float64).view(-1, 1, *sides)
        shares = module(ones).reshape(rows.shape[1], -1)
        if shares.shape[1] * len(rows) != math.prod(made):
            raise UnsupportedOperation(f"{operation.name}: pooling over channels has no rule here")
        counts = [round(1 / share) for share in shares.amax(0).tolist()]
        below = math.lcm(*counts)
        means = [
            rows[:, (share > 0).numpy()].sum(1) * (below // count)
            for share, count in zip(shares.T, counts, strict=True)
        ]
        return Rational(np.stack(means, 1).reshape(made), read.unit / below)

    mean = average_pool

    def flatten(self, operation: Operation, read: Rational) -> Rational:
        return read.chosen(operation.module)

    padding = rearrangement = flatten

    def concatenation(self, operation: Operation, *reads: Rational) -> Rational:
        below = math.lcm(*(read.unit.denominator for read in reads))
        common = Fraction(math.gcd(*((r.unit * below).numerator for r in reads)), below)
        parts = [read.integers * int(read.unit / common) for read in reads]
        return Rational(np.concatenate(parts, operation.module.dim), common)


def exact(pair: Pair, region: Region) -> dict[fx.Node, Known]:
    """The errors of the outputs at each image of a region without reach, in the terms of all.

    Raises:
        UnsupportedOperation: for operations that leave the rational numbers, such as a sigmoid.
        NotVerified: for networks with so many products that it would take too long.
    """
    products = 2 * sum(
        operation.module.weight[0].numel() * math.prod(pair.shapes[operation.node])
        for operation in pair.operations if operation.kind == AFFINE
    )  # fmt: skip
    if products > MOST_PRODUCTS:
        raise NotVerified(
            f"rational numbers are for at most {MOST_PRODUCTS:.1e} products of both networks; an "
            f"input here takes {products:.1e}"
        )
    peaks = []
    for image in region.low.split(1):
        ours, theirs = (
            propagate(pair.operations, Rationals(pair, image, quantized=quantized))
            for quantized in (False, True)
        )
        error = ours - theirs
        logs = [_log(abs(number) * error.unit) for number in error.integers.reshape(-1)]
        peaks.append(torch.tensor(logs, dtype=torch.float64).view(error.integers.shape))
    found = log_up(torch.cat(peaks))
    nothing = torch.full_like(found, math.inf)
    return {pair.operations[-1].node: Known(found, nothing.flatten(1)[:, 0], nothing)}


def _log(number: Fraction) -> float:
    """ln, as precise as float64; also of what float64 is too short for."""
    if number == 0:
        return -math.inf
    shift = number.numerator.bit_length() - number.denominator.bit_length()
    return math.log(float(number / Fraction(2) ** shift)) + shift * math.log(2)


def _convolved(module: nn.Module, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of one image, group by group: the taps of each position side by side, times the weights."""
    places = np.pad(
        np.arange(1, math.prod(values.shape[2:]) + 1).reshape(values.shape[2:]), paddings(module)
    )
    taps = torch.from_numpy(places)
    for axis, (kernel, stride, dilation) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True)
    ):
        taps = taps.unfold(axis, (kernel - 1) * dilation + 1, stride)[..., ::dilation]
    made = taps.shape[: len(module.stride)]
    taps = taps.reshape(math.prod(made), -1).T.numpy()
    rows = values.reshape(values.shape[1], -1)
    rows = np.concatenate([np.zeros((len(rows), 1), dtype=object), rows], 1)
    read, out = values.shape[1] // module.groups, len(weights) // module.groups
    groups = [
        weights[g * out : (g + 1) * out].reshape(out, -1)
        @ rows[g * read : (g + 1) * read][:, taps].reshape(-1, taps.shape[1])
        for g in range(module.groups)
    ]
    return np.concatenate(groups).reshape(1, len(weights), *made)
