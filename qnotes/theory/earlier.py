"""P1, P2, P3: what was known before, with one constant for all layers (theory, section 2)."""

import sympy as sp

from qnotes.theory import prove_earlier as prove
from qnotes.theory.layerwise import LIPSCHITZ, PRODUCT_FORM_WITH_BIASES, RECURSION
from qnotes.theory.symbols import D, E, L, R, W, W_chain, eps, r_joint_max, r_max
from qnotes.theory.theorem import Hypothesis, Theorem

ENTRYWISE = Theorem(
    number="P1",
    form="",
    name="entrywise bound",
    source="Form of Berner, Grohs and Jentzen (2020); the proof here is our own.",
    whose="earlier work",
    statement=sp.Le(E, sp.Max(D, 1) * L * (W_chain + 1) ** L * R ** (L - 1) * eps),
    hypotheses=(
        LIPSCHITZ,
        Hypothesis("every weight and bias of both networks is at most R, and R ≥ 1"),
    ),
    tight=True,  # for equal weights in ever wider rows
    premises=(RECURSION,),
    prove=prove.prove_entrywise,
)

UNIFORM_NORM = Theorem(
    number="P2",
    form="",
    name="one norm for all layers",
    source=(
        "Of the order in Gonon, Brisebarre, Gribonval and Riccietti (2023, arXiv:2205.11874). "
        "The constant and the proof are our own."
    ),
    whose="earlier work",
    statement=sp.Le(E, sp.Max(D, 1) * W * L * (L + 3) / 2 * r_max ** (L - 1) * eps),
    hypotheses=(
        LIPSCHITZ,
        Hypothesis("every layer norm and absolute bias is at most r, and r ≥ 1"),
    ),
    tight=True,  # for rows of one weight, with biases
    premises=(RECURSION,),
    prove=prove.prove_uniform_norm,
)


def _narrow(profile) -> str | None:
    widest = max(layer.reads for layer in profile.layers)
    return None if widest >= 2 else f"needs W ≥ 2; this network has W = {widest}"


PATH_METRIC = Theorem(
    number="P3",
    form="",
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
    prove=prove.prove_path_metric,
)
