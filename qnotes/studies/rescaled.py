"""What equalization does to the norms, to the bounds and to the error, method by method."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qnotes.observation import distances, outputs
from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds
from qnotes.propagation.profiles import Profile
from qnotes.quantization import Equalized, equalize, quantize
from qnotes.quantization.equalization import METHODS
from qnotes.studies.stretching import path_norm

NONE = "none"
#: Columns of a comparison, and the bounds that they hold.
BOUNDS = {
    "mean form": ("T5", "mean form"),
    "product form": ("T5", "product form"),
    "T2": ("T2", "recursion along the chain"),
}


def variants(
    folded: nn.Module, *, methods: Sequence[str] = METHODS, strengths: Sequence[float] = (1.0,)
) -> Iterator[tuple[str, float, Equalized]]:
    """A network as it is, and equalized by each method at each strength; ReLU in place of ReLU6.

    Args:
        folded: the network, with batch norms folded.
        methods: of `equalize`.
        strengths: exponents of the factors, above 0; the network as it is has strength 0.

    Yields:
        Method (`NONE` at first), strength, and what `equalize` gave.
    """
    yield NONE, 0.0, equalize(folded, relu6="relu", strength=0.0)
    for method in methods:
        for strength in strengths:
            yield method, strength, equalize(folded, method=method, relu6="relu", strength=strength)


def norms(measured: Profile) -> np.ndarray:
    """The norms of T5 of all layers: biases count, and none is below 1."""
    return np.array([max(1.0, layer.joint_norm) for layer in measured.layers])


def mean_of_others(values: np.ndarray) -> float:
    """The mean of T5: the smallest norm is left out; 1 where there is no other layer."""
    return float((values.sum() - values.min()) / (len(values) - 1)) if len(values) > 1 else 1.0


def layer_norms(folded: nn.Module, shape: tuple[int, ...]) -> pd.DataFrame:
    """The norms of T5 along the chain: a row a layer (1 … L), a column a method.

    Args:
        folded: the network, with batch norms folded.
        shape: of one batch of inputs.
    """
    found = {
        method: norms(profile(equalized.model, equalized.model, input_shape=shape))
        for method, _, equalized in variants(folded)
    }
    table = pd.DataFrame(found)
    table.index = pd.RangeIndex(1, len(table) + 1, name="layer")
    return table


def compare(
    folded: nn.Module,
    *,
    bits: int,
    images: Tensor,
    labels: Tensor | None = None,
    methods: Sequence[str] = METHODS,
    strengths: Sequence[float] = (1.0,),
    granularities: Sequence[str] = ("tensor", "channel"),
    radius: float = 1.0,
) -> pd.DataFrame:
    """Equalize and quantize a network in several ways; bound and measure the error of each.

    The reference of all errors is the network with ReLU in place of ReLU6. Networks run in float32.

    Args:
        folded: the network, with batch norms folded.
        bits: width of a code.
        images: inputs that the error is measured on, of shape (inputs, ...).
        labels: class numbers of the inputs, for the accuracy; NaN without them.
        methods, strengths: as in `variants`.
        granularities: of `quantize`.
        radius: D; inputs lie in [-D, D]^N_0.

    Returns:
        A row a variant, with columns

        - method, strength, granularity;
        - ``norm mean``, ``norm largest``: of T5, over the layers; ``norms``: log10 of their
          product;
        - ``path norm``: log10, of the network before it is quantized;
        - ``mean form``, ``product form`` (of T5), ``T2``: log10 of the bounds;
        - ``largest error``, ``median error``: over the images, in the maximum norm;
        - ``accuracy``, after rounding, and ``reference accuracy``, of the reference.
    """
    rows, reference = [], None
    shape = (1, *images.shape[1:])
    for method, strength, equalized in variants(folded, methods=methods, strengths=strengths):
        if reference is None:
            reference = outputs(in_float32(equalized.reference), images)
        path = path_norm(equalized.model, shape)
        for granularity in granularities:
            rounded = quantize(equalized.model, bits=bits, granularity=granularity).model
            measured = profile(equalized.model, rounded, input_shape=shape, radius=radius)
            rows.append(
                {
                    "method": method,
                    "strength": strength,
                    "granularity": granularity,
                    "path norm": path,
                    **_bounded(measured),
                    **_observed(reference, outputs(in_float32(rounded), images), labels),
                }
            )
    return pd.DataFrame(rows)


def same_function(folded: nn.Module, images: Tensor, *, bits: int) -> pd.Series:
    """Largest distances of outputs, in float64, between networks that should agree.

    Args:
        folded: the network, with batch norms folded.
        images: inputs, of shape (inputs, ...).
        bits: width of a code, on one grid for each layer.

    Returns:
        For each method the distance of the equalized network from its reference, over the largest
        output; as ``path and even, rounded`` that of these two after rounding, likewise.
    """
    found = {method: equalized for method, _, equalized in variants(folded) if method != NONE}
    expected = outputs(next(iter(found.values())).reference, images)
    size = expected.abs().max().item()
    apart = {
        method: distances(expected, outputs(equalized.model, images)).max().item() / size
        for method, equalized in found.items()
    }
    rounded = [
        outputs(quantize(found[method].model, bits=bits, granularity="tensor").model, images)
        for method in ("path", "even")
    ]
    apart["path and even, rounded"] = distances(*rounded).max().item() / size
    return pd.Series(apart)


def decades(measured: Profile) -> dict[str, float]:
    """log10 of the bounds that the chapters compare, by column."""
    values = bounds(measured).set_index(["theorem", "bound"])["log10"]
    return {column: float(values[key]) for column, key in BOUNDS.items()}


def in_float32(network: nn.Module) -> nn.Module:
    """A copy of a network in the precision that networks run in, and the layout that is fastest."""
    return copy.deepcopy(network).float().to(memory_format=torch.channels_last)


def _bounded(measured: Profile) -> dict[str, float]:
    values = norms(measured)
    return {
        "norm mean": mean_of_others(values),
        "norm largest": float(values.max()),
        "norms": float(np.log10(values).sum()),
        **decades(measured),
    }


def _observed(ours: Tensor, theirs: Tensor, labels: Tensor | None) -> dict[str, float]:
    apart = distances(ours, theirs)
    return {
        "largest error": apart.max().item(),
        "median error": apart.median().item(),
        "accuracy": _accuracy(theirs, labels),
        "reference accuracy": _accuracy(ours, labels),
    }


def _accuracy(found: Tensor, labels: Tensor | None) -> float:
    return math.nan if labels is None else (found.argmax(1) == labels).double().mean().item()
