"""Schemes side by side: what each does to the bound, to the error, to accuracy and to storage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qnotes.errors import QnotesError
from qnotes.experiments import MEASURED
from qnotes.quantization import Quantized, QuantizedLayer
from qnotes.quantization.grids import Grid

#: The numbers of a cell that schemes are compared by, as columns.
NUMBERS = {
    "mean form": ("T5", "mean form"),
    "T2": ("T2", "recursion along the chain"),
    "digits": (MEASURED, "digits"),
    "random inputs": (MEASURED, "random inputs"),
}
CELL = ["network", "bits", "scheme"]


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """A row a cell of a sweep, instead of a row a number.

    Args:
        table: from `qnotes.sweep`.

    Returns:
        Columns network, bits, scheme; ``mean form`` (T5) and ``T2``, bounds; ``digits`` and
        ``random inputs``, largest errors measured there; all four as decimal logarithms, NaN where
        there is none; ``accuracy``. Cells stand in the order of the sweep.
    """
    cells = table.drop_duplicates(CELL).set_index(CELL)
    found = cells[["accuracy"]].copy()
    for column, (theorem, bound) in NUMBERS.items():
        rows = table[(table["theorem"] == theorem) & (table["bound"] == bound)]
        found[column] = rows.set_index(CELL)["log10"]
    return found.reset_index()[[*CELL, *NUMBERS, "accuracy"]]


def against(rows: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """The same rows with each number as its change against one scheme.

    Args:
        rows: from `side_by_side`, perhaps with further columns of numbers.
        scheme: the one to compare with, at the same bits of the same network.

    Raises:
        QnotesError: where that scheme is missing for some network and bits.
    """
    numbers = [column for column in rows if column not in CELL]
    standard = rows[rows["scheme"] == scheme].set_index(["network", "bits"])[numbers]
    keys = pd.MultiIndex.from_frame(rows[["network", "bits"]])
    missing = keys.difference(standard.index)
    if len(missing):
        network, bits = missing[0]
        raise QnotesError(
            f"no row of the scheme {scheme!r} for {network} with {bits} bits; it is what others "
            "are compared with"
        )
    changed = rows.copy()
    changed[numbers] = rows[numbers].to_numpy() - standard.loc[keys].to_numpy()
    return changed


def rank_correlations(rows: pd.DataFrame, pairs: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Spearman's rank correlation over the schemes, for each network and number of bits.

    1 says that both columns put the schemes in the same order, -1 in the opposite one, 0 that the
    orders have nothing to do with each other. Equal values share a rank. A column that is constant
    or has fewer than three values has no correlation: NaN.

    Args:
        rows: from `side_by_side`.
        pairs: names of the correlations, and the two columns of each.
    """
    found = [
        {"network": network, "bits": bits}
        | {name: _spearman(cells[first], cells[second]) for name, (first, second) in pairs.items()}
        for (network, bits), cells in rows.groupby(["network", "bits"], sort=False)
    ]
    return pd.DataFrame(found)


def _spearman(first: pd.Series, second: pd.Series) -> float:
    both = pd.concat([first, second], axis=1).dropna()
    ranks = both.rank().to_numpy()
    if len(ranks) < 3 or (ranks.std(axis=0) == 0).any():
        return np.nan
    return float(np.corrcoef(ranks.T)[0, 1])


def bits_per_weight(quantized: Quantized) -> float:
    """Stored bits for each weight: codes, scales, zero points and listed levels; without biases."""
    stored = sum(layer.storage_bits for layer in quantized.layers.values())
    return stored / sum(layer.codes.numel() for layer in quantized.layers.values())


def gap_in_steps(quantized: Quantized) -> float:
    """The largest change of a weight in steps of its own grid, over all layers.

    Raises:
        QnotesError: for levels that are not equally spaced.
    """
    return max(_steps(name, layer) for name, layer in quantized.layers.items())


def _steps(name: str, layer: QuantizedLayer) -> float:
    if type(layer.grid) is not Grid:  # a grid of powers of two is one, but has no step
        raise QnotesError(f"{name}: a {type(layer.grid).__name__} has no step; use a uniform grid")
    change = (layer.original.double() - layer.weight.double()).abs().flatten(1)
    return (change / layer.grid.spread(layer.grid.scale, change.shape[1])).amax().item()


def levels_of_channel(layer: QuantizedLayer, channel: int) -> Tensor:
    """The levels that the weights of one output channel may take, rising, without repetition.

    Args:
        layer: stored with a scale per tensor or per channel.
        channel: number of the output channel.

    Raises:
        QnotesError: for groups, which have levels of their own.
    """
    if layer.grid.group_size is not None:
        raise QnotesError("each group of a channel has levels of its own; use a scale per channel")
    codes = torch.arange(layer.qmin, layer.qmax + 1)[None]
    return layer.grid.of_rows(slice(channel, channel + 1)).decode(codes)[0].unique()
