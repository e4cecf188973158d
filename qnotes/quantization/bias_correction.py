"""Bias correction: rounded weights shift the mean of a layer's outputs; its bias takes it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as with_changes

from torch import Tensor, fx, nn

from qnotes.networks.operations import AFFINE, Operation
from qnotes.networks.tracing import trace, widened
from qnotes.propagation.pair import matched
from qnotes.propagation.values import watched
from qnotes.propagation.walk import Domain, walk
from qnotes.propagation.weights import bias_of
from qnotes.quantization.channels import groups_of, product, replace
from qnotes.quantization.clipped_normal import relu6_mean, relu_mean
from qnotes.quantization.regions import Stop, dimensions_of, misfit, mixes_units
from qnotes.quantization.statistics import (
    Statistics,
    check_channels,
    check_source,
    checked_inputs,
    measured_statistics,
    rows_of,
)


@dataclass(frozen=True)
class Corrected:
    """A quantized network with other biases.

    Attributes:
        model: the new network; its weights are the quantized ones.
        corrections: by the name of a layer, what was added to its biases, float64.
        stops: layers that were left alone, and why.
    """

    model: fx.GraphModule
    corrections: Mapping[str, Tensor]
    stops: tuple[Stop, ...]


def correct_bias(
    folded: nn.Module,
    quantized_model: nn.Module,
    *,
    statistics: Statistics | None = None,
    inputs: Tensor | None = None,
) -> Corrected:
    r"""Give a quantized network the mean outputs of the reference, layer by layer.

    Nagel, van Baalen, Blankevoort and Welling 2019 (arXiv:1906.04721, section 4.2). A layer
    with W' for W moves the mean of its outputs by :math:`(W' - W)\,\mathbb{E}[x]`; its bias takes
    that back.

    - With ``statistics``, :math:`\mathbb{E}[x]` comes from those of the layer before: normal
      outputs, clipped by ReLU or ReLU6 (`qnotes.theorems.mean_of_clipped_normal`). It ignores that
      padding puts zeros at the border, that outputs are not normal, and what layers that are left
      alone still shift. A mean passes through average pooling and sums, whatever the correlations;
      where a ReLU follows a sum or an average, their spread would be needed, which correlations
      change, and the layer is left alone. So are layers that read the input, a maximum, or a layer
      whose statistics are not known; `stops` lists them.
    - With ``inputs``, both networks run on them, layer after layer, each layer of the quantized
      network with the layers before it corrected: the mean of each output channel, over inputs and
      positions, becomes the reference's, up to rounding. All inputs pass at once, in memory.

    Layers that are used in several places are left alone: one bias cannot serve them all. A bias
    that was quantized too is replaced, not kept on its grid. A layer without a bias gets one.

    Args:
        folded: the reference, with batch norms folded; it is not changed.
        quantized_model: the same network with other weights; it is not changed.
        statistics: `batch_norm_statistics` of the network before folding, or
            `measured_statistics` of the reference.
        inputs: in place of statistics; of shape (inputs, ...).

    Raises:
        QnotesError: unless exactly one of statistics and inputs is given, for networks that do not
            match, or for statistics or inputs that do not fit.
        UnsupportedOperation: for an operation that the theory does not cover, by name.
    """
    check_source(statistics, inputs)
    reference, model = trace(folded), widened(trace(quantized_model, copied=True))
    uses = Counter(step.name for step in matched(reference, model) if step.kind == AFFINE)
    shared = {name for name, count in uses.items() if count > 1}
    if inputs is not None:
        corrections, stops = _correct_by_inputs(reference, model, inputs, shared), []
    else:
        check_channels(reference, statistics)
        corrections, stops = _correct_by_statistics(reference, model, statistics, shared)
    several = [Stop(name, name, "is used in several places") for name in sorted(shared)]
    return Corrected(model, corrections, (*several, *stops))


# -- with inputs -----------------------------------------------------------------------------------


def _correct_by_inputs(
    reference: fx.GraphModule, model: fx.GraphModule, inputs: Tensor, shared: set[str]
) -> dict[str, Tensor]:
    """Each layer is corrected before the next one sees its outputs."""
    expected = measured_statistics(reference, inputs)
    corrections = {}
    for visit in watched(model, checked_inputs(model, inputs)):
        layer = visit.operation
        if layer.kind == AFFINE and layer.name not in shared:
            (result,) = visit.result
            missing = expected[layer.name].mean - rows_of(layer, result).mean(0)
            corrections[layer.name] = missing
            replace(layer.module, "bias", bias_of(layer.module) + missing)
            visit.result = (result + missing.to(result).view(-1, *[1] * (result.ndim - 2)),)
    return corrections


# -- with statistics -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """Means of the channels of a value; their spread where the value is normal."""

    mean: Tensor
    std: Tensor | None  # None where the value is not taken to be normal
    of_image: bool  # perhaps flattened
    dimensions: int  # of the image of each channel; 0 for a vector


def _correct_by_statistics(
    reference: fx.GraphModule, model: fx.GraphModule, statistics: Statistics, shared: set[str]
) -> tuple[dict[str, Tensor], list[Stop]]:
    usable = {name: entry for name, entry in statistics.items() if name not in shared}
    corrections, stops = {}, []
    for visit in walk(matched(reference, model), _ChannelMeans(usable)):
        layer = visit.operation
        if layer.kind == AFFINE and layer.name not in shared:
            found = _correction(layer, visit.reads[0])
            if isinstance(found, Stop):
                stops.append(found)
            else:
                corrections[layer.name] = found
    for name, correction in corrections.items():
        module = model.get_submodule(name)
        replace(module, "bias", bias_of(module) + correction)
    return corrections, stops


def _correction(layer: Operation, read: _Known | Stop) -> Tensor | Stop:
    ours, quantized = layer.module, layer.quantized
    if isinstance(read, Stop):
        return with_changes(read, source=layer.name)
    reason = misfit(ours, units=len(read.mean), of_image=read.of_image, dimensions=read.dimensions)
    if reason:
        return _lost(layer, reason)
    change = ours.weight.detach().double() - quantized.weight.detach().double()
    shift = product(change, read.mean, groups_of(ours))
    return shift + bias_of(ours) - bias_of(quantized)


class _ChannelMeans(Domain):
    """The mean of each channel, as far as statistics of the layers before tell it."""

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics

    def apply(self, operation: Operation, reads: tuple) -> _Known | Stop:
        """What was lost stays lost, up to the next layer whose statistics are known."""
        lost = [read for read in reads if isinstance(read, Stop)]
        if lost and operation.kind != AFFINE:
            return lost[0]
        return super().apply(operation, reads)

    def input(self, operation: Operation) -> Stop:
        return _lost(operation, "the mean of the input is not known")

    def affine(self, operation: Operation, read: _Known | Stop) -> _Known | Stop:
        known = self.statistics.get(operation.name)
        if known is None:
            return _lost(operation, "its statistics are not known")
        dimensions = dimensions_of(operation.module)
        return _Known(known.mean, known.std, dimensions > 0, dimensions)

    def sum(self, operation: Operation, one: _Known, two: _Known) -> _Known | Stop:
        shapes = [(value.mean.shape, value.of_image, value.dimensions) for value in (one, two)]
        if shapes[0] != shapes[1]:
            return _lost(operation, "it adds values of different channels")
        return with_changes(one, mean=one.mean + two.mean, std=None)

    def activation(self, operation: Operation, read: _Known) -> _Known | Stop:
        kind = type(operation.module)
        if kind not in CLIPPED:
            return self.max_pool(operation, read)
        if read.std is None:
            return _lost(operation, "the spread of what it clips is not known")
        return with_changes(read, mean=CLIPPED[kind](read.mean, read.std), std=None)

    def average_pool(self, operation: Operation, read: _Known) -> _Known | Stop:
        if mixes_units(operation.module, read.dimensions):
            return self.max_pool(operation, read)
        return with_changes(read, std=None)

    padding = average_pool  # the border is left out, as for a convolution's own zeros

    def max_pool(self, operation: Operation, read: _Known) -> Stop:
        what = type(operation.module).__name__
        return _lost(operation, f"the mean after {what} is not known")

    def flatten(self, operation: Operation, read: _Known) -> _Known:
        return with_changes(read, dimensions=0)


def _lost(operation: Operation, reason: str) -> Stop:
    return Stop(operation.name, operation.name, reason)


#: Means of normal variables after an activation.
CLIPPED = {nn.ReLU: relu_mean, nn.ReLU6: relu6_mean}
