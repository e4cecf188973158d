"""P2, one norm for all layers: the largest layer norm r, the widest feature map W.

In T2 activations grow like r^ℓ (D + ℓ), and layer ℓ adds an error of at most W ε times that. The
sum over layers makes the bound quadratic in depth. Earlier work.
"""

import sympy as sp

from qnotes.theorems.facts import ge, le
from qnotes.theorems.notation import (
    LAYERS,
    D,
    E,
    L,
    W,
    beta,
    c,
    delta,
    e,
    ell,
    eps,
    gamma,
    i,
    r,
    r_max,
    s,
)
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, Largest, Replace
from qnotes.theorems.solved_recursion import row_of_changes
from qnotes.theorems.T2_recursion import DOMAIN, NORMS, RECURSION
from qnotes.theorems.T17_slopes import LIPSCHITZ
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of

UNIFORM_NORM = Theorem(
    number="P2",
    name="one norm for all layers",
    source=(
        "Of the order in Gonon, Brisebarre, Gribonval and Riccietti (2023, arXiv:2205.11874). "
        "The constant and the proof are our own."
    ),
    whose="earlier work",
    statement=sp.Le(E, sp.Max(D, 1) * W * L * (L + 3) / 2 * r_max ** (L - 1) * eps),
    hypotheses=(
        LIPSCHITZ,
        DOMAIN,
        NORMS,
        Hypothesis(
            "every layer norm and absolute bias is at most r, as κ counts in them, and r ≥ 1; a "
            "row of changes holds at most W numbers, and κ times no change of a weight or bias is "
            "above ε",
            facts={
                "largest norm": le(r[ell], r_max, LAYERS),
                "largest bias": le(beta[ell], r_max, LAYERS),
                "changes": le(delta[ell], sp.Sum(c[ell, i], (i, 1, W)), LAYERS),
                "changes entries": le(c[ell, i], eps, LAYERS, (i, 1, W)),
                "bias changes": le(gamma[ell], eps, LAYERS),
                "at least one": ge(r_max, 1),
            },
        ),
    ),
    tight=True,  # for rows of one weight, with biases
    premises=(RECURSION,),
)


@proof_of(UNIFORM_NORM)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """T2 with one norm r ≥ 1: activations grow like r^ℓ (D + ℓ); the sum over layers is closed."""
    (recursion,), (goal,) = theorem.premises, theorem.goals()
    activations = r_max**ell * (D + ell)
    errors = W * eps * r_max ** (ell - 1) * (ell * D + ell * (ell + 1) / 2)
    start = sp.Max(D, 1)
    powers = ("powers", {ell: ell - 1})
    scale = W * eps * r_max ** (L - 1)
    return (
        recursion.applied("recursion"),
        *row_of_changes(delta[ell], lambda at: c[ell, at], W, eps, name="changes", each=(LAYERS,)),
        Step(
            "powers",
            ge(r_max**ell, 1, (ell, 0, L)),
            Replace(),
            uses=("at least one",),
            reason="As $r \\ge 1$, so is every power of it.",
        ),
        *over_layers(
            "activations",
            lambda at: s[at],
            activations,
            layer=Algebra((1, s[ell - 1], r_max, 1, r_max)),
            uses=("s", "largest norm", "activations before", "largest bias", powers),
            start=("s 0",),
        ),
        *over_layers(
            "errors",
            lambda at: e[at],
            errors,
            layer=Algebra((1, e[ell - 1], r_max, s[ell - 1], W * eps, 1, W * eps), gives_away=True),
            uses=(
                "e",
                "largest norm",
                "errors before",
                "changes at most",
                ("activations", {ell: ell - 1}),
                "bias changes",
                powers,
            ),
            start=("e 0",),
            reasons=(
                "",
                "A row of changes is at most $W ε$, and a bias changes by at most $ε \\le W ε$.",
                "The sum over layers is closed: $\\sum_{k \\le \\ell} (D + k)$.",
            ),
        ),
        Step("D or 1", le(D, start), Largest()),
        Step("1 or D", le(1, start), Largest()),
        Step(
            "statement",
            goal,
            Algebra((1, 1, scale * L, scale * L * (L + 1) / 2)),
            uses=("recursion", ("errors", {ell: L}), "D or 1", "1 or D"),
        ),
    )
