"""P3, a corollary of the path metric: one norm for all layers, biases included, and W² for a row.

T5 (product form) with the largest norm, gap and fan-in; W² pays for the W + 1 entries of a row, so
that the bound is never reached. Earlier work.
"""

import sympy as sp

from qnotes.theorems.notation import D, E, L, W, eps, eps_layer, k, n_joint, r_joint, r_joint_max
from qnotes.theorems.proof_steps import Identity, Nonnegative, Step
from qnotes.theorems.sums_over_layers import evaluated, replaced
from qnotes.theorems.T2_recursion import LIPSCHITZ
from qnotes.theorems.T5_layerwise_with_biases import PRODUCT_FORM_WITH_BIASES
from qnotes.theorems.theorem import Hypothesis, Theorem, proof_of


def _narrow(profile) -> str | None:
    widest = max(layer.reads for layer in profile.layers)
    return None if widest >= 2 else f"needs W ≥ 2; this network has W = {widest}"


PATH_METRIC = Theorem(
    number="P3",
    name="path-metric corollary",
    source=(
        "Of the order in Gonon, Brisebarre, Gribonval and Riccietti (2024, arXiv:2405.15006), "
        "who need that no weight changes sign. Derived here from T5 without that condition."
    ),
    whose="earlier work",
    statement=sp.Le(E, sp.Max(D, 1) * L * W**2 * r_joint_max ** (L - 1) * eps),
    hypotheses=(
        LIPSCHITZ,
        Hypothesis("rows of weights and bias together have absolute sums of at most r̃, and r̃ ≥ 1"),
        Hypothesis("W ≥ 2", _narrow),
    ),
    premises=(PRODUCT_FORM_WITH_BIASES,),
)


@proof_of(PATH_METRIC)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """T5 with one norm and one fan-in for all layers, and room to spare."""
    (product_form,) = theorem.premises
    t, x, y = sp.symbols("t x y", nonnegative=True)  # slack: W = 2 + t says that W ≥ 2
    uniform = {r_joint: r_joint_max, eps_layer: eps, n_joint: W**2}
    return (
        Nonnegative(
            title="fan-in",
            reason="A row reads at most W weights and a bias, and W ≥ 2.",
            larger=W**2,
            smaller=W + 1,
            certificate=1 + 3 * t + t**2,
            given={W: 2 + t},
        ),
        Nonnegative(
            title="norms and gaps",
            reason="The largest norm and the largest gap serve for all layers; the product form "
            "never falls when one of its quantities grows.",
            larger=r_joint_max * eps,
            smaller=r_joint[k] * eps_layer[k],
            certificate=sp.expand((r_joint[k] + x) * (eps_layer[k] + y))
            - r_joint[k] * eps_layer[k],
            given={r_joint_max: r_joint[k] + x, eps: eps_layer[k] + y},
        ),
        Identity(
            title="statement",
            reason="All L terms of the sum are then equal.",
            left=evaluated(replaced(product_form.statement.rhs, uniform)),
            right=theorem.statement.rhs,
        ),
    )
