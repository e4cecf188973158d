"""Real tensors, as a domain: one network that runs, or two side by side."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx

from qnotes.networks.operations import Operation, operations
from qnotes.propagation.pair import matched
from qnotes.propagation.walk import Domain, Visit, walk


class Values(Domain):
    """What a network computes, for all inputs at once: a tuple of a tensor for each network.

    Args:
        inputs: of shape (inputs, ...), in the precision of the networks.
        pair: whether two networks run, so that a value is (S, S') in place of (S,).
    """

    def __init__(self, inputs: Tensor, *, pair: bool = False) -> None:
        self.inputs, self.networks = inputs, 2 if pair else 1

    def input(self, operation: Operation) -> tuple[Tensor, ...]:
        # Copies, since a network may overwrite its input.
        return tuple(self.inputs.clone() for _ in range(self.networks))

    @torch.no_grad()
    def affine(self, operation: Operation, *reads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Any module: each network's own."""
        modules = (operation.module, operation.quantized)[: self.networks]
        return tuple(module(*values) for module, *values in zip(modules, *reads, strict=True))

    activation = max_pool = average_pool = flatten = padding = identity = affine
    sloped_activation = concatenation = gated = mean = rearrangement = affine

    def sum(self, operation: Operation, first: tuple, second: tuple) -> tuple[Tensor, ...]:
        return tuple(one + other for one, other in zip(first, second, strict=True))


def watched(
    network: fx.GraphModule, inputs: Tensor, quantized: fx.GraphModule | None = None
) -> Iterator[Visit]:
    """Run a traced network, or two of one graph, and stop at each operation.

    A visit has the ``operation`` with its name and modules, what it ``reads``, and its ``result``:
    tuples of tensors, (S,) of one network and (S, S') of two. A later operation may overwrite them
    in place. Each network runs once in all, however deep it is, and values are kept until their
    last use.

    Args:
        network: from `qnotes.fold` or `trace`.
        inputs: of shape (inputs, ...), in the precision of the networks.
        quantized: the same network with other weights.
    """
    found = operations(network) if quantized is None else matched(network, quantized)
    return walk(found, Values(inputs, pair=quantized is not None))
