"""A grid of networks and bit-widths as one table: bounds, and the error measured beneath."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from qnotes.ladder import bounds
from qnotes.networks import digits, fold, input_shape, load, profile, provenance
from qnotes.observation import distances, outputs, random_inputs
from qnotes.quantization import Quantized, quantize

MEASURED = "measured"


def sweep(
    networks: Iterable[str],
    *,
    weights: str = "digits",
    bits: Iterable[int] = (8,),
    granularity: str = "channel",
    symmetric: bool = True,
    radius: float = 1.0,
    inputs: int = 64,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Quantize named networks at some bit-widths; bound and measure the error of each.

    Errors are measured in float32, the precision that networks run in.

    Args:
        networks: names that `load` knows.
        weights: ``digits``, ``imagenet`` or ``random``.
        bits: widths of a code.
        granularity: ``tensor`` or ``channel``.
        symmetric: symmetric or affine grids.
        radius: D; inputs lie in [-D, D]^N_0.
        inputs: how many test images, and how many random inputs, errors are measured on.
        seed: of random inputs and of random weights.
        progress: show a bar.

    Returns:
        A row a number: network, depth, weights, sha256, bits, granularity, symmetric, radius, seed;
        theorem, bound and log10 as in `bounds`. Rows of theorem ``measured`` hold the largest
        error on ``digits`` (with digits weights) and on ``random inputs``.
    """
    grid = [(name, width) for name in networks for width in bits]
    rows: list[dict] = []
    current, reference = "", None
    for name, width in tqdm(grid, desc="networks × bits", disable=not progress):
        if name != current:
            current, reference = name, _Reference(name, weights, radius, inputs, seed)
        scheme = {"bits": width, "granularity": granularity, "symmetric": symmetric}
        quantized = quantize(reference.folded, **scheme)
        shared = {**reference.facts, **scheme, "radius": radius, "seed": seed}
        rows += [{**shared, **row} for row in reference.compare(quantized)]
    return pd.DataFrame(rows)


def describe(table: pd.DataFrame) -> str:
    """Where the numbers of a sweep come from, in one line to stand under a figure."""
    bits = ", ".join(map(str, sorted(table["bits"].unique())))
    first = table.iloc[0]
    grid = "symmetric" if first["symmetric"] else "affine"
    return (
        f"Weights: {first['weights']}. Grid: {bits} bits, {grid}, a scale per "
        f"{first['granularity']}, rounded to nearest. Inputs in [-{first['radius']:g}, "
        f"{first['radius']:g}]. Seed {first['seed']}. qnotes {version('qnotes')}, "
        f"torch {torch.__version__}."
    )


class _Reference:
    """A folded network with its outputs on the inputs that errors are measured on."""

    def __init__(self, name: str, weights: str, radius: float, inputs: int, seed: int) -> None:
        self.folded = fold(load(name, weights=weights, seed=seed))
        self.shape = input_shape(name, weights)
        self.radius = radius
        self.facts = {
            "network": name,
            "weights": weights,
            "sha256": provenance(name, weights, seed).get("sha256"),
        }
        single = copy.deepcopy(self.folded).float()
        self.inputs = _measured_inputs(self.shape, weights, radius, inputs, seed)
        self.outputs = {kind: outputs(single, batch) for kind, batch in self.inputs.items()}

    def compare(self, quantized: Quantized) -> Iterator[dict]:
        measured = profile(
            self.folded, quantized.model, input_shape=self.shape, radius=self.radius
        )
        for row in bounds(measured).itertuples():
            yield {
                "depth": measured.depth,
                "theorem": row.theorem,
                "bound": row.bound,
                "log10": row.log10,
            }
        single = copy.deepcopy(quantized.model).float()
        for kind, batch in self.inputs.items():
            error = distances(self.outputs[kind], outputs(single, batch)).max().item()
            yield {
                "depth": measured.depth,
                "theorem": MEASURED,
                "bound": kind,
                "log10": math.log10(error) if error else -math.inf,
            }


def _measured_inputs(shape, weights, radius, count: int, seed: int) -> dict[str, Tensor]:
    found = {"random inputs": random_inputs(shape, count=count, radius=radius, seed=seed)}
    if weights == "digits" and radius >= 1:
        images, _ = digits("test")
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
        found = {"digits": images[chosen], **found}
    return found
