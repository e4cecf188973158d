"""The one walk: along the operations of a network, or of a pair, once; a domain says what travels.

Norms, numbers for each channel, shapes, real tensors: whatever travels through a network travels by
`walk`. A domain is a class with one method for each kind of operation in the table
(`qnotes.networks.operations`). A new domain is a new file; a new kind of operation is a row of the
table and its rule in each domain. Where a rule is missing, the walk stops and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from torch import fx

from qnotes.errors import UnsupportedOperation
from qnotes.networks.operations import Operation


class Domain:
    """What travels: a method for each kind of operation, named as the kind.

    ``rule(operation, *reads)`` returns the value of the operation from the values that it reads; a
    value may be anything. A domain whose values depend on each other keeps what they share in
    itself, and learns from `forget` which of them are gone.
    """

    def identity(self, operation: Operation, read: Any) -> Any:
        """What does nothing at inference."""
        return read

    output = identity

    def apply(self, operation: Operation, reads: tuple) -> Any:
        """The value of an operation, by the rule for its kind."""
        rule = getattr(self, operation.kind, None)
        if rule is None:
            raise UnsupportedOperation(no_rule(self, operation))
        return rule(operation, *reads)

    def forget(self, node: fx.Node) -> None:
        """Told after an operation that nothing will read this node any more."""


def no_rule(domain: Domain | type[Domain], operation: Operation) -> str:
    """That a domain has no rule for an operation, in words that the caller of a network knows."""
    kind = domain if isinstance(domain, type) else type(domain)
    module = operation.module
    known = module is not None and type(module).__module__.startswith("torch.")
    what = type(module).__name__ if known else operation.kind
    return f"{operation.name}: {kind.__name__} has no rule for {what}"


@dataclass
class Visit:
    """An operation that is about to be passed.

    Whoever changes a layer's weights at its visit changes what the layer makes, and what is read
    after it. `result` may be looked at, and set.
    """

    operation: Operation
    reads: tuple
    domain: Domain

    @cached_property
    def result(self) -> Any:
        """What the operation makes; computed when it is asked for, or when the walk goes on."""
        return self.domain.apply(self.operation, self.reads)


def walk(operations: Iterable[Operation], domain: Domain) -> Iterator[Visit]:
    """Visit each operation once, in the order in which the network runs.

    A value is kept until its last use.
    """
    operations = tuple(operations)
    last_use = {node: operation for operation in operations for node in operation.inputs}
    alive: dict[fx.Node, Any] = {}
    for operation in operations:
        visit = Visit(operation, tuple(alive[node] for node in operation.inputs), domain)
        yield visit
        alive[operation.node] = visit.result
        for node in {operation.node, *operation.inputs}:
            if last_use.get(node, operation) is operation:
                del alive[node]
                domain.forget(node)


def propagate(operations: Iterable[Operation], domain: Domain) -> Any:
    """Walk to the end: the value of the output."""
    for visit in walk(operations, domain):
        result = visit.result
    return result


class Bounds(NamedTuple):
    """What is known of a value: of the size of S', and of the error Δ = S - S'."""

    size: Any
    error: Any


class ErrorDomain(Domain):
    """A domain that bounds the difference of two networks, by T1 (theory, section 1).

    It has rules for the other kinds of operation, and three methods more:

    - ``products(operation, read)``: W' S', W Δ and (W - W') S';
    - ``biases(operation)``: b' and b - b';
    - ``added(first, second)``: the sum of two numbers of the domain.
    """

    def affine(self, operation: Operation, read: Bounds) -> Bounds:
        """T1: W Δ + (W - W') S' + (b - b'), and W' S' + b'."""
        grown, carried, made = self.products(operation, read)
        bias, gap = self.biases(operation)
        return Bounds(self.added(grown, bias), self.added(self.added(carried, made), gap))

    def sum(self, operation: Operation, first: Bounds, second: Bounds) -> Bounds:
        """Where a skip connection joins."""
        return Bounds(*map(self.added, first, second))
