"""Views, permutations and pieces: what takes entries of a tensor as they are, each at most once.

A channel shuffle is ``view``, ``transpose``, ``view``: one operation here, a `Rearrangement`, so
that channels stay known. Sizes that a network computes on the way (``x.size()``, ``c // 2``) are no
values of the network; they are computed again when a rearrangement runs.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from qnotes.errors import UnsupportedOperation

ARITHMETIC = (operator.floordiv, operator.mul, operator.add, operator.sub, operator.mod)
METHODS = ("view", "reshape", "transpose", "swapaxes", "permute", "contiguous", "unsqueeze")
FUNCTIONS = (
    torch.reshape,
    torch.transpose,
    torch.swapaxes,
    torch.permute,
    torch.unsqueeze,
)
#: What gives several tensors, of which one is taken.
PIECES = ("chunk", "split", "tensor_split")
PIECE_FUNCTIONS = (torch.chunk, torch.split, torch.tensor_split)


class Rearrangement(nn.Module):
    """Steps of a graph that move entries of one tensor, as one module.

    Args:
        steps: their nodes, in order, sizes that they read included.
        source: the node that they start from.
    """

    def __init__(self, steps: Iterable[fx.Node], source: fx.Node) -> None:
        super().__init__()
        self.steps, self.source = tuple(steps), source

    def forward(self, values: Tensor) -> Tensor:
        known = {self.source: values}
        for node in self.steps:
            known[node] = _result(node, known, values)
        return known[self.steps[-1]]

    def channels(self, shape: tuple[int, ...]) -> Tensor:
        """For each channel of the result, a row of the channels that its entries come from."""
        numbers = torch.arange(shape[1]).view(1, -1, *[1] * (len(shape) - 2))
        moved = self(numbers.expand(1, *shape[1:]).clone())
        return moved.reshape(moved.shape[1], -1)

    def keeps_inputs_apart(self, shape: tuple[int, ...]) -> bool:
        """Whether what belongs to one input of a batch stays in its place of the batch."""
        if len(shape) < 2:
            return False
        numbers = torch.arange(2).view(2, *[1] * (len(shape) - 1))
        moved = self(numbers.expand(2, *shape[1:]).clone())
        if moved.ndim < 2 or len(moved) != 2:
            return False
        return bool((moved[0] == 0).all() and (moved[1] == 1).all())


class Crop(Rearrangement):
    """What is left where padding by negative numbers cuts."""

    def __init__(self, pad: Iterable[int], source: fx.Node) -> None:
        super().__init__((), source)
        self.pad = tuple(pad)

    def forward(self, values: Tensor) -> Tensor:
        return F.pad(values, self.pad)


def _result(node: fx.Node, known: dict, values: Tensor) -> object:
    if is_shape(node) and node.args[0] not in known:
        # Of another value of the network: that the batch has the same size is all that is known.
        batch = _BatchOnly(values.shape[0])
        return batch[node.args[1]] if node.op == "call_method" and len(node.args) > 1 else batch
    args = fx.map_arg(node.args, known.__getitem__)
    kwargs = fx.map_arg(node.kwargs, known.__getitem__)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    return node.target(*args, **kwargs)


class _BatchOnly:
    """A shape of which the batch dimension is known."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def __getitem__(self, dimension: object) -> int:
        if dimension != 0:
            raise UnsupportedOperation(
                "a view takes a size from another tensor than the one that it reads"
            )
        return self.batch


def is_shape(node: fx.Node) -> bool:
    """Whether a node reads the shape of a tensor."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    return node.target is builtins.getattr and node.args[1] in ("shape", "ndim")


def size_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose value is a shape, or a number made of shapes alone."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        of_sizes = node.target in (*ARITHMETIC, operator.getitem) and all(
            read in found for read in node.all_input_nodes
        )
        if is_shape(node) or (of_sizes and node.all_input_nodes):
            found.add(node)
    return found


def is_piece(node: fx.Node) -> bool:
    """Whether a node cuts a tensor into several."""
    if node.op == "call_method":
        return node.target in PIECES
    return node.op == "call_function" and node.target in PIECE_FUNCTIONS


def is_step(node: fx.Node, sizes: set[fx.Node]) -> bool:
    """Whether a node moves entries, cuts them, or takes one piece or a constant slice."""
    if node in sizes or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.op == "call_method":
        return node.target in METHODS or is_piece(node)
    if node.target is operator.getitem:
        return is_piece(node.args[0]) or _is_slice(node.args[1])
    return node.op == "call_function" and (node.target in FUNCTIONS or is_piece(node))


def _is_slice(index: object) -> bool:
    """``[:, 2:5]``: plain slices, the first of them of all inputs."""
    if not isinstance(index, tuple) or not all(isinstance(part, slice) for part in index):
        return False
    numbers = [end for part in index for end in (part.start, part.stop, part.step)]
    return index[:1] == (slice(None),) and all(n is None or isinstance(n, int) for n in numbers)


def runs_of(graph: fx.Graph, sizes: set[fx.Node]) -> dict[fx.Node, Rearrangement | None]:
    """Runs of steps by their last node; None for those that are part of a longer one."""
    steps = [node for node in graph.nodes if is_step(node, sizes)]
    inner = {node for node in steps if is_piece(node) or _leads_on(node, sizes)}
    runs: dict[fx.Node, Rearrangement | None] = dict.fromkeys(inner)
    for node in steps:
        if node not in inner:
            run = [node]
            while (source := run[0].args[0]) in inner:
                run.insert(0, source)
            runs[node] = Rearrangement(_with_sizes(run, sizes), source)
    return runs


def _leads_on(node: fx.Node, sizes: set[fx.Node]) -> bool:
    """Whether a step is read by one other step alone."""
    readers = [user for user in node.users if user not in sizes]
    return len(readers) == 1 and readers[0].args[0] is node and is_step(readers[0], sizes)


def _with_sizes(run: list[fx.Node], sizes: set[fx.Node]) -> list[fx.Node]:
    """Steps and the sizes that they read, in the order of the graph."""
    needed, waiting = set(run), list(run)
    while waiting:
        for read in waiting.pop().all_input_nodes:
            if read in sizes and read not in needed:
                needed.add(read)
                waiting.append(read)
    return [node for node in run[0].graph.nodes if node in needed]


class PositionsMean(nn.Module):
    """The mean over dimensions that are positions, as ``x.mean((2, 3))``."""

    def __init__(self, dim: int | tuple[int, ...], keepdim: bool = False) -> None:
        super().__init__()
        self.dim = (dim,) if isinstance(dim, int) else tuple(dim)
        self.keepdim = keepdim

    def forward(self, values: Tensor) -> Tensor:
        return values.mean(self.dim, self.keepdim)


class Concatenation(nn.Module):
    """Several tensors behind one another."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *values: Tensor) -> Tensor:
        return torch.cat(values, self.dim)


class GatedProduct(nn.Module):
    """Values times a gate, entry by entry.

    Args:
        gate: which of the two factors is the gate, 0 or 1.
        ceiling: largest absolute value of the gate, in every network.
    """

    def __init__(self, gate: int, ceiling: float) -> None:
        super().__init__()
        self.gate, self.ceiling = gate, ceiling

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first * second
