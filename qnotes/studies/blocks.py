"""Layers of a chain written out as matrices, for networks small enough to look at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from qnotes.networks import fold
from qnotes.networks.architectures import BasicBlock, seeded
from qnotes.propagation.chain import chain
from qnotes.propagation.profiles import Layer, Profile


def matrix(module: nn.Module, input_shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a layer: column j is what it makes of the j-th unit vector, biases aside."""
    size = math.prod(input_shape[1:])
    units = torch.eye(size, dtype=next(module.parameters()).dtype).view(size, *input_shape[1:])
    with torch.no_grad():
        columns = module(units) - module(torch.zeros_like(units[:1]))
    return columns.flatten(1).T.double().numpy()


def basic_block(
    inputs: int, outputs: int, *, stride: int = 1, size: int = 4, seed: int = 0
) -> dict[str, object]:
    """A small residual block with random weights, and the two matrices of its chain.

    Returns:
        ``module``, the folded block; ``shape`` of its input; ``inner``, the matrix of
        x ↦ (h, x); ``outer``, that of (h, x) ↦ W h + P x, with P the identity or the projection;
        ``hidden``, the number of coordinates of h.
    """
    with seeded(seed):
        folded = fold(BasicBlock(inputs, outputs, stride=stride).eval())
    shape = (1, inputs, size, size)
    skip = folded.get_submodule("shortcut.0") if stride > 1 or inputs != outputs else None
    first = matrix(folded.get_submodule("conv1"), shape)
    smaller = (1, outputs, size // stride, size // stride)
    second = matrix(folded.get_submodule("conv2"), smaller)
    identity = np.eye(first.shape[1])
    joined = identity if skip is None else matrix(skip, shape)
    return {
        "module": folded,
        "shape": shape,
        "inner": np.vstack([first, identity]),
        "outer": np.hstack([second, joined]),
        "hidden": first.shape[0],
    }


def row_sums(matrix: np.ndarray) -> np.ndarray:
    """Absolute row sums; the largest is the norm."""
    return np.abs(matrix).sum(1)


@dataclass(frozen=True)
class Summary:
    """A layer of a chain in short: its modules, how many identity skips join, N_ℓ."""

    modules: tuple[str, ...]
    identities: int
    width: int


def links(network: nn.Module, input_shape: tuple[int, ...]) -> list[Summary]:
    """The layers of the chain of a folded network; needs no pass over the weights."""
    return [
        Summary(
            tuple(term.target for term in link.terms if term.module),
            sum(term.module is None for term in link.terms),
            link.width,
        )
        for link in chain(network, input_shape).links
    ]


def kinds(network: nn.Module, profile: Profile) -> list[str]:
    """For each layer of a chain: ``a skip connection joins``, ``depthwise`` or ``plain``."""
    return [_kind(network, layer) for layer in profile.layers]


def _kind(network: nn.Module, layer: Layer) -> str:
    if " + " in layer.name or layer.row > layer.fan_in:
        return "a skip connection joins"
    module = network.get_submodule(layer.name)
    return "depthwise" if getattr(module, "groups", 1) > 1 else "plain"


def joins(network: nn.Module, profile: Profile) -> pd.DataFrame:
    """Layers where a projection joins: norm taken row by row, and the sum of the two norms.

    Returns:
        Columns layer, ``row by row`` and ``sum of norms``; empty where nothing is projected.
    """
    rows = []
    for layer in profile.layers:
        parts = layer.name.split(" + ")
        if len(parts) > 1:
            norms = [_largest_row_sum(network.get_submodule(part)) for part in parts]
            rows.append({"layer": layer.name, "row by row": layer.norm, "sum of norms": sum(norms)})
    return pd.DataFrame(rows, columns=["layer", "row by row", "sum of norms"])


def ranges_apart(network: nn.Module) -> np.ndarray:
    """For each convolution, the range of its largest channel over that of its median channel."""
    weights = [m.weight.detach().flatten(1) for m in network.modules() if isinstance(m, nn.Conv2d)]
    ranges = [weight.abs().amax(1) for weight in weights]
    return np.array([(found.max() / found.median()).item() for found in ranges])


def _largest_row_sum(module: nn.Module) -> float:
    return module.weight.detach().flatten(1).abs().sum(1).max().item()
