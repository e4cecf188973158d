"""Cross-layer equalization: other weights, the same function, and other norms.

The best of them is T9, `qnotes.theorems.T9_equalization`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError, check_choice, real
from qnotes.networks.operations import AFFINE_MODULES, operations
from qnotes.networks.tracing import check_finite, trace, widened
from qnotes.propagation.weights import bias_of
from qnotes.quantization.channels import (
    by_channel,
    groups_of,
    product,
    replace,
    scaled_columns,
    scaled_rows,
)
from qnotes.quantization.regions import Boundary, Regions, Stop, find_regions

METHODS = ("cle", "path", "even")
RELU6 = ("refuse", "relu")
#: Halvings of the interval, in the logarithm, that holds the row sum of "even".
HALVINGS = 60
#: Sweeps of "cle" end when no factor changes by more than this, relatively, or after so many.
TOLERANCE, SWEEPS = 1e-10, 1000


@dataclass(frozen=True)
class Equalized:
    """A network with rescaled hidden units.

    Attributes:
        model: the new network.
        reference: the network that it equals as a function: the one that was passed in, or its
            ReLU network. Every error of `model` and of its quantized copies is against this one.
        regions: maximal runs of boundaries whose units were rescaled.
        factors: by the name of the layer before a boundary, what each output channel of the layer
            was multiplied by, float64.
        stops: where a region ends, and why.
        residual: largest relative change of a factor in the last sweep of "cle"; 0 for the others.
    """

    model: fx.GraphModule
    reference: nn.Module
    regions: tuple[tuple[Boundary, ...], ...]
    factors: Mapping[str, Tensor]
    stops: tuple[Stop, ...]
    residual: float


def equalize(
    folded: nn.Module, *, method: str = "cle", relu6: str = "refuse", strength: float = 1.0
) -> Equalized:
    r"""Rescale hidden units by positive factors; weights change, the function does not.

    Between two layers that only positively homogeneous operations join, unit i may be multiplied
    by :math:`d_i > 0`: row i and bias i of the layer before by :math:`d_i`, column i of the layer
    after by :math:`1/d_i`. The channels of a convolution are its units.

    - ``"cle"``: Nagel, van Baalen, Blankevoort and Welling 2019 (arXiv:1906.04721, section 4.1):
      :math:`d_i = \sqrt{c_i / r_i}`, where :math:`r_i` is the largest absolute weight of row i and
      :math:`c_i` that of column i, so that both become :math:`\sqrt{r_i c_i}`. Boundary after
      boundary, until no factor changes by more than 1e-10 relatively, at most 1000 sweeps.
    - ``"path"``: the exact optimum of T9. In each region, :math:`d = 1/v_\ell` with
      :math:`v_\ell = |W_\ell| v_{\ell-1} + |b_\ell|` and :math:`v = 1` before its first layer. Then
      every row of a hidden layer sums to 1, biases included, and the product of the norms of the
      region is the path norm. For a convolution v has one number a channel; rows that reach over
      the border of the image sum to less.
    - ``"even"``: the same with :math:`v_\ell = (|W_\ell| v_{\ell-1} + |b_\ell|) / t`, so that rows
      of hidden layers sum to t, for the smallest t ≥ 1 for which the rows of the last layer sum to
      t at most. No rescaling of the region has a smaller largest norm. Without biases t is the
      m-th root of the path norm of a region of m layers (if that is at least 1), and the product of
      norms stays the path norm.

    Biases count in "path" and "even" because they count in T5: there the constant 1 joins the input
    as one more unit, whose factor is 1, and T9 holds for these wider matrices.

    A unit whose weights are all zero on one side ("cle"), or that no path reaches (else), keeps
    factor 1; with such units the path norm is approached by larger and larger factors, not reached.
    ReLU6 is not positively homogeneous: 6 is not rescaled with the unit.

    Args:
        folded: the network, with batch norms folded (`qnotes.fold`); it is not changed.
        method: ``cle``, ``path`` or ``even``.
        relu6: ``refuse``, or ``relu`` to replace every ReLU6 by ReLU first: another function,
            which is then the reference.
        strength: exponent of the factors, 0 (nothing changes) to 1, for a way from one to the
            other.

    Raises:
        QnotesError: for an unknown option, for ReLU6 between two layers that could be rescaled,
            or for factors that leave the range of floating point, by the layer's name.
        UnsupportedOperation: for an operation that the theory does not cover, by name.
    """
    check_choice("method", method, METHODS)
    check_choice("relu6", relu6, RELU6)
    number = real(strength)
    if number is None or not 0 <= number <= 1:
        raise QnotesError(f"strength must be a number from 0 to 1; got {strength!r}")
    reference = folded if relu6 == "refuse" else relu_network(folded)
    model = widened(trace(reference, copied=True))
    found = find_regions(model)
    if relu6 == "refuse":
        _refuse_relu6(model)
    _check_weights(model, "")
    factors, residual = _all_factors(model, found, method)
    factors = {name: values**number for name, values in factors.items()}
    for boundary in found.boundaries:
        rescale(model, boundary, factors[boundary.before])
    _check_weights(model, "equalized ")
    return Equalized(model, reference, found.regions, factors, found.stops, residual)


def _check_weights(model: fx.GraphModule, what: str) -> None:
    for name, module in model.named_modules():
        if isinstance(module, AFFINE_MODULES):
            check_finite(name, {f"{what}weight": module.weight, f"{what}bias": module.bias})


# -- ReLU6 -----------------------------------------------------------------------------------------


def relu_network(network: nn.Module) -> fx.GraphModule:
    """A copy of a network with ReLU in place of every ReLU6: another function beyond 6."""
    graph = trace(network, copied=True)
    for operation in operations(graph):
        if isinstance(operation.module, nn.ReLU6):
            if operation.node.op == "call_module":
                graph.set_submodule(operation.name, nn.ReLU(operation.module.inplace))
            else:
                operation.node.target = F.relu
    graph.recompile()
    return graph


def _refuse_relu6(model: fx.GraphModule) -> None:
    clipped = {step.name for step in operations(model) if isinstance(step.module, nn.ReLU6)}
    for boundary in find_regions(relu_network(model)).boundaries if clipped else ():
        for step in boundary.between:
            if step.name in clipped:
                raise QnotesError(
                    f"{step.name}: ReLU6 between {boundary.before} and {boundary.after} is not "
                    "positively homogeneous: it clips at 6, whatever the factor of the unit, so "
                    'rescaling would change the function. Pass relu6="relu" to equalize the '
                    "network with ReLU in place of ReLU6; that one is then the reference of every "
                    "error."
                )


# -- factors ---------------------------------------------------------------------------------------


def _all_factors(
    model: fx.GraphModule, found: Regions, method: str
) -> tuple[dict[str, Tensor], float]:
    factors, residual = {}, 0.0
    for region in found.regions:
        names = [region[0].before, *(boundary.after for boundary in region)]
        layers = [_Absolute.of(model.get_submodule(name)) for name in names]
        counts = [boundary.channels for boundary in region]
        if method == "cle":
            values, change = _balanced_factors(layers, counts)
            residual = max(residual, change)
        else:
            row_sum = _smallest_row_sum(layers) if method == "even" else 1.0
            sums = _path_sums(layers, row_sum)[:-1]
            values = [torch.where(reach > 0, 1 / reach, 1.0) for reach in sums]
        factors |= dict(zip(names[:-1], values, strict=True))
    return factors, residual


@dataclass
class _Absolute:
    """|W| and |b| of a layer in float64."""

    weight: Tensor
    bias: Tensor
    groups: int

    @classmethod
    def of(cls, module: nn.Module) -> _Absolute:
        weight = module.weight.detach().double().abs()
        return cls(weight, bias_of(module).abs(), groups_of(module))


def _path_sums(layers: list[_Absolute], row_sum: float) -> list[Tensor]:
    """v of each layer of a region, with v = 1 before it and hidden rows to sum to `row_sum`."""
    values = layers[0].weight.flatten(1).sum(1) + layers[0].bias
    found = [values]
    for layer in layers[1:]:
        values = product(layer.weight, values / row_sum, layer.groups) + layer.bias
        found.append(values)
    return [*(values / row_sum for values in found[:-1]), found[-1]]


def _smallest_row_sum(layers: list[_Absolute]) -> float:
    """The smallest t ≥ 1 for which the last rows sum to t at most; they fall as t grows."""
    low, high = 1.0, max(1.0, _path_sums(layers, 1.0)[-1].max().item())
    for _ in range(HALVINGS):
        middle = math.sqrt(low) * math.sqrt(high)
        if _path_sums(layers, middle)[-1].max() <= middle:
            high = middle
        else:
            low = middle
    return high


def _balanced_factors(layers: list[_Absolute], counts: list[int]) -> tuple[list[Tensor], float]:
    factors = [torch.ones(count, dtype=torch.float64) for count in counts]
    for _ in range(SWEEPS):
        residual = 0.0
        for at, count in enumerate(counts):
            before, after = layers[at], layers[at + 1]
            rows = before.weight.flatten(1).amax(1)
            columns = by_channel(after.weight, after.groups, count).amax((1, 3)).flatten()
            alive = (rows > 0) & (columns > 0)
            change = torch.where(alive, columns.sqrt() / rows.sqrt(), 1.0)
            before.weight = scaled_rows(before.weight, change)
            after.weight = scaled_columns(after.weight, 1 / change, after.groups)
            factors[at] = factors[at] * change
            residual = max(residual, (change - 1).abs().max().item())
        if residual <= TOLERANCE:
            break
    return factors, residual


# -- weights ---------------------------------------------------------------------------------------


@torch.no_grad()
def rescale(model: fx.GraphModule, boundary: Boundary, factors: Tensor) -> None:
    """Multiply the units of a boundary by factors; changes `model`, a copy."""
    before = model.get_submodule(boundary.before)
    after = model.get_submodule(boundary.after)
    replace(before, "weight", scaled_rows(before.weight, factors.to(before.weight)))
    if before.bias is not None:
        replace(before, "bias", before.bias * factors.to(before.bias))
    undone = (1 / factors).to(after.weight)
    replace(after, "weight", scaled_columns(after.weight, undone, groups_of(after)))
