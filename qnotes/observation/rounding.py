"""Rounding inward: what float64 may have added to an error is taken off again.

A lower bound is an error that is really there. Two networks that run in float64 differ by their
error and by rounding; how much the latter can be is bounded by a number that runs along.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from qnotes.errors import QnotesError
from qnotes.networks.activations import slope_of
from qnotes.networks.operations import Operation, operations
from qnotes.networks.tracing import graph_of, own_copy
from qnotes.observation.pair import Pair
from qnotes.propagation.outward import EPSILON
from qnotes.propagation.walk import Domain, propagate

#: The least positive number; a product of float64 that underflows is off by at most half of it.
LEAST = 2.0**-1074
#: Units in the last place by which an activation may be off, of what it reads or makes.
UNITS = 16
#: A proven error that is smaller by no more than this part is taken, whatever an estimate says.
SMALL = 1e-3
#: Float32 rounds to 2^29 times what float64 rounds to; an estimate from it is raised by this.
COARSER, SAFETY = 2.0**29, 64


def error_inward(pair: Pair, one: Tensor, error: float) -> tuple[float, float, bool]:
    """The error at one input, rounded inward; by how much; and whether that is proven.

    Args:
        pair: the two networks, in float64.
        one: of shape (1, ...).
        error: at this input, as float64 has it.
    """
    proven, local = _proven(pair, one, error)
    if proven >= (1 - SMALL) * error:
        return proven, error - proven, True
    single = pair.single().differences(one).abs().max().item()
    rounding = SAFETY / COARSER * abs(single - error)
    if not rounding < error:  # NaN where float32 cannot hold the outputs
        rounding = SAFETY * EPSILON * error
    estimated = max(0.0, error - max(rounding, local))
    found = max(proven, estimated)
    return found, error - found, proven >= estimated


def _proven(pair: Pair, one: Tensor, error: float) -> tuple[float, float]:
    """An error that is there for sure; and what operations add to their results, all together.

    Zeros for networks with operations that have no rule.
    """
    try:
        (ours, mine, lost), (theirs, its, more) = (_run(net, one) for net in pair.networks)
    except QnotesError:
        return 0.0, 0.0
    apart = (ours - theirs).abs()
    if abs(apart.max().item() - error) > 4 * (mine + its).max().item():
        return 0.0, 0.0  # a trace of something else
    apart = apart * (1 - 2 * EPSILON) - (mine + its) * (1 + 2 * EPSILON)
    return max(0.0, apart.max().item() * (1 - 2 * EPSILON)), lost + more


def _run(network: nn.Module, one: Tensor) -> tuple[Tensor, Tensor, float]:
    domain = _Rounding(one.cpu())
    if one.device.type != "cpu":
        network = own_copy(network, weights=True).cpu()
    graph = graph_of(network)
    return *propagate(operations(graph), domain), domain.local


class _Rounding(Domain):
    """A value of float64, and a bound on its distance to the exact value for the same input.

    A sum of n products, in any order, is off by at most n u / (1 - n u) of the sum of their
    absolute values (Higham 2002, section 3.1). Twice that is used: the bound is rounded, too.
    """

    def __init__(self, one: Tensor) -> None:
        self.one, self.local = one, 0.0

    def input(self, operation: Operation) -> tuple[Tensor, Tensor]:
        return self.one.clone(), torch.zeros_like(self.one)

    def affine(self, operation: Operation, read: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        value, off = read
        layer, terms = operation.module, operation.module.weight[0].numel() + 2
        lost = terms * EPSILON
        weights = {"weight": layer.weight.abs()}
        if layer.bias is not None:
            weights["bias"] = lost * layer.bias.abs()
        self._add(functional_call(layer, weights, (lost * value.abs(),)))
        off = functional_call(layer, weights, (off + lost * value.abs(),))
        return layer(value), off * (1 + 2 * lost) + 4 * terms * LEAST

    def sum(self, operation: Operation, *reads: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        (first, one), (second, other) = reads
        total = first + second
        self._add(EPSILON * total.abs())
        return total, (one + other + EPSILON * total.abs()) * (1 + 4 * EPSILON)

    def activation(self, operation: Operation, read: tuple[Tensor, Tensor]):
        """ReLU and ReLU6: computed exactly, and they never move two numbers apart."""
        value, off = read
        return operation.module(value.clone()), off

    def sloped_activation(self, operation: Operation, read: tuple[Tensor, Tensor]):
        """κ-Lipschitz; each function of the library is off by `UNITS` at most, as it says itself
        (SLEEF: one unit for exp, expm1, tanh and erf), and by what follows it."""
        value, off = read
        result = operation.module(value.clone())
        lost = UNITS * EPSILON * (value.abs() + result.abs())
        self._add(lost)
        slope = slope_of(operation.module).slope
        return result, (slope * off + lost) * (1 + 4 * EPSILON) + 4 * LEAST

    def gated(self, operation: Operation, *reads: tuple[Tensor, Tensor]):
        """x g for x + a and g + b: off by a g + x b + a b."""
        (first, one), (second, other) = reads
        product = operation.module(first, second)
        self._add(EPSILON * product.abs())
        off = one * second.abs() + first.abs() * other + one * other + EPSILON * product.abs()
        return product, off * (1 + 8 * EPSILON) + 4 * LEAST

    def concatenation(self, operation: Operation, *reads: tuple[Tensor, Tensor]):
        return tuple(operation.module(*parts) for parts in zip(*reads, strict=True))

    def max_pool(self, operation: Operation, read: tuple[Tensor, Tensor]):
        return tuple(map(operation.module, read))

    padding = flatten = rearrangement = max_pool

    def average_pool(self, operation: Operation, read: tuple[Tensor, Tensor]):
        value, off = read
        terms = value[0].numel() + 2
        off = operation.module(off + terms * EPSILON * value.abs())
        return operation.module(value), off * (1 + 2 * terms * EPSILON) + 4 * terms * LEAST

    mean = average_pool

    def _add(self, off: Tensor) -> None:
        """What an operation adds to its own result, wherever that goes."""
        self.local += off.max().item()
