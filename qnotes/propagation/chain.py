"""A network as a chain of affine layers (theory, section 4).

The state of the chain is the vector of all values that are still needed. A layer replaces some of
it by a sum of weighted, or plain, earlier values and carries the rest along:

    (h, x) ↦ (W h, x)        inside a residual block,
    (h, x) ↦ W h + P x       where the skip connection joins.

A convolution or a sum is therefore not a layer yet: it stays a *sum of terms* until something other
than a sum needs its value. This gives every architecture its nominal depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain as joined

from torch import fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import Operation, operations
from qnotes.propagation.shapes import Shape, checked_shape, shapes_of
from qnotes.propagation.walk import Domain, propagate


@dataclass(frozen=True)
class Value:
    """A vector of the state: the node it is, the layer that made it (0: the input), its size."""

    node: fx.Node
    made_by: int
    size: int


@dataclass(frozen=True)
class Term:
    """One summand of a layer: its weights, or the identity (None), applied to a value."""

    operation: Operation | None
    source: Value

    @property
    def target(self) -> str | None:
        """The name of the module."""
        return self.operation and self.operation.name

    @property
    def module(self) -> nn.Module | None:
        """The module, in the network."""
        return self.operation and self.operation.module


@dataclass(frozen=True)
class Link:
    """One layer of the chain."""

    name: str  # names of its modules, joined by `` + ``
    terms: tuple[Term, ...]  # its summands
    carries: bool  # whether other coordinates pass it by
    width: int  # N_ℓ, coordinates of the state after it


@dataclass(frozen=True)
class Chain:
    """A network as links, and the number of coordinates of its input."""

    links: tuple[Link, ...]
    input_width: int


def chain(network: fx.GraphModule, input_shape: Shape) -> Chain:
    """A traced network with batch norms folded, as a chain; refuses what `qnotes.profile` does."""
    found = operations(network)
    return linked(found, shapes_of(found, checked_shape(input_shape)))


def linked(found: Iterable[Operation], shapes: Mapping[fx.Node, Shape]) -> Chain:
    """The chain of operations whose shapes are known."""
    domain = _Terms(shapes)
    output = propagate(found, domain)
    layers = domain.layers
    if not any(term.operation for _, terms in layers for term in terms):
        raise QnotesError("the network has no layer with weights, so nothing is quantized")
    last_read = {output: len(layers) + 1}
    for layer, (_, terms) in enumerate(layers, start=1):
        for term in terms:
            last_read[term.source] = max(layer, last_read.get(term.source, 0))
    links = []
    for layer, (name, terms) in enumerate(layers, start=1):
        after = [value for value, read in last_read.items() if value.made_by <= layer < read]
        carries = any(value.made_by < layer for value in after)
        links.append(Link(name, terms, carries, sum(value.size for value in after)))
    return Chain(tuple(links), domain.input_width)


class _Terms(Domain):
    """A value of the state, or a sum of terms that stays open until something needs its value."""

    def __init__(self, shapes: Mapping[fx.Node, Shape]) -> None:
        self.shapes = shapes
        self.layers: list[tuple[str, tuple[Term, ...]]] = []
        self.input_width = 0

    def apply(self, operation: Operation, reads: tuple) -> Value | tuple[Term, ...]:
        result = super().apply(operation, reads)
        if len(operation.node.users) > 1:  # read more than once: computed once, as a layer
            return self._closed(operation.node, result)
        return result

    def input(self, operation: Operation) -> Value:
        value = self._value(operation.node, made_by=0)
        self.input_width = value.size
        return value

    def affine(self, operation: Operation, read: Value | tuple[Term, ...]) -> tuple[Term, ...]:
        source = self._closed(operation.inputs[0], read)
        return (Term(operation, source),)

    def sum(self, operation: Operation, *reads: Value | tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(
            joined.from_iterable(
                (Term(None, read),) if isinstance(read, Value) else read for read in reads
            )
        )

    def activation(self, operation: Operation, read: Value | tuple[Term, ...]) -> Value:
        """1-Lipschitz with σ(0) = 0: a part of the layer that made what it reads."""
        made_by = self._closed(operation.inputs[0], read).made_by
        return self._value(operation.node, made_by)

    max_pool = average_pool = flatten = output = activation

    def padding(self, operation: Operation, read: Value | tuple[Term, ...]) -> Value:
        """Zeros are known, so they are no coordinates of the state."""
        return replace(self._closed(operation.inputs[0], read), node=operation.node)

    def _closed(self, node: fx.Node, known: Value | tuple[Term, ...]) -> Value:
        """The value of a node; an open sum becomes a layer."""
        if isinstance(known, Value):
            return known
        names = [term.target for term in known if term.operation] or [node.name]
        self.layers.append((" + ".join(names), known))
        return self._value(node, len(self.layers))

    def _value(self, node: fx.Node, made_by: int) -> Value:
        return Value(node, made_by, math.prod(self.shapes[node]))
