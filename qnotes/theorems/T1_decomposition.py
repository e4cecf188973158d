"""T1, the exact decomposition of the error: old error carried forward, new error made.

One layer in two forms, and all layers of a linear network as a telescoping sum.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.notation import L, ell, k
from qnotes.theorems.proof_steps import (
    DEPTHS,
    Cases,
    Identity,
    Step,
    StepError,
    Verified,
    equation,
    must_vanish,
)
from qnotes.theorems.sums_over_layers import Descending, pulled_out, written_out
from qnotes.theorems.theorem import Result, proof_of

W, W_q = sy.W_matrix, sy.W_matrix_q
b, b_q = sy.b_vector, sy.b_vector_q
S, S_q = sy.S_vector, sy.S_vector_q

_BEFORE = S[ell - 1] - S_q[ell - 1]
_DIFFERENCE = (W[ell] * S[ell - 1] + b[ell]) - (W_q[ell] * S_q[ell - 1] + b_q[ell])

DECOMPOSITION = Result(
    number="T1",
    name="exact decomposition of the error",
    source="Classical in form; stated and proved here.",
    whose="classical",
    statement=equation(
        _DIFFERENCE,
        W[ell] * _BEFORE + (W[ell] - W_q[ell]) * S_q[ell - 1] + b[ell] - b_q[ell],
    ),
    also=(
        equation(
            _DIFFERENCE,
            W_q[ell] * _BEFORE + (W[ell] - W_q[ell]) * S[ell - 1] + b[ell] - b_q[ell],
        ),
        equation(
            Descending(W, L, sp.Integer(1)) - Descending(W_q, L, sp.Integer(1)),
            sp.Sum(
                Descending(W, L, k + 1) * (W[k] - W_q[k]) * Descending(W_q, k - 1, sp.Integer(1)),
                (k, 1, L),
            ),
        ),
    ),
    tight=True,
)


@proof_of(DECOMPOSITION)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Expansion for one layer; for all layers of a linear network, induction and writing out."""
    (second, telescoping) = theorem.also
    return (
        Identity(
            title="one layer",
            reason="The weights W' S are added and taken away; matrices are not exchanged.",
            left=_DIFFERENCE,
            right=theorem.statement.rhs,
        ),
        Identity(
            title="one layer, the other way round",
            reason="The same with the two networks exchanged.",
            left=_DIFFERENCE,
            right=second.rhs,
        ),
        Verified(
            title="one factor more",
            reason="If the identity holds for L factors, multiplying by one more keeps it.",
            printed=(_ONE_MORE,),
            checked=lambda: _check_induction(telescoping.rhs),
        ),
        Cases(
            title="written out",
            reason="For 1 to 6 factors both sides are expanded, in the order of the factors.",
            pairs=tuple(
                (written_out(telescoping.lhs, m), written_out(telescoping.rhs, m)) for m in DEPTHS
            ),
        ),
    )


_A, _B, _PA, _PB = sp.symbols("A B P_A P_B", commutative=False)
_ONE_MORE = equation(_A * _PA - _B * _PB, _A * (_PA - _PB) + (_A - _B) * _PB)


def _check_induction(total: sp.Expr) -> None:
    """The sum for ℓ factors is factor ℓ times the sum for ℓ-1 factors, plus the new term."""
    must_vanish(_ONE_MORE.lhs - _ONE_MORE.rhs)
    if not isinstance(total, sp.Sum) or total.limits != (sp.Tuple(k, 1, L),):
        raise StepError(f"expected a sum over all layers, got {total}")
    at_last = _without_empty(total.function.subs(k, L))
    new = (W[L] - W_q[L]) * Descending(W_q, L - 1, sp.Integer(1))
    must_vanish(at_last - new)
    before = total.function.subs(L, L - 1)
    must_vanish(_peel_left(total.function) - W[L] * before)


def _without_empty(expression: sp.Expr) -> sp.Expr:
    return expression.replace(
        lambda part: isinstance(part, Descending) and part.args[1] - part.args[2] == -1,
        lambda part: sp.Integer(1),
    )


def _peel_left(expression: sp.Expr) -> sp.Expr:
    """base[L] ··· base[k+1] = base[L] · (base[L-1] ··· base[k+1]) for k < L."""

    def peel(part):
        base, top, bottom = part.args
        return base[top] * Descending(base, top - 1, bottom)

    return pulled_out(
        expression.replace(
            lambda part: isinstance(part, Descending) and part.args[1:] == (L, k + 1), peel
        )
    )
