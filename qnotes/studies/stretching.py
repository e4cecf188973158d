"""How far a network stretches differences: the norms of its layers, and what really happens."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, fx, nn

from qnotes.errors import UnsupportedOperation
from qnotes.networks.operations import AFFINE_MODULES
from qnotes.observation import outputs
from qnotes.propagation.measuring import profile
from qnotes.quantization import quantize

#: The path norm of a deep network overflows; its input is made small, and the result large again.
SMALL = 200


def norms(network: nn.Module, input_shape: tuple[int, ...]) -> pd.DataFrame:
    """The norms of the layers of a chain, a row each.

    Args:
        network: with batch norms folded.
        input_shape: shape of one batch.

    Returns:
        Columns layer (1 … L), name, ``weights`` (norm of W) and ``with biases`` (row sums of
        |W| and |b| together).
    """
    layers = profile(network, network, input_shape=input_shape).layers
    rows = [
        {
            "layer": number,
            "name": layer.name,
            "weights": layer.norm,
            "with biases": layer.joint_norm,
        }
        for number, layer in enumerate(layers, start=1)
    ]
    return pd.DataFrame(rows)


def summary(values: np.ndarray) -> dict[str, float]:
    """Three ways to replace the norms of L layers by one number: largest, mean, geometric mean."""
    values = np.asarray(values, dtype=float)
    geometric = float(np.exp(np.log(values).mean()))
    return {"largest": values.max(), "mean": values.mean(), "geometric mean": geometric}


def stretches(network: fx.GraphModule, inputs: Tensor) -> pd.DataFrame:
    """How far each layer with weights stretches the differences of pairs of inputs.

    Args:
        network: a traced network; its first half of the inputs is compared with the second.
        inputs: of shape (2 pairs, ...).

    Returns:
        A row a layer with weights: name, ``norm`` (no stretch is larger), ``largest`` and
        ``median`` stretch of the pairs, in the maximum norm.
    """
    recorder = _Stretches(copy.deepcopy(network).float())  # twice as fast, and exact enough here
    with torch.no_grad():
        recorder.run(inputs.float().clone())
    return pd.DataFrame(recorder.rows)


def end_to_end(network: nn.Module, inputs: Tensor) -> float:
    """log10 of the largest stretch, from input to output, among pairs of inputs."""
    return math.log10(_stretch(inputs, outputs(network, inputs)).max().item())


def path_norm(network: fx.GraphModule, input_shape: tuple[int, ...]) -> float:
    """log10 of the norm of |W_L| ··· |W_1|: the best that rescaling units can do (T9).

    One pass of ones through the network with absolute weights and without biases. Average pooling
    counts as a layer of norm 1.

    Args:
        network: folded, in float64.
        input_shape: shape of one batch.

    Raises:
        UnsupportedOperation: for ReLU6, which is not positively homogeneous.
    """
    absolute = copy.deepcopy(network)
    for name, module in absolute.named_modules():
        if isinstance(module, nn.ReLU6):
            raise UnsupportedOperation(f"{name}: T9 needs ReLU; ReLU6(2 x) is not 2 ReLU6(x)")
        if isinstance(module, AFFINE_MODULES):
            module.weight = nn.Parameter(module.weight.detach().abs())
            module.bias = None
    ones = torch.full((1, *input_shape[1:]), 10.0**-SMALL, dtype=torch.float64)
    with torch.no_grad():
        return math.log10(absolute(ones).max().item()) + SMALL


class _Stretches(fx.Interpreter):
    """Runs a network and notes what each layer with weights does to differences."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.rows: list[dict] = []

    def call_module(self, target, args, kwargs):
        result = super().call_module(target, args, kwargs)
        module = self.module.get_submodule(target)
        if isinstance(module, AFFINE_MODULES):
            found = _stretch(args[0], result)
            self.rows.append(
                {
                    "name": target,
                    "norm": module.weight.flatten(1).abs().sum(1).max().item(),
                    "largest": found.max().item(),
                    "median": found.median().item(),
                }
            )
        return result


def _stretch(inputs: Tensor, results: Tensor) -> Tensor:
    """Distance of the results over distance of the inputs, pair by pair, in the maximum norm."""
    before, after = (_distances(values) for values in (inputs, results))
    return after[before > 0] / before[before > 0]


def _distances(values: Tensor) -> Tensor:
    first, second = values.flatten(1).chunk(2)
    return (first - second).abs().amax(1)


def small_network(
    inner: Sequence[float], bias: Sequence[float], outer: Sequence[float]
) -> nn.Sequential:
    """One input, a few ReLU units, one output: x ↦ Σ outer · ReLU(inner · x + bias).

    Per-tensor grids suit it: each of its layers has few weights.
    """
    units = len(inner)
    network = nn.Sequential(nn.Linear(1, units), nn.ReLU(), nn.Linear(units, 1, bias=False))
    network[0].weight = nn.Parameter(torch.tensor(inner, dtype=torch.float64)[:, None])
    network[0].bias = nn.Parameter(torch.tensor(bias, dtype=torch.float64))
    network[2].weight = nn.Parameter(torch.tensor(outer, dtype=torch.float64)[None])
    return network.eval()


def rescaled(
    inner: Sequence[float],
    bias: Sequence[float],
    outer: Sequence[float],
    factors: Sequence[float],
) -> dict[str, list[float]]:
    """The same function with other parameters: unit i multiplied by its factor, then divided."""
    return {
        "inner": [w * f for w, f in zip(inner, factors, strict=True)],
        "bias": [b * f for b, f in zip(bias, factors, strict=True)],
        "outer": [w / f for w, f in zip(outer, factors, strict=True)],
    }


def curve(network: nn.Module, points: np.ndarray) -> np.ndarray:
    """Outputs of a network of one input and one output."""
    return outputs(network, torch.tensor(points)[:, None])[:, 0].numpy()


def rescaling_table(
    parameters: dict[str, Sequence[float]], factors: np.ndarray, *, bits: Iterable[int]
) -> pd.DataFrame:
    """What rescaling the first hidden unit does to the norms, and to the error after rounding.

    Returns:
        Indexed by the factor: ``product`` of the two norms, and for each bit-width the largest
        error on [-1, 1], on a grid of points that holds both ends.
    """
    points = np.linspace(-1, 1, 401)
    rows = []
    for factor in factors:
        others = [1.0] * (len(parameters["inner"]) - 1)
        changed = rescaled(**parameters, factors=[float(factor), *others])
        network = small_network(**changed)
        row = {"product": max(map(abs, changed["inner"])) * sum(map(abs, changed["outer"]))}
        exact = curve(network, points)
        for width in bits:
            rounded = quantize(network, bits=width, granularity="tensor").model
            row[f"{width} bits"] = np.abs(exact - curve(rounded, points)).max()
        rows.append(row)
    return pd.DataFrame(rows, index=factors)
