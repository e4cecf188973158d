"""P3, a corollary of the path metric: one norm for all layers, biases included, and W² for a row.

T5 (product form) with the largest norm, gap and fan-in; W² pays for the W + 1 entries of a row, so
that the bound is never reached. Earlier work.
"""

import sympy as sp

from qnotes.theorems.facts import ge, le
from qnotes.theorems.notation import LAYERS, D, E, L, W, ell, eps, k, n_joint, r_joint, r_joint_max
from qnotes.theorems.rules import Algebra, Replace
from qnotes.theorems.T2_recursion import DOMAIN
from qnotes.theorems.T4_mean_form import ONE_GAP
from qnotes.theorems.T5_layerwise_with_biases import FAN_IN, JOINT, PRODUCT_FORM_WITH_BIASES
from qnotes.theorems.T17_slopes import LIPSCHITZ
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of


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
        DOMAIN,
        JOINT,
        FAN_IN,
        ONE_GAP,
        Hypothesis(
            "r̃ without an index is at least the r̃ of each layer",
            facts={"largest norm": le(r_joint[ell], r_joint_max, LAYERS)},
        ),
        Hypothesis(
            "no row reads more than W inputs", facts={"widest row": le(n_joint[ell], W + 1, LAYERS)}
        ),
        Hypothesis("W ≥ 2", _narrow, facts={"at least two": ge(W, 2)}),
    ),
    premises=(PRODUCT_FORM_WITH_BIASES,),
)


@proof_of(PATH_METRIC)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """T5 with one norm and one fan-in for all layers, and room to spare."""
    (product_form,) = theorem.premises
    (goal,), (bound,) = theorem.goals(), product_form.goals()
    norms = sp.Product(r_joint_max, (ell, 1, k - 1)) * sp.Product(r_joint_max, (ell, k + 1, L))
    uniform = sp.Max(D, 1) * sp.Sum((W + 1) * eps * norms, (k, 1, L))
    return (
        product_form.applied("product form"),
        Step(
            "one for all",
            le(bound.right, uniform),
            Replace(),
            uses=("largest norm", "widest row", "largest change"),
            reason="The largest norm, gap and fan-in serve for all layers; nothing falls.",
        ),
        Step(
            "room to spare",
            le(W + 1, W**2),
            Algebra((W + 1,), gives_away=True),
            uses=("at least two",),
        ),
        Step(
            "statement",
            goal,
            Algebra((1, 1, sp.Max(D, 1) * L * r_joint_max ** (L - 1) * eps)),
            uses=("product form", "one for all", "room to spare"),
            reason="All L terms of the sum are equal.",
        ),
    )
