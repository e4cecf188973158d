"""Which layers deserve more bits: a price for each layer and bit-width, and a greedy choice.

Tables have a row for each layer of the chain, indexed by its name, and a column for each bit-width.
A layer of the chain may consist of two modules, joined by `` + ``; both get the same bits.

Houache, Traonmilin and Aujol (arXiv:2610.09877) also choose bits greedily, by a statistical score
of each layer's error. The prices here are simpler: a layer's summand of T2, or a measured error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from torch import Tensor, fx

from qnotes.errors import QnotesError
from qnotes.observation import distances, outputs
from qnotes.propagation.profiles import Profile
from qnotes.quantization import Quantized
from qnotes.studies.layer_bounds import layer_bounds

JOINED = " + "


def recursion_prices(reference: Profile, changed: Mapping[int, Profile]) -> pd.DataFrame:
    """Each layer's summand of T2 for each bit-width, the norms being those of the reference.

    Unrolled, the error bound of T2 is the sum over layers of δ_k s_{k-1} Π_{j>k} r_j. Only δ_k
    depends on the bits of layer k, as long as rounding leaves norms alone.

    Args:
        reference: of the network and itself.
        changed: by bit-width, of the network and its quantized copy.

    Returns:
        Decimal logarithms; -inf for a layer whose weights are all on the grid.
    """
    with np.errstate(divide="ignore"):
        norms = np.log10([layer.norm for layer in reference.layers])
        gaps = {
            bits: np.log10([layer.gap_norm for layer in found.layers])
            for bits, found in changed.items()
        }
    carried = np.append(np.cumsum(norms[:0:-1])[::-1], 0.0)
    reached = layer_bounds(reference)["s"].to_numpy()[:-1] + carried
    names = [layer.name for layer in reference.layers]
    return pd.DataFrame({bits: gap + reached for bits, gap in gaps.items()}, index=names)


def measured_prices(
    network: fx.GraphModule,
    quantized: Mapping[int, Quantized],
    names: Iterable[str],
    inputs: Tensor,
) -> pd.DataFrame:
    """The error of the output when one layer of the chain is quantized and the others are not.

    Args:
        network: the reference, folded; it is not changed.
        quantized: by bit-width, its quantized copies.
        names: of the layers of the chain.
        inputs: of shape (inputs, ...).

    Returns:
        Decimal logarithms of the mean over inputs of the error in the maximum norm.
    """
    exact = outputs(network, inputs)
    errors = {
        name: {
            bits: _alone(network, found, name, exact, inputs) for bits, found in quantized.items()
        }
        for name in names
    }
    with np.errstate(divide="ignore"):
        return np.log10(pd.DataFrame.from_dict(errors, orient="index"))


def _alone(network, quantized: Quantized, name: str, exact: Tensor, inputs: Tensor) -> float:
    changed = fx.GraphModule(network, network.graph)
    for part in name.split(JOINED):
        changed.set_submodule(part, quantized.model.get_submodule(part))
    return distances(exact, outputs(changed, inputs)).mean().item()


def sizes(network: fx.GraphModule, names: Iterable[str]) -> pd.Series:
    """How many weights each layer of the chain has."""
    counts = {
        name: sum(network.get_submodule(part).weight.numel() for part in name.split(JOINED))
        for name in names
    }
    return pd.Series(counts)


def greedy_bits(prices: pd.DataFrame, sizes: pd.Series, *, budget: float) -> pd.Series:
    """Bits of each layer: again and again the step that saves most per stored bit.

    Every layer starts with the fewest bits. A step gives one layer any larger number of bits that
    still fits; the choice ends when no step saves anything. Where each further bit of a layer saves
    less than the one before it, and every step fits until the budget is spent, no other choice of
    the same storage has a smaller sum of prices.

    Args:
        prices: log10 of what each layer costs at each bit-width; bit-widths increase.
        sizes: weights of each layer, in the same order.
        budget: bits of all codes together.

    Returns:
        Bits by layer.

    Raises:
        QnotesError: for tables that do not fit each other, or a budget below the fewest bits.
    """
    _check(prices, sizes, budget)
    widths = np.array(prices.columns)
    storage = np.outer(sizes, widths)
    costs = _relative(prices.to_numpy(dtype=float))
    level = np.zeros(len(prices), dtype=int)
    rows = np.arange(len(prices))
    while True:
        paid = storage - storage[rows, level][:, None]
        left = budget - storage[rows, level].sum()
        saved = costs[rows, level][:, None] - costs
        useful = (paid > 0) & (paid <= left) & (saved > 0)
        if not useful.any():
            return pd.Series(widths[level], index=prices.index)
        rates = np.divide(saved, paid, out=np.zeros_like(saved), where=useful)
        layer, width = np.unravel_index(rates.argmax(), rates.shape)
        level[layer] = width


def of_modules(bits: pd.Series) -> dict[str, int]:
    """Bits by module, as `quantize` takes them."""
    return {part: int(width) for name, width in bits.items() for part in name.split(JOINED)}


def _relative(prices: np.ndarray) -> np.ndarray:
    """Prices in units of the largest, which may be too large for a float."""
    top = prices.max()
    return 10.0 ** (prices - (top if np.isfinite(top) else 0.0))


def _check(prices: pd.DataFrame, sizes: pd.Series, budget: float) -> None:
    if list(prices.index) != list(sizes.index) or not len(sizes):
        raise QnotesError(
            f"prices and sizes must name the same layers in the same order; got {len(prices)} and "
            f"{len(sizes)} layers"
        )
    widths = list(prices.columns)
    if widths != sorted(set(widths)):
        raise QnotesError(f"bit-widths must increase from column to column; got {widths}")
    if np.isnan(prices.to_numpy(dtype=float)).any() or np.isposinf(prices.to_numpy()).any():
        raise QnotesError("prices must be logarithms of finite numbers; some are NaN or infinite")
    if not budget >= sizes.sum() * widths[0]:
        raise QnotesError(
            f"a budget of {budget!r} bits is too small: {sizes.sum()} weights of {widths[0]} bits "
            f"need {sizes.sum() * widths[0]}"
        )
