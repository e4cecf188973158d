"""From a bound to bits (T12): how many a tolerance asks for, and whether the promise is kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds
from qnotes.studies.gaps import bits_needed

#: Most bits that `rounded` takes: float64 resolves a step of such a grid 4096 times.
MOST_BITS = 40
#: How the vector form is named among the bounds of the ladder.
VECTOR_FORM = ("T8", "vector form")
#: What rounding may add to the logarithm of a bound.
SLACK = 1e-9


def certified_bits(
    folded: fx.GraphModule,
    input_shape: tuple[int, ...],
    *,
    tolerances: Iterable[float],
    least: Iterable[int] = (8, 16, 32),
    radius: float = 1.0,
) -> pd.DataFrame:
    """Bits that certify an error by T12, for each bound of the ladder and for the vector form T8.

    The constant C must not depend on the bits. A constant for all grids of 8 bits and more has
    norms that 8 bits may reach, which to the power of depth are many decades. So C is computed for
    several least numbers of bits, and each bound takes the one that asks for fewest.

    T8 has a constant too: its bound for a copy whose weights all moved outward by the half-step h,
    divided by h. On a finer grid no weight moves further, and the bound falls at least in
    proportion to the largest change.

    Args:
        folded: the reference.
        input_shape: shape of one batch.
        tolerances: errors τ to be certified.
        least: numbers of bits, at most 32, each the fewest that a constant is valid for.
        radius: D.

    Returns:
        A row for each bound and tolerance: theorem, bound, log10_constant, tolerance, bits (a real
        number; round up), and ``least``, which bits never falls below.
    """
    tolerances = list(tolerances)
    domain = {"tolerances": tolerances, "radius": radius}
    tables = []
    for few in least:
        table = bits_needed(folded, input_shape, least=few, **domain)
        vectors = _vector_form(folded, input_shape, few, **domain)
        tables.append(pd.concat([table, vectors]).assign(least=few))
    key = ["theorem", "bound", "tolerance"]
    ordered = pd.concat(tables, ignore_index=True).sort_values("bits", kind="stable")
    return ordered.drop_duplicates(key).sort_values(key, kind="stable", ignore_index=True)


def _vector_form(folded, input_shape, least: int, *, tolerances, radius: float) -> pd.DataFrame:
    largest = largest_weight(folded)
    step = half_step(largest, least)
    moved = _moved_outward(folded, step)
    log10 = vector_bound(folded, moved, input_shape=input_shape, radius=radius).max()
    # In float64 a weight may move by less than the step, by 2^-20 of it where there are 32 bits.
    constant = log10 - math.log10(step) + 1e-6
    bits = [max(float(least), _bits(constant, largest, tolerance)) for tolerance in tolerances]
    return pd.DataFrame({"tolerance": tolerances, "bits": bits}).assign(
        theorem=VECTOR_FORM[0], bound=VECTOR_FORM[1], log10_constant=constant
    )


def largest_weight(folded: fx.GraphModule) -> float:
    """a, the largest absolute weight of all layers."""
    return max(module.weight.detach().abs().max().item() for _, module in _weighted(folded))


def half_step(largest: float, bits: int) -> float:
    """a / (2q), the most that a weight moves on a symmetric grid, in exact arithmetic."""
    return largest / (2 * (2 ** (bits - 1) - 1))


def rounded(folded: fx.GraphModule, bits: int) -> fx.GraphModule:
    """A copy with weights on symmetric grids, a scale for each layer, also for many bits.

    Unlike `qnotes.quantize` it stores no codes, so that it takes up to 40 bits. Networks are
    float64: the levels of such a grid are no float32 numbers.

    Args:
        folded: the reference, in float64.
        bits: from 2 to 40.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= MOST_BITS:
        raise QnotesError(f"bits must be an integer from 2 to {MOST_BITS}; got {bits!r}")
    changed = copy.deepcopy(folded)
    for name, module in _weighted(changed):
        if module.weight.dtype != torch.float64:
            raise QnotesError(
                f"{name}: weights are {module.weight.dtype}; expected float64, as qnotes.fold "
                "returns them"
            )
        scale = module.weight.detach().abs().max() / (2 ** (bits - 1) - 1)
        if scale > 0:
            module.weight = _fixed((module.weight.detach() / scale).round() * scale)
    return changed


def measured_bounds(
    folded: fx.GraphModule,
    quantized: nn.Module,
    input_shape: tuple[int, ...],
    *,
    radius: float = 1.0,
) -> pd.Series:
    """log10 of the ladder's bounds and of T8, from the weights that are there.

    Returns:
        Values with the index (theorem, bound); bounds whose hypotheses fail are left out.
    """
    domain = {"input_shape": input_shape, "radius": radius}
    ladder = bounds(profile(folded, quantized, **domain)).dropna(subset="log10")
    values = ladder.set_index(["theorem", "bound"])["log10"]
    values[VECTOR_FORM] = vector_bound(folded, quantized, **domain).max()
    return values


def check(
    folded: fx.GraphModule,
    certified: pd.DataFrame,
    input_shape: tuple[int, ...],
    *,
    radius: float = 1.0,
) -> pd.DataFrame:
    """Keep the promise: round to as many bits as a bound asks for, and compute the bound again.

    Args:
        folded: the reference.
        certified: from `certified_bits`.
        input_shape: shape of one batch.
        radius: D, as it was there.

    Returns:
        A row for each row that asks for at most 40 bits: theorem, bound, tolerance, ``bits`` (whole
        now), ``log10`` of the bound at those bits, and whether it ``holds``, that is, is at most τ.
    """
    rows = []
    affordable = certified[certified["bits"] <= MOST_BITS]
    for bits, group in affordable.groupby(affordable["bits"].map(math.ceil)):
        values = measured_bounds(folded, rounded(folded, bits), input_shape, radius=radius)
        for row in group.itertuples():
            log10 = values[row.theorem, row.bound]
            rows.append(
                {
                    "theorem": row.theorem,
                    "bound": row.bound,
                    "tolerance": row.tolerance,
                    "bits": bits,
                    "log10": log10,
                    "holds": bool(log10 <= math.log10(row.tolerance) + SLACK),
                }
            )
    return pd.DataFrame(rows, columns=["theorem", "bound", "tolerance", "bits", "log10", "holds"])


def promised(certified: pd.DataFrame, folded: fx.GraphModule, bits: int) -> pd.Series:
    """log10 of C a / (2q), what each bound promises at a number of bits not below ``least``."""
    constants = certified.drop_duplicates(["theorem", "bound"]).set_index(["theorem", "bound"])
    return constants["log10_constant"] + math.log10(half_step(largest_weight(folded), bits))


def _weighted(network: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor)
    ]


def _moved_outward(folded: fx.GraphModule, step: float) -> fx.GraphModule:
    """A copy with every weight further from 0 by a step; zeros count as positive."""
    moved = copy.deepcopy(folded)
    for _, module in _weighted(moved):
        weight = module.weight.detach().double()
        module.weight = _fixed(weight + torch.where(weight < 0, -step, step))
    return moved


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)


def _bits(log10_constant: float, largest: float, tolerance: float) -> float:
    """1 + log2(1 + C a / (2τ)), where C may overflow."""
    ratio = (log10_constant + math.log10(largest / (2 * tolerance))) / math.log10(2)
    return 1 + (ratio if ratio > 100 else math.log2(1 + 2**ratio))
