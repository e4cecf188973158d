"""T3, the layerwise bound without biases, product form: T2 solved exactly.

The change of layer k is multiplied by the norms of all other layers; the bound is the sum over k.
"""

import sympy as sp

from qnotes.theorems.facts import eq, le
from qnotes.theorems.notation import LAYERS, D, E, L, beta, delta, e, ell, gamma, k, p, q, r, s
from qnotes.theorems.rules import Algebra, Apply
from qnotes.theorems.solved_recursion import SOLVED, others
from qnotes.theorems.T2_recursion import DOMAIN, NORMS, OUR_PROOF, RECURSION
from qnotes.theorems.T17_slopes import LIPSCHITZ
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of


def _has_biases(profile) -> str | None:
    biased = [x.name for x in profile.layers if x.bias_norm > 0 or x.bias_gap > 0]
    if not biased:
        return None
    return f"needs a network without biases; {len(biased)} layers have one, first {biased[0]!r}"


NO_BIASES = Hypothesis(
    "no biases",
    _has_biases,
    facts={"no biases": eq(beta[ell], 0, LAYERS), "no new biases": eq(gamma[ell], 0, LAYERS)},
)

NO_ACCESS = "We did not have access to the full text of the paper. "
UNKNOWN = "unknown whether the paper has it"

PRODUCT_FORM = Theorem(
    number="T3",
    form="product form",
    name="layerwise bound without biases, product form",
    source="A step on the way to the mean form. " + NO_ACCESS + f"So it is {UNKNOWN}. " + OUR_PROOF,
    whose=UNKNOWN,
    statement=sp.Le(E, D * sp.Sum(delta[k] * others(r), (k, 1, L))),
    hypotheses=(LIPSCHITZ, DOMAIN, NORMS, NO_BIASES),
    tight=True,
    premises=(RECURSION, SOLVED),
)


@proof_of(PRODUCT_FORM)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """The recursion without biases, solved exactly."""
    recursion, solved = theorem.premises
    (goal,), (closed,) = theorem.goals(), solved.goals()
    return (
        recursion.applied("recursion"),
        Step("activations at first", le(s[0], D), Algebra(), uses=("s 0",)),
        Step(
            "activations",
            le(s[ell], r[ell] * s[ell - 1], LAYERS),
            Algebra(),
            uses=("s", "no biases"),
            reason="Without biases the recursion loses its last terms.",
        ),
        Step("errors at first", le(e[0], 0), Algebra(), uses=("e 0",)),
        Step(
            "errors",
            le(e[ell], r[ell] * e[ell - 1] + delta[ell] * s[ell - 1], LAYERS),
            Algebra(),
            uses=("e", "no new biases"),
        ),
        Step(
            "solved",
            le(e[L], closed.right),
            Apply(solved, {p: s, q: e}),
            uses=("activations at first", "activations", "errors at first", "errors"),
        ),
        Step("statement", goal, Algebra(), uses=("recursion", "solved")),
    )
