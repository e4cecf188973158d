"""A network as a chain, without a quantized copy beside it."""

from torch import fx

from qnotes.networks.operations import operations
from qnotes.propagation.chain import Chain, linked
from qnotes.propagation.shapes import Shape, checked_shape, shapes_of


def chain(network: fx.GraphModule, input_shape: Shape) -> Chain:
    """Read a traced network as a chain; only the shape of its input matters."""
    found = operations(network)
    return linked(found, shapes_of(found, checked_shape(input_shape)))
