"""A network as a chain of affine layers (theory, sections 4 and T17).

The state of the chain is the vector of all values that are still needed. A layer replaces some of
it by a sum of weighted, or plain, earlier values and carries the rest along:

    (h, x) ↦ (W h, x)        inside a residual block,
    (h, x) ↦ W h + P x       where the skip connection joins,
    x ↦ (V x, W x)           where branches start: layers side by side are one layer.

A convolution or a sum is therefore not a layer yet: it stays a *sum of terms* until something other
than a sum needs its value. A layer stands as early as what it reads allows. This gives every
architecture its nominal depth. A concatenation is no layer: its parts stand in the state, and
whatever reads it reads them all.

An activation with slope κ and σ(0) = c belongs to the layer before: σ(W h + b) has the slope of
κ W, and adds |c| to its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain as joined

from torch import fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation
from qnotes.networks.activations import slope_of
from qnotes.networks.operations import Operation, operations, readers
from qnotes.propagation.shapes import Shape, checked_shape, shapes_of
from qnotes.propagation.walk import Domain, propagate


@dataclass(frozen=True)
class Value:
    """A vector of the state.

    Attributes:
        node: whose value it is a part of.
        part: which part, of a concatenation.
        made_by: the layer of the chain that made it; 0 for the input.
        block: which of the layers side by side.
        size: how many coordinates.
        slope: κ of the activations since that layer.
        offset: what they make of 0, at most.
    """

    node: fx.Node
    part: int
    made_by: int
    block: int
    size: int
    slope: float = 1.0
    offset: float = 0.0


#: The parts of a value: one, or those of a concatenation.
Parts = tuple[Value, ...]


@dataclass(frozen=True)
class Term:
    """One summand of a layer: its weights, or the identity (None), applied to a value."""

    operation: Operation | None
    sources: Parts

    @property
    def target(self) -> str | None:
        """The name of the module."""
        return self.operation and self.operation.name

    @property
    def module(self) -> nn.Module | None:
        """The module, in the network."""
        return self.operation and self.operation.module

    @property
    def source(self) -> Value:
        """What it reads, where that is no concatenation."""
        (value,) = self.sources
        return value

    @property
    def size(self) -> int:
        """Coordinates that it reads."""
        return sum(value.size for value in self.sources)


@dataclass(frozen=True)
class Block:
    """What one layer of a network makes: a sum of terms, and the activations after it."""

    name: str  # names of its modules, joined by `` + ``
    terms: tuple[Term, ...]  # its summands
    slope: float  # largest κ of what is read of it
    offset: float  # largest |σ(0)|


@dataclass(frozen=True)
class Link:
    """One layer of the chain: blocks side by side, on top of one another in its matrix."""

    blocks: tuple[Block, ...]
    carries: bool  # whether other coordinates pass it by
    width: int  # N_ℓ, coordinates of the state after it

    @property
    def name(self) -> str:
        """The names of its blocks, with commas between."""
        return ", ".join(block.name for block in self.blocks)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The summands of all blocks."""
        return tuple(joined.from_iterable(block.terms for block in self.blocks))


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
    found = tuple(found)
    domain = _Terms(found, shapes)
    output = domain.closed(found[-1].node, propagate(found, domain))
    blocks = domain.blocks
    if not any(term.operation for block in blocks for term in block.terms):
        raise QnotesError("the network has no layer with weights, so nothing is quantized")
    depth = max(value.made_by for value in output)
    last_read = dict.fromkeys(output, depth + 1)
    made: list[list[Block]] = [[] for _ in range(depth + 1)]  # by each layer
    for number in range(len(blocks), 0, -1):
        block = blocks[number - 1]
        values = [value for value in last_read if value.block == number]
        if values:  # what nobody reads is left out
            slope, offset = (max(getattr(v, key) for v in values) for key in ("slope", "offset"))
            made[block.layer].insert(0, Block(block.name, block.terms, slope, offset))
            for value in joined.from_iterable(term.sources for term in block.terms):
                last_read[value] = max(block.layer, last_read.get(value, 0))
    links = (_link(layer, made[layer], last_read) for layer in range(1, depth + 1))
    return Chain(tuple(links), domain.input_width)


def _link(layer: int, blocks: Iterable[Block], last_read: Mapping[Value, int]) -> Link:
    after = [value for value, read in last_read.items() if value.made_by <= layer < read]
    carries = any(value.made_by < layer for value in after)
    return Link(tuple(blocks), carries, sum(value.size for value in after))


@dataclass(frozen=True)
class _Open:
    """A layer of the network on its place in the chain."""

    layer: int
    name: str
    terms: tuple[Term, ...]


#: What stands in the state, or a sum of terms that stays open until something needs its value.
_Known = Parts | list[Term]


class _Terms(Domain):
    """A value of the state, or a sum of terms that stays open until something needs its value."""

    def __init__(self, found: Iterable[Operation], shapes: Mapping[fx.Node, Shape]) -> None:
        self.readers = readers(found)
        self.shapes = shapes
        self.blocks: list[_Open] = []
        self.input_width = 0

    def apply(self, operation: Operation, reads: tuple) -> _Known:
        result = super().apply(operation, reads)
        if len(self.readers[operation.node]) > 1:  # computed once, as a layer
            return self.closed(operation.node, result)
        return result

    def input(self, operation: Operation) -> Parts:
        self.input_width = math.prod(self.shapes[operation.node])
        return (Value(operation.node, 0, 0, 0, self.input_width),)

    def affine(self, operation: Operation, read: _Known) -> list[Term]:
        return [Term(operation, self.closed(operation.inputs[0], read))]

    def sum(self, operation: Operation, *reads: _Known) -> list[Term]:
        return [
            term
            for read in reads
            for term in (read if isinstance(read, list) else [Term(None, read)])
        ]

    def max_pool(self, operation: Operation, read: _Known) -> Parts:
        """1-Lipschitz with σ(0) = 0: a part of the layer that made what it reads."""
        parts = self.closed(operation.inputs[0], read)
        return self._moved(operation.node, parts, math.prod(self.shapes[operation.node]))

    activation = average_pool = flatten = output = mean = rearrangement = max_pool

    def sloped_activation(self, operation: Operation, read: _Known) -> Parts:
        """A part of the layer before, which its slope multiplies; after the input, a layer."""
        known = slope_of(operation.module)
        parts = self.closed(operation.inputs[0], read)
        if not known.plain and not all(part.made_by for part in parts):
            parts = self.closed(operation.inputs[0], [Term(None, parts)])
        return tuple(
            Value(
                operation.node,
                number,
                part.made_by,
                part.block,
                part.size,
                known.slope * part.slope,
                known.slope * part.offset + known.offset,
            )
            for number, part in enumerate(parts)
        )

    def padding(self, operation: Operation, read: _Known) -> Parts:
        """Zeros are known, so they are no coordinates of the state."""
        parts = self.closed(operation.inputs[0], read)
        return self._moved(operation.node, parts, sum(part.size for part in parts))

    def concatenation(self, operation: Operation, *reads: _Known) -> Parts:
        """The parts of all, next to one another in the state."""
        distinct = dict(zip(operation.inputs, reads, strict=True))
        closed = {node: self.closed(node, read) for node, read in distinct.items()}
        return tuple(part for node in operation.inputs for part in closed[node])

    def gated(self, operation: Operation, *reads: _Known) -> Parts:
        raise UnsupportedOperation(
            f"{operation.name}: a product of a value with a gate is no layer of a chain, so a "
            "profile, and with it P1 to T7, does not exist for this network. On its graph T2, T8, "
            "T10 and T11 hold: qnotes.certify"
        )

    def closed(self, node: fx.Node, known: _Known) -> Parts:
        """What stands in the state; an open sum becomes a layer."""
        if not isinstance(known, list):
            return known
        names = [term.target for term in known if term.operation] or [node.name]
        layer = 1 + max(value.made_by for term in known for value in term.sources)
        self.blocks.append(_Open(layer, " + ".join(names), tuple(known)))
        return (Value(node, 0, layer, len(self.blocks), math.prod(self.shapes[node])),)

    def _moved(self, node: fx.Node, parts: Parts, size: int) -> Parts:
        """The parts of another value of so many coordinates, each its share, rounded up."""
        before = sum(part.size for part in parts)
        return tuple(
            Value(
                node,
                number,
                part.made_by,
                part.block,
                math.ceil(part.size * size / before),
                part.slope,
                part.offset,
            )
            for number, part in enumerate(parts)
        )
