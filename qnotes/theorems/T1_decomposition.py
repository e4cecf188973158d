"""T1, the exact decomposition of the error: old error carried forward, new error made.

One layer in two forms, and all layers of a linear network as a telescoping sum.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.facts import eq, supposed
from qnotes.theorems.notation import LAYERS, L, ell, k
from qnotes.theorems.rules import Algebra, Induction, Suppose
from qnotes.theorems.sums_over_layers import Descending
from qnotes.theorems.theorem import Result, Step, proof_of

W, W_q = sy.W_matrix, sy.W_matrix_q
b, b_q = sy.b_vector, sy.b_vector_q
S, S_q = sy.S_vector, sy.S_vector_q

_BEFORE = S[ell - 1] - S_q[ell - 1]
DIFFERENCE = (W[ell] * S[ell - 1] + b[ell]) - (W_q[ell] * S_q[ell - 1] + b_q[ell])

DECOMPOSITION = Result(
    number="T1",
    name="exact decomposition of the error",
    source="Classical in form; stated and proved here.",
    whose="classical",
    statement=sp.Eq(
        DIFFERENCE,
        W[ell] * _BEFORE + (W[ell] - W_q[ell]) * S_q[ell - 1] + b[ell] - b_q[ell],
        evaluate=False,
    ),
    also=(
        sp.Eq(
            DIFFERENCE,
            W_q[ell] * _BEFORE + (W[ell] - W_q[ell]) * S[ell - 1] + b[ell] - b_q[ell],
            evaluate=False,
        ),
        sp.Eq(
            Descending(W, L, sp.Integer(1)) - Descending(W_q, L, sp.Integer(1)),
            sp.Sum(
                Descending(W, L, k + 1) * (W[k] - W_q[k]) * Descending(W_q, k - 1, sp.Integer(1)),
                (k, 1, L),
            ),
            evaluate=False,
        ),
    ),
    tight=True,
)


@proof_of(DECOMPOSITION)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Expansion for one layer; induction over the number of factors for all of them."""
    first, second, telescoping = theorem.goals()
    factors = tuple(side.subs(L, ell) for side in (telescoping.left, telescoping.right))
    before = eq(*(side.subs(ell, ell - 1) for side in factors))
    return (
        Step(
            "one layer",
            first,
            Algebra(),
            reason="The product $W_\\ell S'_{\\ell-1}$ is added and taken away.",
        ),
        Step(
            "one layer, the other way round",
            second,
            Algebra(),
            reason="The same with the two networks exchanged.",
        ),
        Step(
            "fewer factors",
            supposed(before, LAYERS),
            Suppose(),
            reason="Let the sum be right for one factor less.",
        ),
        Step(
            "one factor more",
            eq(*factors, LAYERS, given=(before,)),
            Algebra((W[ell],)),
            uses=("fewer factors",),
            reason="Multiplied by $W_\\ell$ from the left; the new term is split off the sum.",
        ),
        Step(
            "no factor",
            eq(*(side.subs(ell, 0) for side in factors)),
            Algebra(),
            reason="Empty products are the identity, the empty sum is zero.",
        ),
        Step(
            "any number of factors",
            eq(*factors, (ell, 0, L)),
            Induction(),
            uses=("no factor", "one factor more"),
        ),
        Step("all factors", telescoping, Algebra(), uses=(("any number of factors", {ell: L}),)),
    )
