"""The checked pair: two networks of the same graph, and the inputs that a bound is about."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import fx, nn

from qnotes.errors import QnotesError, prefixed
from qnotes.networks.operations import (
    AFFINE_MODULES,
    FLATTEN,
    REARRANGEMENT,
    SLOPED_ACTIVATION,
    Operation,
    operations,
)
from qnotes.networks.tracing import own_copy, trace
from qnotes.propagation.profiles import check_radius
from qnotes.propagation.shapes import Shape, checked_shape, shapes_of

#: Options of a layer that its weights say, too.
SIZES = frozenset({"in_features", "out_features", "in_channels", "out_channels", "kernel_size"})


@dataclass(frozen=True)
class Pair:
    """A network and its quantized copy, ready for a walk.

    Attributes:
        operations: of the network, in order; each knows its module in both networks.
        shapes: of the value of every node, for one input.
        radius: D; inputs lie in [-D, D]^N_0; or a number for each channel of the input.
    """

    operations: tuple[Operation, ...]
    shapes: Mapping[fx.Node, Shape]
    radius: float | Sequence[float]


def checked_pair(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: Shape,
    radius: float | Sequence[float],
) -> Pair:
    """Trace two networks, and check all that every bound asks for but that weights are finite.

    That is checked where weights are read (`check_sums`), since reading them is what costs.
    """
    shape = checked_shape(input_shape)
    radius = _checked_radii(radius, channels=shape[1])
    ours = trace(network, input_shape=shape)
    with prefixed("quantized"):
        theirs = trace(quantized, input_shape=shape)
    found = matched(ours, theirs)
    shapes = shapes_of(found, shape)
    found = tuple(_in_float64(_flattened(operation, shapes)) for operation in found)
    return Pair(found, shapes, radius)


def _flattened(operation: Operation, shapes: Mapping[fx.Node, Shape]) -> Operation:
    """``x.view(x.shape[0], -1)`` is a flatten, for which there are more rules."""
    if operation.kind != REARRANGEMENT:
        return operation
    shape, flat = shapes[operation.inputs[0]], nn.Flatten()
    if shapes[operation.node] != (1, math.prod(shape[1:])):
        return operation
    numbers = torch.arange(math.prod(shape)).view(shape)
    if not torch.equal(operation.module(numbers), flat(numbers)):
        return operation
    return replace(operation, kind=FLATTEN, module=flat, quantized=flat)


def _in_float64(operation: Operation) -> Operation:
    """With an activation's own slopes as the numbers that it is applied to."""
    if operation.kind != SLOPED_ACTIVATION:
        return operation
    module, quantized = (
        own_copy(each, weights=True).double() for each in (operation.module, operation.quantized)
    )
    return replace(operation, module=module, quantized=quantized)


def _checked_radii(radius: float | Sequence[float], channels: int) -> float | list[float]:
    several = isinstance(radius, Sequence) and not isinstance(radius, str)
    if several and len(radius) != channels:
        raise QnotesError(f"radius has {len(radius)} numbers; the input has {channels} channels")
    return [check_radius(number) for number in radius] if several else check_radius(radius)


def matched(network: fx.GraphModule, quantized: fx.GraphModule) -> tuple[Operation, ...]:
    """The operations of two traced networks side by side; refuses those that do not match."""
    found = operations(network)  # what is not covered is named before it is compared
    check_same_graph(network, quantized)
    with prefixed("quantized"):
        others = operations(quantized)
    found = tuple(
        replace(ours, quantized=theirs.module) for ours, theirs in zip(found, others, strict=True)
    )
    for operation in found:
        if operation.kind == SLOPED_ACTIVATION:
            _check_same_activation(operation)
    return found


def _check_same_activation(operation: Operation) -> None:
    """Refuse two activations with slopes of their own that differ: T1 has one σ for both."""
    ours, theirs = (
        list(module.parameters()) for module in (operation.module, operation.quantized)
    )
    if not all(map(torch.equal, ours, theirs)):
        what = type(operation.module).__name__
        raise QnotesError(
            f"{operation.name}: the slopes of {what} differ in the quantized network; the bounds "
            "are about two networks with the same activations"
        )


def check_same_graph(network: fx.GraphModule, quantized: fx.GraphModule) -> None:
    """Refuse two networks that differ in more than their weights, by the first difference.

    Nodes are compared by their places: names are given in the order in which they are made.
    """
    modules = [dict(net.named_modules(remove_duplicate=False)) for net in (network, quantized)]
    places = [{node: at for at, node in enumerate(net.graph.nodes)} for net in (network, quantized)]
    for ours, theirs in zip(network.graph.nodes, quantized.graph.nodes, strict=False):
        for side in ("op", "target", "args", "kwargs"):
            if side == "target" and ours.op in ("placeholder", "output"):
                continue  # the name of an argument
            mine, its = getattr(ours, side), getattr(theirs, side)
            if _placed(mine, places[0]) != _placed(its, places[1]):
                with prefixed("quantized"):  # what is not covered is the reason, such as batch norm
                    operations(quantized)
                raise QnotesError(
                    f"the quantized network does not match: {ours.name} has {side} {mine}, "
                    f"there it is {its}"
                )
        if ours.op == "call_module":
            _check_same_module(ours.target, *(known[ours.target] for known in modules))
    ours, theirs = len(network.graph.nodes), len(quantized.graph.nodes)
    if ours != theirs:
        raise QnotesError(f"the quantized network has {theirs} operations; expected {ours}")


@dataclass(frozen=True)
class _Place:
    """What a node is by its place in the graph."""

    number: int


def _placed(arguments: object, places: Mapping[fx.Node, int]) -> object:
    """Arguments with places for nodes; nodes of two graphs are never the same."""
    return fx.map_arg(arguments, lambda node: _Place(places[node]))


def _check_same_module(name: str, ours: nn.Module, theirs: nn.Module) -> None:
    if type(ours) is not type(theirs):
        raise QnotesError(f"{name}: is {ours} here and {theirs} in the quantized network")
    mine, its = _options(ours), _options(theirs)
    differing = [option for option in mine if mine[option] != its.get(option)]
    if differing:
        given = ", ".join(f"{option}={mine[option]!r}" for option in differing)
        there = ", ".join(f"{option}={its.get(option)!r}" for option in differing)
        raise QnotesError(f"{name}: has {given} here and {there} in the quantized network")


def _options(module: nn.Module) -> dict[str, object]:
    """What a module was built with, and the shapes of its weights.

    Whatever else it carries, such as somebody's notes, makes no difference to what it computes; nor
    does a bias of zeros.
    """
    layer = isinstance(module, AFFINE_MODULES)
    built = _arguments_of(type(module)) - (SIZES if layer else frozenset())
    options = {key: value for key, value in vars(module).items() if key in built}
    shapes = {f"shape of {key}": tuple(value.shape) for key, value in module.named_parameters()}
    if layer:
        shapes.setdefault("shape of bias", (len(module.weight),))
    return options | shapes


@cache
def _arguments_of(kind: type) -> frozenset[str]:
    """The names of all arguments that a class of modules, or one it is made from, is built with."""
    classes = [each for each in kind.__mro__ if issubclass(each, nn.Module)]
    named = [inspect.signature(each.__init__).parameters for each in classes]
    return frozenset(name for names in named for name in names) - {"bias", "init", "training"}
