"""T3, the layerwise bound without biases, product form: T2 solved exactly.

The change of layer k is multiplied by the norms of all other layers; the bound is the sum over k.
"""

import sympy as sp

from qnotes.theorems.notation import D, E, L, beta, delta, e, ell, gamma, j, k, r, s
from qnotes.theorems.proof_steps import Cases, Induction, Step, Unrolled, equation
from qnotes.theorems.sums_over_layers import replaced
from qnotes.theorems.T2_recursion import LIPSCHITZ, OUR_PROOF, RECURSION
from qnotes.theorems.theorem import Hypothesis, Theorem, proof_of


def _has_biases(profile) -> str | None:
    biased = [x.name for x in profile.layers if x.bias_norm > 0 or x.bias_gap > 0]
    if not biased:
        return None
    return f"needs a network without biases; {len(biased)} layers have one, first {biased[0]!r}"


NO_BIASES = Hypothesis("no biases", _has_biases)

NO_ACCESS = "We did not have access to the full text of the paper. "
UNKNOWN = "unknown whether the paper has it"


def others(norm: sp.IndexedBase) -> sp.Expr:
    """The product of all norms but that of layer k."""
    return sp.Product(norm[j], (j, 1, k - 1)) * sp.Product(norm[j], (j, k + 1, L))


PRODUCT_FORM = Theorem(
    number="T3",
    form="product form",
    name="layerwise bound without biases, product form",
    source="A step on the way to the mean form. " + NO_ACCESS + f"So it is {UNKNOWN}. " + OUR_PROOF,
    whose=UNKNOWN,
    statement=sp.Le(E, D * sp.Sum(delta[k] * others(r), (k, 1, L))),
    hypotheses=(LIPSCHITZ, NO_BIASES),
    tight=True,
    premises=(RECURSION,),
)


@proof_of(PRODUCT_FORM)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """The recursion without biases, solved exactly."""
    (recursion,) = theorem.premises
    initial = recursion.initial
    steps = {b: replaced(step, {beta: 0, gamma: 0}) for b, step in recursion.steps.items()}
    closed = {
        s: D * sp.Product(r[j], (j, 1, ell)),
        e: theorem.statement.rhs.subs(L, ell),
    }
    return (
        Cases(
            title="no biases",
            reason="With β = 0 and γ = 0 the recursion T2 loses its last terms.",
            pairs=(
                (steps[s], r[ell] * s[ell - 1]),
                (steps[e], r[ell] * e[ell - 1] + delta[ell] * s[ell - 1]),
            ),
            printed=tuple(equation(base[ell], step) for base, step in steps.items()),
        ),
        Induction(
            title="closed form",
            reason="Both running quantities are sums and products over the layers so far.",
            initial=initial,
            steps=steps,
            closed=closed,
        ),
        Unrolled(initial=initial, steps=steps, quantity=e, closed=theorem.statement.rhs),
    )
