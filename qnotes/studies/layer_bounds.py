"""The recursion T2 layer by layer, also with measured numbers in place of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sympy as sp

from qnotes.propagation.profiles import Profile
from qnotes.theorems import notation as sy
from qnotes.theorems.log_domain import log_value
from qnotes.theorems.T2_recursion import RECURSION


def layer_bounds(
    profile: Profile,
    *,
    activations: Sequence[float] | None = None,
    errors: Sequence[float] | None = None,
) -> pd.DataFrame:
    """The bounds s_ℓ on activations and e_ℓ on errors of T2, after every layer.

    With measured numbers each step starts from what was measured after the layer before. What
    comes out then bounds the inputs that were measured, and tells what a single step loses.

    Args:
        profile: from `qnotes.profile`, or read from JSON.
        activations: L+1 numbers that stand in for s_0, …, s_L in each step.
        errors: L+1 numbers that stand in for e_0, …, e_L in each step.

    Returns:
        A row a layer, from 0 to L, with the decimal logarithms ``s`` and ``e``.
    """
    given = {sy.s: activations, sy.e: errors}
    with np.errstate(divide="ignore"):
        logs = {
            symbol: np.log(np.asarray(quantity.value(profile), dtype=float))
            for symbol, quantity in sy.QUANTITIES.items()
            if symbol in _SUPPLIED
        }
        measured = {base: np.log(values) for base, values in given.items() if values is not None}
    running = {base: [log_value(start, logs, {})] for base, start in RECURSION.initial.items()}
    for layer in range(1, profile.depth + 1):
        known = {base: measured.get(base, found)[layer - 1] for base, found in running.items()}
        before = {base[sy.ell - 1]: value for base, value in known.items()}
        for base, step in RECURSION.steps.items():
            running[base].append(log_value(step, {**logs, **before}, {sy.ell: layer}))
    table = pd.DataFrame({"s": running[sy.s], "e": running[sy.e]}, dtype=float) / np.log(10)
    table.index.name = "layer"
    return table


_SUPPLIED = set().union(
    *(
        expression.atoms(sp.Symbol, sp.IndexedBase)
        for expression in (*RECURSION.initial.values(), *RECURSION.steps.values())
    )
)
