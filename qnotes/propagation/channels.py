"""T8: the vector form, with one number for each channel instead of one for each layer.

Two vectors travel through the graph. v bounds the activations of the quantized network, u bounds
the error, both channel by channel. Values are kept as logarithms, since they leave float64 on deep
networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from qnotes.networks.activations import GATES, slope_of
from qnotes.networks.operations import Operation
from qnotes.propagation.outward import EPSILON, log_up
from qnotes.propagation.pair import Pair, checked_pair
from qnotes.propagation.walk import Bounds, ErrorDomain, propagate
from qnotes.propagation.weights import absolute_blocks, bias_of, check_sums

#: Positive numbers below this are raised to it before they are multiplied, so that none becomes 0.
LEAST = 2.0**-500
#: A sum of products above this has lost nothing that counts to products that became 0.
SAFE = 2.0**-900


def vector_bound(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...],
    radius: float | Sequence[float] = 1.0,
    clip_relu6: bool = False,
) -> np.ndarray:
    """The vector form T8: for each channel of the output, a bound on its error (theory, T8, T17).

    v ← |W'| v + |b'| and u ← |W| u + |W - W'| v + |b - b'|, where a convolution has the sum over
    its kernel's positions for |W|. Vectors are added where values are. Pools keep the channels, and
    flattening repeats a channel for each of its positions. The border of an image is ignored, which
    makes the bound larger, not smaller. The cost is that of reading the weights, whatever the size
    of the input.

    Activations with a slope κ multiply u by κ and v by their growth, and add σ(0) to v; the ranges
    of sigmoid, Hardsigmoid and tanh are used. A gate g with values up to 1 makes
    |x g - x' g'| ≤ |x - x'| + |x'| |g - g'|.

    The result is rounded up: after each sum of n terms by n + 8 (1 + s) units of 2^-52, where s is
    the largest size of a logarithm in it.

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`).
        quantized: the same network with other weights.
        input_shape: shape of one batch, batch dimension first.
        radius: D; inputs lie in [-D, D]^N_0. Or a number for each channel of the input, such as the
            `radii` of `qnotes.preprocessing`: T8 starts from v_0, not only from D·1.
        clip_relu6: also use that ReLU6 takes values between 0 and 6, so that neither v nor u
            exceeds 6 after it; likewise for Hardtanh. T8 does not.

    Returns:
        Decimal logarithms, one for each channel of the output; the largest bounds E. It raises what
        `qnotes.profile` raises.
    """
    pair = checked_pair(network, quantized, input_shape=input_shape, radius=radius)
    domain = Channels(pair, cap_sizes=clip_relu6, cap_errors=clip_relu6)
    return log_up(propagate(pair.operations, domain).error).numpy() / math.log(10)


class Channels(ErrorDomain):
    """ln v and ln u: a number for each channel; for each coordinate where there are no positions.

    Args:
        pair: that is walked.
        cap_sizes: use that activations are at most 6 after ReLU6.
        cap_errors: use that errors are at most 6 after it.
    """

    def __init__(self, pair: Pair, *, cap_sizes: bool = False, cap_errors: bool = False) -> None:
        self.pair = pair
        self.caps = Bounds(cap_sizes, cap_errors)

    def input(self, operation: Operation) -> Bounds:
        channels = self.pair.shapes[operation.node][1]
        v = torch.tensor(self.pair.radius, dtype=torch.float64).log().expand(channels)
        return Bounds(log_up(v), torch.full_like(v, -math.inf))

    def products(self, operation: Operation, read: Bounds) -> tuple[Tensor, ...]:
        """A layer on channels: the sum over a kernel's positions, of absolute weights."""
        return weighted_sums(operation, read.error, read.size, read.size)

    def biases(self, operation: Operation) -> tuple[Tensor, Tensor]:
        ours, theirs = bias_of(operation.module), bias_of(operation.quantized)
        check_sums(operation.name, [operation], (ours, theirs))
        return theirs.abs().log(), log_up((ours - theirs).abs().log())

    def added(self, first: Tensor, second: Tensor) -> Tensor:
        return log_up(torch.logaddexp(first, second), 2)

    def activation(self, operation: Operation, read: Bounds) -> Bounds:
        """κ-Lipschitz; σ(0) is what it adds to the size of 0 (theory, T17)."""
        known = slope_of(operation.module)
        size, error = _scaled(read.size, known.growth), _scaled(read.error, known.slope)
        if known.offset:
            size = self.added(size, torch.full_like(size, _log(known.offset)))
        of_gate = type(operation.module) in GATES
        if of_gate or self.caps.size:
            size = size.clamp_max(_log(known.ceiling))
        if of_gate or self.caps.error:
            error = error.clamp_max(_log(known.span))
        return Bounds(size, error)

    sloped_activation = activation

    def gated(self, operation: Operation, first: Bounds, second: Bounds) -> Bounds:
        """|x g - x' g'| ≤ |x - x'| |g| + |x'| |g - g'|, with |g| below its ceiling."""
        values, gate = (first, second) if operation.module.gate else (second, first)
        ceiling = _log(operation.module.ceiling)
        size = values.size + gate.size.clamp_max(ceiling)
        carried, made = values.error + ceiling, values.size + gate.error
        return Bounds(log_up(size), self.added(log_up(carried), log_up(made)))

    def concatenation(self, operation: Operation, *reads: Bounds) -> Bounds:
        return Bounds(*(torch.cat(logs) for logs in zip(*reads, strict=True)))

    def rearrangement(self, operation: Operation, read: Bounds) -> Bounds:
        """The largest of the channels that a channel takes its entries from."""
        rows = operation.module.channels(self.pair.shapes[operation.inputs[0]])
        return Bounds(*(logs[rows].amax(1) for logs in read))

    def max_pool(self, operation: Operation, read: Bounds) -> Bounds:
        """Channel by channel; or all of them, where a pool takes channels for positions."""
        shape = self.pair.shapes[operation.inputs[0]]
        if len(shape) >= int(type(operation.module).__name__[-2]) + 2:
            return read
        channels = self.pair.shapes[operation.node][1]
        return Bounds(*(logs.max().expand(channels) for logs in read))

    average_pool = max_pool

    def mean(self, operation: Operation, read: Bounds) -> Bounds:
        """Over positions of each channel."""
        return read

    def padding(self, operation: Operation, read: Bounds) -> Bounds:
        """Zeros are no larger than what is there, and the same in both networks."""
        return read

    def flatten(self, operation: Operation, read: Bounds) -> Bounds:
        positions = math.prod(self.pair.shapes[operation.inputs[0]][2:])
        return Bounds(*(logs.repeat_interleave(positions) for logs in read))


def _log(number: float) -> float:
    """ln of a positive number, rounded up."""
    logarithm = math.log(number)
    return logarithm + 4 * (1 + abs(logarithm)) * EPSILON if math.isfinite(logarithm) else logarithm


def _scaled(logs: Tensor, factor: float) -> Tensor:
    """Of numbers times a factor; times 1 they stay as they are."""
    return logs if factor == 1 else log_up(logs + _log(factor))


def weighted_sums(operation: Operation, *channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln(|W'| s), ln(|W| e) and ln(|W - W'| s), rounded up, a number for each row.

    Given are ln of the number of each channel that is read, for W, for W' and for W - W'.
    """
    ours, theirs = operation.module.weight, operation.quantized.weight
    different = {logs: _Vector(logs, operation.module) for logs in set(channels)}
    vectors = [different[logs] for logs in channels]
    totals = torch.empty(len(vectors), len(ours), dtype=torch.float64)
    for rows, matrices in absolute_blocks(ours, theirs):
        for matrix, vector, total in zip(matrices, vectors, totals, strict=True):
            total[rows] = vector.product(matrix, rows)
    check_sums(operation.name, [operation], [totals])
    largest, reach = torch.tensor([(v.largest, v.reach) for v in vectors], dtype=torch.float64).T
    logs = totals.log() + largest[:, None]
    carried, grown, made = log_up(logs, ours[0].numel(), reach[:, None])
    return grown, carried, made


class _Vector:
    """A positive number for each channel: the largest, as a logarithm, and all as shares of it."""

    def __init__(self, logs: Tensor, module: nn.Module) -> None:
        finite = logs[logs > -math.inf]
        self.largest = finite.max().item() if len(finite) else -math.inf
        self.reach = finite.abs().max().item() if len(finite) else 0.0
        # Where all are 0, any shares will do; these show weights that are not finite.
        shares = _raised((logs - self.largest).exp()) if len(finite) else torch.ones_like(logs)
        self.groups = getattr(module, "groups", 1)
        self.rows = len(module.weight) // self.groups  # of each group
        positions = module.weight[0, 0].numel()
        self.shares = shares.repeat_interleave(positions).view(self.groups, -1)

    def product(self, matrix: Tensor, rows: slice) -> Tensor:
        """Rows of absolute weights times the shares of what they read."""
        total = self._product(matrix, rows)
        if (total < SAFE).any():  # products may have become 0
            total = self._product(_raised(matrix), rows)
        return total

    def _product(self, matrix: Tensor, rows: slice) -> Tensor:
        if self.groups == 1:
            return matrix @ self.shares[0]
        group = torch.arange(rows.start, rows.stop) // self.rows
        return (matrix * self.shares[group]).sum(1)


def _raised(values: Tensor) -> Tensor:
    return torch.where(values > 0, values.clamp_min(LEAST), values)
