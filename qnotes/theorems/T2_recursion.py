"""T2, the recursion along the chain: each layer carries the old error on and adds its own.

s bounds activations and e the error, after each layer. `Recursion.evaluate` runs both in the log
domain.
"""

import sympy as sp

from qnotes.theorems.notation import D, E, L, beta, delta, e, ell, gamma, j, k, r, s
from qnotes.theorems.proof_steps import (
    Cases,
    Identity,
    Induction,
    Monotone,
    Nonnegative,
    Step,
    Unrolled,
    equation,
)
from qnotes.theorems.sums_over_layers import replaced
from qnotes.theorems.T1_decomposition import DECOMPOSITION, S, S_q, W, W_q, b, b_q
from qnotes.theorems.theorem import Hypothesis, Recursion, proof_of

LIPSCHITZ = Hypothesis("activations are 1-Lipschitz with σ(0) = 0")
OUR_PROOF = "The form and the proof are our own."

RECURSION = Recursion(
    number="T2",
    name="recursion along the chain",
    source="Classical in form; stated and proved here. " + OUR_PROOF,
    whose="classical",
    statement=sp.Le(E, e[L]),
    hypotheses=(LIPSCHITZ,),
    initial={s: D, e: sp.Integer(0)},
    steps={
        s: r[ell] * s[ell - 1] + beta[ell],
        e: r[ell] * e[ell - 1] + delta[ell] * s[ell - 1] + gamma[ell],
    },
    tight=True,
    premises=(DECOMPOSITION,),
)


@proof_of(RECURSION)
def prove(theorem: Recursion) -> tuple[Step, ...]:
    """Norms of the decomposition, term by term, give the recursion; unrolled, its closed form."""
    (decomposition,) = theorem.premises
    activations = W[ell] * S[ell - 1] + b[ell]
    carried = sp.Sum(
        (delta[k] * s[k - 1] + gamma[k]) * sp.Product(r[j], (j, k + 1, ell)), (k, 1, ell)
    )
    start, step = {e: theorem.initial[e]}, {e: theorem.steps[e]}
    return (
        _one_product(),
        Cases(
            title="new error",
            reason="In both forms of T1 each factor is replaced by its norm; σ is 1-Lipschitz.",
            pairs=tuple(
                (_norms(form.rhs), theorem.steps[e])
                for form in (decomposition.statement, decomposition.also[0])
            ),
            printed=(equation(e[ell], theorem.steps[e]),),
        ),
        Identity(
            title="activations",
            reason="The same for the activations themselves, since σ(0) = 0.",
            left=_norms(activations),
            right=theorem.steps[s],
            printed=(equation(s[ell], theorem.steps[s]),),
        ),
        Cases(
            title="start",
            reason="Both networks read the same input, and no coordinate of it exceeds D.",
            pairs=((theorem.initial[s], D), (theorem.initial[e], sp.Integer(0))),
            printed=tuple(equation(base[0], value) for base, value in theorem.initial.items()),
        ),
        Monotone(
            title="larger norms, larger bound",
            reason="No quantity enters with a minus sign, so each may be replaced by a larger one.",
            expression=theorem.steps[e],
            variables=(r[ell], delta[ell], gamma[ell], s[ell - 1], e[ell - 1]),
        ),
        Induction(
            title="unrolled",
            reason="What layer k adds is carried by all later layers.",
            initial=start,
            steps=step,
            closed={e: carried},
        ),
        Unrolled(initial=start, steps=step, quantity=e, closed=carried.subs(ell, L)),
        Identity(
            title="statement",
            reason="The output is the activation after layer L.",
            left=theorem.statement.rhs,
            right=e[L],
            printed=(theorem.statement,),
        ),
    )


def _one_product() -> Step:
    """(p+q)·M bounds w·x for w = p - q, |w| = p + q and |x| ≤ M."""
    t, u, p, q, x, row = sp.symbols("t u p q x M", nonnegative=True)
    return Nonnegative(
        title="one product",
        reason="Let $|w| = p + q$, $w = p - q$, $M - x = t$ and $M + x = u$, all four nonnegative. "
        "Then $w x \\le |w| M$. Exchanging $p$ and $q$ gives the other sign, and a sum of such "
        "terms a row.",
        larger=(p + q) * row,
        smaller=(p - q) * x,
        certificate=p * t + q * u,
        given={row: (t + u) / 2, x: (u - t) / 2},
    )


def _norms(expression: sp.Expr) -> sp.Expr:
    """The bound of a sum of products of matrices and vectors: norms for factors."""
    changes = {
        W[ell] - W_q[ell]: delta[ell],
        S[ell - 1] - S_q[ell - 1]: e[ell - 1],
        b[ell] - b_q[ell]: gamma[ell],
    }
    single = {
        W[ell]: r[ell],
        W_q[ell]: r[ell],
        S[ell - 1]: s[ell - 1],
        S_q[ell - 1]: s[ell - 1],
        b[ell]: beta[ell],
    }
    return expression.subs(changes).subs(single)


# What the proofs of P1 and P2 need: one layer of the recursion, with the values before it.

ACTIVATION = sp.Symbol("s", nonnegative=True)
ERROR = sp.Symbol("e", nonnegative=True)


def in_one_layer(step: sp.Expr) -> sp.Expr:
    """The right side of a step, with plain symbols for the values before the layer."""
    return step.subs({s[ell - 1]: ACTIVATION, e[ell - 1]: ERROR})


def with_constants(recursion: Recursion, constants) -> dict[sp.IndexedBase, sp.Expr]:
    """The right sides of T2 in one layer, with one constant for all layers."""
    return {base: in_one_layer(replaced(x, constants)) for base, x in recursion.steps.items()}
