"""High-bias absorption: what a ReLU never clips moves on into the bias of the next layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError, real
from qnotes.networks.operations import PADDING
from qnotes.networks.tracing import trace, widened
from qnotes.propagation.weights import bias_of
from qnotes.quantization.channels import groups_of, product, replace
from qnotes.quantization.regions import Boundary, Stop, find_regions
from qnotes.quantization.statistics import Statistics, check_channels, check_source, watch


@dataclass(frozen=True)
class Absorbed:
    """A network with smaller biases before its ReLUs.

    Attributes:
        model: the new network.
        amounts: by the name of a layer, what was taken away from its biases, one value a channel,
            at least 0, float64.
        stops: layers that keep their biases, and why.
    """

    model: fx.GraphModule
    amounts: Mapping[str, Tensor]
    stops: tuple[Stop, ...]


def absorb_biases(
    folded: nn.Module,
    *,
    statistics: Statistics | None = None,
    inputs: Tensor | None = None,
    deviations: float = 3.0,
) -> Absorbed:
    r"""Move large biases past the ReLU into the next layer.

    Nagel, van Baalen, Blankevoort and Welling 2019 (arXiv:1906.04721, section 4.1). As long as
    :math:`y \geq c \geq 0`, :math:`\max(0, y - c) = \max(0, y) - c`. So c may be taken away from
    the bias of a channel, and W c added to the bias of the layer W that reads it. Activations get
    smaller; weights stay. A layer without a bias gets one.

    - With ``statistics``, :math:`c = \max(0, \mu - 3\sigma)`. The function changes where a
      pre-activation falls below c, for a normal variable with c > 0 in 0.13 % of the cases.
    - With ``inputs``, c is the smallest pre-activation on them, or 0: on these inputs the
      function stays, up to rounding.

    The function is not protected elsewhere: compare with the network that was passed in. A layer
    that pads its input with zeros stops it, since the zeros do not carry c: at the border the two
    sides would differ.

    Args:
        folded: the network, with batch norms folded; it is not changed.
        statistics: `batch_norm_statistics` or `measured_statistics`, of this network's own layers
            (use `.scaled` after `equalize`).
        inputs: in place of statistics; of shape (inputs, ...).
        deviations: standard deviations below the mean; 3 in the paper.

    Raises:
        QnotesError: unless exactly one of statistics and inputs is given, or where they do not fit.
        UnsupportedOperation: for an operation that the theory does not cover, by name.
    """
    check_source(statistics, inputs)
    if real(deviations) is None or not 0 <= deviations < math.inf:
        raise QnotesError(f"deviations must be a number from 0 on; got {deviations!r}")
    model = widened(trace(folded, copied=True))
    found = find_regions(model)
    if inputs is not None:
        known = _smallest(model, inputs)
    else:
        check_channels(model, statistics)
        known = {name: entry.mean - deviations * entry.std for name, entry in statistics.items()}
    amounts, stops = {}, list(found.stops)
    for boundary in found.boundaries:
        stop = _stop(model, boundary, known)
        if stop:
            stops.append(stop)
        else:
            amounts[boundary.before] = known[boundary.before].clamp_min(0)
            _absorb(model, boundary, amounts[boundary.before])
    return Absorbed(model, amounts, tuple(stops))


def _smallest(model: fx.GraphModule, inputs: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def see(name: str, rows: Tensor) -> None:
        least = rows.amin(0)
        found[name] = torch.minimum(found[name], least) if name in found else least

    watch(model, inputs, see)
    return found


def _stop(model: fx.GraphModule, boundary: Boundary, known: Mapping[str, Tensor]) -> Stop | None:
    if boundary.before not in known:
        return Stop(boundary.before, boundary.before, "its statistics are not known")
    for step in boundary.between:
        if hasattr(step.module, "count_include_pad") and _pads(step.module):
            return Stop(boundary.before, step.name, "it averages over zeros that do not carry c")
        if step.kind == PADDING and _pads(step.module):
            return Stop(boundary.before, step.name, "it pads with zeros that do not carry c")
    if _pads(model.get_submodule(boundary.after)):
        return Stop(boundary.before, boundary.after, "it pads with zeros that do not carry c")
    return None


def _pads(module: nn.Module) -> bool:
    """Whether zeros of a layer's or average pool's padding enter its sums."""
    padding = getattr(module, "padding", 0)
    if padding == "same":
        return max(module.kernel_size) > 1
    if padding == "valid" or not getattr(module, "count_include_pad", True):
        return False
    return any(padding) if isinstance(padding, tuple) else padding > 0


@torch.no_grad()
def _absorb(model: fx.GraphModule, boundary: Boundary, amounts: Tensor) -> None:
    before = model.get_submodule(boundary.before)
    after = model.get_submodule(boundary.after)
    replace(before, "bias", bias_of(before) - amounts)
    moved = product(after.weight.double(), amounts, groups_of(after))
    replace(after, "bias", bias_of(after) + moved)
