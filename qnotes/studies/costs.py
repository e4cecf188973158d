"""What each step from the recursion T2 to the mean form of T5 costs, and a mean that is wrong.

Each step of the proofs replaces something by something larger and simpler. Here every stage between
two steps is a bound of its own, written as a theorem object, so that a profile gives it a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import sympy as sp

from qnotes.propagation.profiles import Profile
from qnotes.theorems import Theorem
from qnotes.theorems.notation import (
    L,
    delta,
    eps,
    eps_layer,
    gamma,
    j,
    n_joint,
    r,
    r_joint,
    r_joint_mean,
    r_mean,
)
from qnotes.theorems.sums_over_layers import replaced
from qnotes.theorems.T2_recursion import RECURSION
from qnotes.theorems.T5_layerwise_with_biases import MEAN_FORM_WITH_BIASES, PRODUCT_FORM_WITH_BIASES

_NORMS = {r_mean: r, r_joint_mean: r_joint}


def plain_mean(theorem: Theorem) -> Theorem:
    """T4 or T5 (mean form) with the mean of all norms: *not* a theorem, since networks break it.

    Args:
        theorem: one whose definitions contain a leave-one-out mean of norms.
    """
    changed = {mean: sp.Sum(_NORMS[mean][j], (j, 1, L)) / L for mean in theorem.definitions}
    return replace(
        theorem, form="plain mean", name="plain mean, false", definitions=changed, prove=None
    )


def _product_form(meanings: dict[sp.Basic, object]) -> Theorem:
    rhs = replaced(PRODUCT_FORM_WITH_BIASES.statement.rhs, meanings)
    statement = sp.Le(PRODUCT_FORM_WITH_BIASES.statement.lhs, rhs)
    return replace(PRODUCT_FORM_WITH_BIASES, statement=statement, prove=None)


def _changes(index) -> sp.Expr:
    """The norm of all that changes in a layer, a bias being one more entry of its row."""
    return delta[index] + gamma[index]


#: The stages from T2 to the mean form of T5; each is at least as large as the one before it.
STAGES: dict[str, Callable[[], Theorem]] = {
    "T2": lambda: RECURSION,
    "biases in the norms": lambda: _product_form({n_joint: _changes, eps_layer: sp.Integer(1)}),
    "count times largest": lambda: PRODUCT_FORM_WITH_BIASES,
    "one gap for all": lambda: _product_form({eps_layer: eps}),
    "one mean for all": lambda: MEAN_FORM_WITH_BIASES,
}


def step_costs(profile: Profile) -> pd.Series:
    """Decades that each step from T2 to T5 (mean form) adds to the bound.

    Args:
        profile: from `qnotes.profile`, or read from JSON.

    Returns:
        Decades by step:

        - ``biases in the norms``: the constant 1 joins the input, and no norm counts below 1;
        - ``count times largest``: ñ ε_ℓ for row sums of the changes; this is the product form;
        - ``one gap for all``: ε for ε_ℓ;
        - ``one mean for all``: the power of a mean for products of norms.

        Their sum is the distance from T2 to T5 (mean form).
    """
    values = pd.Series({stage: make().evaluate(profile) for stage, make in STAGES.items()})
    return values.diff().iloc[1:]


def with_constant(profile: Profile, constant: float) -> Profile:
    """The profile of the same networks when the constant c, not 1, joins the input.

    The added coordinate of the input holds c, so biases stand in the wider matrix as b/c; its
    input is bounded by max(D, c). The profile knows no single rows, hence the norm of a row with
    its bias is bounded by ‖W‖ + ‖b‖_∞ / c. Evaluate T5 on it, where the biases stay as they are.

    Args:
        profile: of networks whose biases are not quantized.
        constant: c ≥ 1.
    """
    layers = tuple(
        replace(layer, joint_norm=layer.norm + layer.bias_norm / constant)
        for layer in profile.layers
    )
    return replace(profile, layers=layers, radius=max(profile.radius, constant))
