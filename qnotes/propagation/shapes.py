"""Shapes, as a domain: whether a network can take an input, and what each operation makes of it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation, prefixed, whole
from qnotes.networks.operations import MAX_POOLS, ZERO_PADS, Operation, operations, uncovered
from qnotes.propagation.walk import Domain, walk

#: Batch dimension first.
Shape = tuple[int, ...]


def shapes_of(operations: Iterable[Operation], shape: Shape) -> dict[fx.Node, Shape]:
    """The shape of every value, for an input of this shape; refuses one that does not fit."""
    return {visit.operation.node: visit.result for visit in walk(operations, Shapes(shape))}


def checked_shape(input_shape: Shape) -> Shape:
    """The shape of one input, (1, ...), from the shape of a batch."""
    try:
        shape = tuple(map(whole, input_shape))
    except TypeError:
        shape = ()
    if len(shape) < 2 or not all(size is not None and size > 0 for size in shape):
        raise QnotesError(
            "input_shape must be positive integers, batch dimension first, such as "
            f"(1, 3, 224, 224); got {input_shape!r}"
        )
    return (1, *shape[1:])


def check_inputs(network: fx.GraphModule, inputs: Tensor) -> None:
    """Refuse calibration inputs whose shape the network cannot take, by the layer that cannot."""
    shape = tuple(inputs.shape)
    with prefixed(f"the network cannot take calibration of shape {shape}"):
        shapes_of(operations(network), shape)


class Shapes(Domain):
    """The shape of a value."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def input(self, operation: Operation) -> Shape:
        return self.shape

    def affine(self, operation: Operation, shape: Shape) -> Shape:
        name, module = operation.name, operation.module
        if isinstance(module, nn.Linear):
            if len(shape) != 2 or shape[1] != module.in_features:
                raise _misfit(operation, ["batch", module.in_features], shape)
            return (shape[0], module.out_features)
        if len(shape) != len(module.kernel_size) + 2 or shape[1] != module.in_channels:
            sizes = "dhw"[-len(module.stride) :]
            raise _misfit(operation, ["batch", module.in_channels, *sizes], shape)
        after = [
            (size + padding - step * (kernel - 1) - 1) // stride + 1
            for size, padding, step, kernel, stride in zip(
                shape[2:],
                padding_of(module),
                module.dilation,
                module.kernel_size,
                module.stride,
                strict=True,
            )
        ]
        if min(after) < 1:
            raise QnotesError(f"{name}: an input of shape {shape} is smaller than the kernel")
        return (shape[0], module.out_channels, *after)

    def sum(self, operation: Operation, first: Shape, second: Shape) -> Shape:
        if first != second:
            raise UnsupportedOperation(
                f"{operation.name}: a sum of shapes {first} and {second} broadcasts; equal shapes "
                "are covered"
            )
        return first

    def activation(self, operation: Operation, shape: Shape) -> Shape:
        return shape

    def average_pool(self, operation: Operation, shape: Shape) -> Shape:
        """As torch says, without values."""
        try:
            return tuple(operation.module(torch.empty(shape, device="meta")).shape)
        except (RuntimeError, IndexError, ValueError) as error:
            raise QnotesError(
                f"{operation.name}: cannot take an input of shape {shape}: {error}"
            ) from error

    flatten = average_pool

    def sloped_activation(self, operation: Operation, shape: Shape) -> Shape:
        module = operation.module
        if isinstance(module, nn.PReLU) and module.num_parameters not in (1, shape[1]):
            raise _misfit(operation, ["batch", module.num_parameters, "..."], shape)
        return shape

    def concatenation(self, operation: Operation, *shapes: Shape) -> Shape:
        """Of channels, of equal images."""
        sizes = len(shapes[0])
        if operation.module.dim % sizes != 1:
            what = f"cat along dimension {operation.module.dim} of {shapes}, not of channels,"
            raise uncovered(operation.name, what)
        others = {(shape[0], *shape[2:]) for shape in shapes}
        if len(others) > 1:
            raise QnotesError(f"{operation.name}: cannot put shapes {shapes} behind one another")
        return (shapes[0][0], sum(shape[1] for shape in shapes), *shapes[0][2:])

    def gated(self, operation: Operation, first: Shape, second: Shape) -> Shape:
        """Each of one input's factors is as long as the other, or 1, in every dimension."""
        fits = len(first) == len(second) and all(
            one == two or 1 in (one, two) for one, two in zip(first, second, strict=True)
        )
        if not fits or first[0] != second[0]:
            raise uncovered(operation.name, f"a product of shapes {first} and {second}")
        return tuple(map(max, first, second))

    def mean(self, operation: Operation, shape: Shape) -> Shape:
        """Over positions alone."""
        module = operation.module
        fits = all(-len(shape) <= number < len(shape) for number in module.dim)
        numbers = {number % len(shape) for number in module.dim} if fits else {0}
        if numbers & {0, 1} or len(numbers) != len(module.dim):
            what = f"the mean over {module.dim} of {shape}, which is not over positions alone,"
            raise uncovered(operation.name, what)
        return self.average_pool(operation, shape)

    def rearrangement(self, operation: Operation, shape: Shape) -> Shape:
        """As torch says; each input of a batch has to stay one."""
        module = operation.module
        try:
            if not module.keeps_inputs_apart(shape):
                what = f"moving entries of shape {shape} between the inputs of a batch"
                raise uncovered(operation.name, what)
            return tuple(module(torch.empty(shape, device="meta")).shape)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            if isinstance(error, UnsupportedOperation):
                raise
            raise QnotesError(
                f"{operation.name}: cannot take an input of shape {shape}: {error}"
            ) from error

    def padding(self, operation: Operation, shape: Shape) -> Shape:
        """Zeros around an image; channels that are zeros would be other channels."""
        axes = ZERO_PADS.index(type(operation.module)) + 1
        if len(shape) < axes + 2:
            what = f"{type(operation.module).__name__} of shape {shape}, which pads channels,"
            raise uncovered(operation.name, what)
        return self.average_pool(operation, shape)

    def max_pool(self, operation: Operation, shape: Shape) -> Shape:
        """The same; a window in the padding alone gives -inf, and is refused."""
        result = self.average_pool(operation, shape)
        if type(operation.module) in MAX_POOLS and not _sees_values(operation.module, shape):
            what = "max pooling where a window sees only padding, which gives -inf,"
            raise uncovered(operation.name, what)
        return result


def _misfit(operation: Operation, expected: list, shape: Shape) -> QnotesError:
    return QnotesError(
        f"{operation.name}: {type(operation.module).__name__} expects an input of shape "
        f"({', '.join(map(str, expected))}); got {shape}. Check input_shape, or "
        "center: the first dimension is that of the batch."
    )


def padding_of(module: nn.Module) -> list[int]:
    """Zeros that a convolution adds to each axis, both sides together."""
    if module.padding == "same":
        return [d * (p - 1) for d, p in zip(module.dilation, module.kernel_size, strict=True)]
    return [
        2 * p for p in ([0] * len(module.stride) if module.padding == "valid" else module.padding)
    ]


def _sees_values(module: nn.Module, shape: Shape) -> bool:
    """Whether no window of a max pool lies in the padding alone; channels make no difference."""
    axes = MAX_POOLS.index(type(module)) + 1
    return bool(module(torch.zeros(1, 1, *shape[-axes:])).isfinite().all())
