"""One walk along a network and its quantized copy, node by node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE, operations


@dataclass(frozen=True)
class Visit:
    """A layer that is about to run, and what it reads in both networks.

    Attributes:
        name: of the layer.
        module: the layer in the quantized network.
        reads: its inputs in the reference, X.
        reads_quantized: its inputs in the quantized network, X̃.
    """

    name: str
    module: nn.Module
    reads: Tensor
    reads_quantized: Tensor


def walk(reference: fx.GraphModule, model: fx.GraphModule, inputs: Tensor) -> Iterator[Visit]:
    """Visit each use of a layer, in the order in which the network runs.

    Both networks run once in all, however deep they are: whoever changes a layer's weights at its
    visit changes what the visits after it read. Values are kept until their last use, for all
    inputs at once.

    Args:
        reference: the network.
        model: its copy, whose weights may change during the walk.
        inputs: of shape (inputs, ...).
    """
    ours, theirs = _Path(reference, inputs), _Path(model, inputs)
    pairs = zip(operations(reference), operations(model), strict=True)
    for mine, its in pairs:
        if mine.kind == AFFINE:
            reads = ours.env[mine.inputs[0]], theirs.env[its.inputs[0]]
            yield Visit(its.name, its.module, *reads)
        ours.step(mine.node)
        theirs.step(its.node)


def check_inputs(network: fx.GraphModule, inputs: Tensor) -> None:
    """Refuse inputs whose shape the network cannot take, by the first layer that cannot."""
    shapes: dict[fx.Node, tuple[int, ...]] = {}
    for operation in operations(network):
        reads = [shapes[node] for node in operation.inputs]
        try:
            shapes[operation.node] = operation.shape(reads) if reads else tuple(inputs.shape)
        except QnotesError as error:
            raise type(error)(
                f"the network cannot take calibration of shape {tuple(inputs.shape)}: {error}"
            ) from error


class _Path(fx.Interpreter):
    """A network that runs one node at a time."""

    def __init__(self, network: fx.GraphModule, inputs: Tensor) -> None:
        super().__init__(network)
        # A copy, since a network may overwrite its input.
        self.args_iter = iter([inputs.clone()])

    def step(self, node: fx.Node) -> None:
        self.env[node] = self.run_node(node)
        for done in self.user_to_last_uses.get(node, []):
            del self.env[done]
