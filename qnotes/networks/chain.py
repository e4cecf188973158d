"""A network as a chain of affine layers (the chapter on architectures, `book/architectures.ipynb`).

The state of the chain is the vector of all values that are still needed. A layer replaces some of
it by a sum of weighted, or plain, earlier values and carries the rest along:

    (h, x) ↦ (W h, x)        inside a residual block,
    (h, x) ↦ W h + P x       where the skip connection joins.

A convolution or a sum is therefore not a layer yet: it stays a *sum of terms* until something other
than a sum needs its value. This gives every architecture its nominal depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import (
    AFFINE,
    IDENTITIES,
    INPUT,
    OUTPUT,
    POINTWISE,
    SUM,
    Operation,
    operations,
)


@dataclass(frozen=True)
class Value:
    """A vector of the state: the node it is, the layer that made it (0: the input), its size."""

    node: fx.Node
    made_by: int
    size: int


@dataclass(frozen=True)
class Term:
    """One summand of a layer: a module's weights, or the identity, applied to a value."""

    target: str | None
    module: nn.Module | None
    source: Value


@dataclass(frozen=True)
class Link:
    """One layer of the chain.

    Attributes:
        name: names of its modules, joined by `` + ``.
        terms: its summands.
        carries: whether other coordinates pass it by.
        width: N_ℓ, coordinates of the state after it.
    """

    name: str
    terms: tuple[Term, ...]
    carries: bool
    width: int


@dataclass(frozen=True)
class Chain:
    """A network as links, and the number of coordinates of its input."""

    links: tuple[Link, ...]
    input_width: int


def chain(network: fx.GraphModule, input_shape: tuple[int, ...]) -> Chain:
    """Read a traced network as a chain.

    Args:
        network: a graph whose batch norms are folded.
        input_shape: shape of one batch, batch dimension first; only the shape matters.

    Raises:
        UnsupportedOperation: for anything that the theory does not cover, by name.
        QnotesError: for an input shape that the network cannot take.
    """
    return _Builder(checked_shape(input_shape)).build(operations(network))


def checked_shape(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one input, (1, ...), from the shape of a batch."""
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    if len(shape) < 2 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise QnotesError(
            "input_shape must be positive integers, batch dimension first, such as "
            f"(1, 3, 224, 224); got {input_shape!r}"
        )
    return (1, *shape[1:])


class _Builder:
    """Walks the operations once; sums stay open until something needs their value."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.values: dict[fx.Node, Value] = {}
        self.open: dict[fx.Node, tuple[Term, ...]] = {}
        self.layers: list[tuple[str, tuple[Term, ...]]] = []

    def build(self, found: list[Operation]) -> Chain:
        for operation in found:
            inputs = [self.shapes[node] for node in operation.inputs]
            self.shapes[operation.node] = operation.shape(inputs) if inputs else self.shape
            self._visit(operation)
            if len(operation.node.users) > 1:  # read more than once: computed once, as a layer
                self._value(operation.node)
        if not any(term.module for _, terms in self.layers for term in terms):
            raise QnotesError("the network has no layer with weights, so nothing is quantized")
        return self._linked(self.values[found[-1].node])

    def _visit(self, operation: Operation) -> None:
        node = operation.node
        if operation.kind == INPUT:
            self.values[node] = Value(node, 0, math.prod(self.shape))
        elif operation.kind == AFFINE:
            source = self._value(operation.inputs[0])
            self.open[node] = (Term(operation.name, operation.module, source),)
        elif operation.kind == SUM:
            self.open[node] = sum((self._terms(read) for read in operation.inputs), ())
        elif isinstance(operation.module, IDENTITIES):
            known = self.open if operation.inputs[0] in self.open else self.values
            known[node] = known[operation.inputs[0]]
        elif operation.kind in (POINTWISE, OUTPUT):
            # 1-Lipschitz with σ(0) = 0: a part of the layer that made what it reads.
            made_by = self._value(operation.inputs[0]).made_by
            self.values[node] = Value(node, made_by, math.prod(self.shapes[node]))

    def _value(self, node: fx.Node) -> Value:
        """The value of a node; an open sum becomes a layer."""
        if node in self.open:
            terms = self.open.pop(node)
            names = [term.target for term in terms if term.target] or [node.name]
            self.layers.append((" + ".join(names), terms))
            self.values[node] = Value(node, len(self.layers), math.prod(self.shapes[node]))
        return self.values[node]

    def _terms(self, node: fx.Node) -> tuple[Term, ...]:
        if node in self.open:
            return self.open[node]
        return (Term(None, None, self.values[node]),)

    def _linked(self, output: Value) -> Chain:
        """Add to each layer what passes it by: values made before it and read after it."""
        depth = len(self.layers)
        last_read = {output: depth + 1}
        for layer, (_, terms) in enumerate(self.layers, start=1):
            for term in terms:
                last_read[term.source] = max(layer, last_read.get(term.source, 0))
        links = []
        for layer, (name, terms) in enumerate(self.layers, start=1):
            after = _alive(last_read, layer)
            carries = any(value.made_by < layer for value in after)
            links.append(Link(name, terms, carries, _size(after)))
        return Chain(tuple(links), math.prod(self.shape))


def _alive(last_read: dict[Value, int], layer: int) -> list[Value]:
    """Values that exist after a layer and are read later."""
    return [value for value, read in last_read.items() if value.made_by <= layer < read]


def _size(values: list[Value]) -> int:
    return sum(value.size for value in values)
