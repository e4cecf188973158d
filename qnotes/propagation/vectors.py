"""T8: the vector form, with one number for each channel instead of one for each layer.

Two vectors travel through the graph. v bounds the activations of the quantized network, u bounds
the error, both channel by channel. Values are kept as logarithms, since they leave float64 on deep
networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.chain import checked_shape
from qnotes.networks.measure import check_same_graph
from qnotes.networks.operations import (
    AFFINE,
    INPUT,
    OUTPUT,
    SUM,
    Operation,
    operations,
)
from qnotes.networks.tracing import check_finite, trace

#: Positive numbers below this are raised to it before they are multiplied, so that none becomes 0.
LEAST = 2.0**-500
#: ln of the largest value that ReLU6 takes, rounded up.
LN_CEILING = math.log(6) * (1 + 2.0**-50)

#: ln v and ln u, a number for each channel; of an input or output without positions, for each
#: coordinate.
Pair = tuple[Tensor, Tensor]


def vector_bound(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...],
    radius: float = 1.0,
    clip_relu6: bool = False,
) -> np.ndarray:
    """The vector form T8: for each channel of the output, a bound on its error.

    The statement is `qnotes.theorems.T8_vector_form`.

    v ← |W'| v + |b'| and u ← |W| u + |W - W'| v + |b - b'|, where a convolution has the sum over
    its kernel's positions for |W|. Vectors are added where values are. Pools keep the channels, and
    flattening repeats a channel for each of its positions. The border of an image is ignored, which
    makes the bound larger, not smaller. The cost is that of reading the weights, whatever the size
    of the input.

    The result is rounded up: after each sum of n terms by n + 8 (1 + s) units of 2^-52, where s is
    the largest size of a logarithm in it.

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`).
        quantized: the same network with other weights.
        input_shape: shape of one batch, batch dimension first.
        radius: D; inputs lie in [-D, D]^N_0.
        clip_relu6: also use that ReLU6 takes values between 0 and 6, so that neither v nor u
            exceeds 6 after it. T8 does not.

    Returns:
        Decimal logarithms, one for each channel of the output; the largest bounds E.

    Raises:
        UnsupportedOperation: for an operation that the theory does not cover, by name.
        QnotesError: for networks that do not match, an input shape that does not fit, weights that
            are not finite, or a radius that is not positive.
    """
    if not isinstance(radius, int | float) or not 0 < radius < math.inf:
        raise QnotesError(f"radius must be a positive finite number; got {radius!r}")
    reference, other = trace(network), trace(quantized)
    check_same_graph(reference, other)
    operations(other)  # refuses what is covered in one network and not in the other
    shapes: dict[fx.Node, tuple[int, ...]] = {}
    pairs: dict[fx.Node, Pair] = {}
    for operation in operations(reference):
        read = [shapes[node] for node in operation.inputs]
        shape = operation.shape(read) if read else checked_shape(input_shape)
        inputs = [pairs[node] for node in operation.inputs]
        shapes[operation.node] = shape
        if operation.kind == INPUT:
            pairs[operation.node] = _start(shape[1], radius)
        elif operation.kind == AFFINE:
            theirs = other.get_submodule(operation.name)
            pairs[operation.node] = _affine(operation, theirs, *inputs[0])
        elif operation.kind == SUM:
            pairs[operation.node] = _added(*inputs)
        else:
            pairs[operation.node] = _pointwise(operation, read[0], shape, clip_relu6)(inputs[0])
    _, errors = pairs[operation.node]
    return _up(errors, 0, 0.0).numpy() / math.log(10)


def _start(channels: int, radius: float) -> Pair:
    v = torch.full((channels,), math.log(radius), dtype=torch.float64)
    return _up(v, 0, 0.0), torch.full_like(v, -math.inf)


def _affine(operation: Operation, theirs: nn.Module, v: Tensor, u: Tensor) -> Pair:
    ours = operation.module
    for module in (ours, theirs):
        check_finite(operation.name, {"weight": module.weight, "bias": module.bias})
    mine, its = ours.weight.detach().double(), theirs.weight.detach().double()
    carried = _product(operation, mine, u)
    made = _product(operation, mine - its, v)
    grown = _product(operation, its, v)
    biases = [_bias(module, len(mine)) for module in (ours, theirs)]
    return (
        _sum(grown, biases[1].abs().log()),
        _sum(_sum(carried, made), (biases[0] - biases[1]).abs().log()),
    )


def _product(operation: Operation, weight: Tensor, logs: Tensor) -> Tensor:
    """ln(|W| exp(logs)), rounded up; a convolution sums over the positions of its kernel."""
    groups = getattr(operation.module, "groups", 1)
    matrix = weight.abs().flatten(2).sum(2) if weight.dim() > 2 else weight.abs()
    matrix = _raised(matrix).view(groups, len(weight) // groups, -1)
    largest = logs.max()
    if largest == -math.inf:
        return torch.full((len(weight),), -math.inf, dtype=torch.float64)
    scaled = _raised((logs - largest).exp()).view(groups, -1, 1)
    total = (matrix @ scaled).flatten()
    if not torch.isfinite(total).all():
        raise QnotesError(f"{operation.name}: a row sum of its weights is too large for float64")
    reach = logs[logs > -math.inf].abs().max().item()
    return _up(total.log() + largest, weight[0].numel(), reach)


def _raised(values: Tensor) -> Tensor:
    return torch.where(values > 0, values.clamp_min(LEAST), values)


def _bias(module: nn.Module, channels: int) -> Tensor:
    if module.bias is None:
        return torch.zeros(channels, dtype=torch.float64)
    return module.bias.detach().double()


def _sum(first: Tensor, second: Tensor) -> Tensor:
    return _up(torch.logaddexp(first, second), 2, 0.0)


def _up(logs: Tensor, terms: int, reach: float) -> Tensor:
    """Logarithms of sums of so many terms, made of logarithms up to `reach`, rounded up."""
    raised = logs + (terms + 8 * (1 + logs.abs().clamp_min(reach))) * 2.0**-52
    return torch.where(logs == -math.inf, logs, raised)


def _added(first: Pair, second: Pair) -> Pair:
    return _sum(first[0], second[0]), _sum(first[1], second[1])


def _pointwise(
    operation: Operation, read: tuple[int, ...], shape: tuple[int, ...], clip_relu6: bool
) -> Callable[[Pair], Pair]:
    """What an operation without weights does to both vectors."""
    if operation.kind == OUTPUT:
        return _kept
    if isinstance(operation.module, nn.ReLU6) and clip_relu6:
        return lambda pair: tuple(logs.clamp_max(LN_CEILING) for logs in pair)
    if isinstance(operation.module, nn.Flatten):
        positions = math.prod(read[2:])
        return lambda pair: tuple(logs.repeat_interleave(positions) for logs in pair)
    if _mixes_channels(operation.module, read):
        return lambda pair: tuple(logs.max().expand(shape[1]) for logs in pair)
    return _kept


def _kept(pair: Pair) -> Pair:
    return pair


def _mixes_channels(module: nn.Module, read: tuple[int, ...]) -> bool:
    """Whether a pool takes what it reads for one image without a batch, and pools over channels."""
    name = type(module).__name__
    return "Pool" in name and len(read) < int(name[-2]) + 2
