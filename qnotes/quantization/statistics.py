"""Mean and standard deviation of each output channel of a layer, before its activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.folding import NORMS, fold, is_module
from qnotes.networks.operations import AFFINE, AFFINE_MODULES, Operation
from qnotes.networks.probing import place_of, plain, precision_of
from qnotes.networks.tracing import trace
from qnotes.propagation.values import watched
from qnotes.quantization.regions import dimensions_of

BATCH = 64


@dataclass(frozen=True)
class ChannelStatistics:
    """What is known of the outputs of a layer, before its activation.

    Attributes:
        mean: of each output channel, over inputs and positions; float64, of shape (channels,).
        std: standard deviation, likewise.
    """

    mean: Tensor
    std: Tensor

    def scaled(self, factors: Tensor) -> ChannelStatistics:
        """The statistics after `equalize` has multiplied the channels by positive factors."""
        return ChannelStatistics(self.mean * factors, self.std * factors)

    def shifted(self, amounts: Tensor) -> ChannelStatistics:
        """The statistics after `absorb_biases` has taken amounts away from the channels."""
        return ChannelStatistics(self.mean - amounts, self.std)


#: By the name of the layer.
Statistics = Mapping[str, ChannelStatistics]


# -- data free -------------------------------------------------------------------------------------


def batch_norm_statistics(network: nn.Module) -> dict[str, ChannelStatistics]:
    r"""What batch norms promise for the layers that they will be folded into; no data needed.

    A batch norm gives its channel mean :math:`\beta` and standard deviation
    :math:`|\gamma| \sqrt{\sigma^2 / (\sigma^2 + \epsilon)}` over the data of its running
    statistics: :math:`|\gamma|`, but for a channel that hardly varies.

    Args:
        network: in evaluation mode, with its batch norms not folded; it is not changed.

    Returns:
        Statistics of the outputs of the *folded* layer, by its name. A layer without a batch norm
        of its own is not listed; of two batch norms in a row the last one counts.

    Raises:
        UnsupportedOperation: for a batch norm that cannot be folded, by name.
    """
    fold(network)
    graph = trace(network)
    layers: dict[fx.Node, str] = {}
    found = {}
    for node in graph.graph.nodes:
        if is_module(graph, node, AFFINE_MODULES):
            layers[node] = str(node.target)
        if is_module(graph, node, NORMS):
            layers[node] = layers[node.all_input_nodes[0]]
            found[layers[node]] = _promised(graph.get_submodule(str(node.target)))
    return found


@torch.no_grad()
def _promised(norm: nn.Module) -> ChannelStatistics:
    variance = norm.running_var.double()
    std = (variance / (variance + norm.eps)).sqrt()
    if norm.weight is None:
        return ChannelStatistics(torch.zeros_like(std), std)
    return ChannelStatistics(norm.bias.detach().double(), std * norm.weight.double().abs())


# -- measured --------------------------------------------------------------------------------------


def measured_statistics(folded: nn.Module, inputs: Tensor) -> dict[str, ChannelStatistics]:
    """Mean and standard deviation of the outputs of each layer on given inputs.

    Args:
        folded: a network with batch norms folded; it is not changed.
        inputs: of shape (inputs, ...), converted to the network's precision.

    Returns:
        Statistics by the layer's name. A layer that is used several times counts all uses.
    """
    moments: dict[str, _Moments] = {}

    def add(name: str, rows: Tensor) -> None:
        found = _moments(rows)
        moments[name] = _joined(moments[name], found) if name in moments else found

    watch(folded, inputs, add)
    return {
        name: ChannelStatistics(mean, (squares / count).sqrt())
        for name, (count, mean, squares) in moments.items()
    }


def watch(network: nn.Module, inputs: Tensor, see: Callable[[str, Tensor], None]) -> None:
    """Show a function the outputs of each layer, batch by batch, before anything overwrites them.

    It gets the layer's name, and a column for each channel, a row for each input and position.
    """
    graph = trace(network)
    for batch in checked_inputs(network, inputs).split(BATCH):
        for visit in watched(graph, batch):
            if visit.operation.kind == AFFINE:
                see(visit.operation.name, rows_of(visit.operation, *visit.result))


def rows_of(layer: Operation, outputs: Tensor) -> Tensor:
    """Outputs of a layer as rows of channels, float64."""
    expected = dimensions_of(layer.module) + 2
    if outputs.ndim != expected:
        raise QnotesError(
            f"{layer.name}: gives a tensor of shape {tuple(outputs.shape)}; expected {expected} "
            "dimensions, batch first. Check the shape of the inputs."
        )
    return outputs.detach().double().movedim(1, -1).flatten(0, -2)


# -- checks ----------------------------------------------------------------------------------------


def checked_inputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """Calibration inputs in the precision of a network; refuses none at all."""
    if not isinstance(inputs, Tensor) or inputs.ndim < 2 or not len(inputs):
        given = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise QnotesError(f"inputs must be a tensor of shape (inputs, ...); got {given}")
    return plain("inputs", inputs).to(place_of(network), precision_of(network))


def check_source(statistics: Statistics | None, inputs: Tensor | None) -> None:
    """Refuse both at once, and neither."""
    if (statistics is None) == (inputs is None):
        given = "neither" if statistics is None else "both"
        raise QnotesError(f"pass either statistics or inputs; got {given}")


def check_channels(graph: fx.GraphModule, statistics: Statistics) -> None:
    """Refuse statistics of another network, by the layer's name."""
    for name, entry in statistics.items():
        module = dict(graph.named_modules()).get(name)
        if not isinstance(module, AFFINE_MODULES):
            raise QnotesError(f"{name}: has statistics, but is no layer of this network")
        for what in ("mean", "std"):
            shape, expected = tuple(getattr(entry, what).shape), (len(module.weight),)
            if shape != expected:
                raise QnotesError(f"{name}: its {what} has shape {shape}; expected {expected}")


# -- moments ---------------------------------------------------------------------------------------

#: Count of some rows, their mean, and the sum of squared distances from it.
_Moments = tuple[int, Tensor, Tensor]


def _moments(rows: Tensor) -> _Moments:
    mean = rows.mean(0)
    return len(rows), mean, (rows - mean).square().sum(0)


def _joined(one: _Moments, two: _Moments) -> _Moments:
    """Of all rows together, without cancellation."""
    count, apart = one[0] + two[0], two[1] - one[1]
    between = apart.square() * (one[0] * two[0] / count)
    return count, one[1] + apart * (two[0] / count), one[2] + two[2] + between
