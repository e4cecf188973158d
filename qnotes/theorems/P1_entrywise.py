"""P1, the entrywise bound: one number bounds every weight and bias, another every change.

A row of the widest layer has `W_chain` entries and a bias, each at most R. So a layer multiplies
activations and errors by at most (W_chain + 1) R, and all layers count as this one. Earlier work.
"""

import sympy as sp

from qnotes.theorems.notation import D, E, L, R, W_chain, beta, delta, e, ell, eps, gamma, r, s
from qnotes.theorems.proof_steps import Induction, Nonnegative, Step, Unrolled
from qnotes.theorems.T2_recursion import (
    ACTIVATION,
    ERROR,
    LIPSCHITZ,
    RECURSION,
    in_one_layer,
    with_constants,
)
from qnotes.theorems.theorem import Hypothesis, Theorem, proof_of

ENTRYWISE = Theorem(
    number="P1",
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
)


@proof_of(ENTRYWISE)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """Every row has at most W entries of at most R, and one bias."""
    (recursion,) = theorem.premises
    t, x, y = sp.symbols("t x y", nonnegative=True)  # slack: s = 1 + t says that s ≥ 1
    entries = {r: W_chain * R, beta: R, delta: W_chain * eps, gamma: eps}
    exact = with_constants(recursion, entries)
    start, grown = sp.Max(D, 1), (W_chain + 1) * R
    steps = {s: grown * s[ell - 1], e: grown * e[ell - 1] + (W_chain + 1) * eps * s[ell - 1]}
    larger = {base: in_one_layer(step) for base, step in steps.items()}
    initial = {s: start, e: sp.Integer(0)}
    closed = {s: start * grown**ell, e: theorem.statement.rhs.subs(L, ell)}
    return (
        Nonnegative(
            title="start",
            reason="max(D, 1) is at least D and at least 1.",
            larger=2 * start,
            smaller=D + 1,
            certificate=x + y,
            given={start: 1 + y, D: 1 + y - x},
        ),
        Nonnegative(
            title="the bias joins the row, activations",
            reason="Bounds of activations start at max(D, 1) ≥ 1, and so the bias counts as one "
            "entry more.",
            larger=larger[s],
            smaller=exact[s],
            certificate=R * t,
            given={ACTIVATION: 1 + t},
        ),
        Nonnegative(
            title="they stay at least 1",
            reason="Since R ≥ 1, the next bound is at least 1 again.",
            larger=larger[s],
            smaller=sp.Integer(1),
            certificate=sp.expand((W_chain + 1) * (1 + x) * (1 + t) - 1),
            given={ACTIVATION: 1 + t, R: 1 + x},
        ),
        Nonnegative(
            title="the bias joins the row, errors",
            reason="The same for the errors.",
            larger=larger[e],
            smaller=exact[e],
            certificate=R * ERROR + eps * t,
            given={ACTIVATION: 1 + t},
        ),
        Induction(
            title="closed form",
            reason="The larger recursion has an exact solution: each layer adds the same term.",
            initial=initial,
            steps=steps,
            closed=closed,
        ),
        Unrolled(initial=initial, steps=steps, quantity=e, closed=theorem.statement.rhs),
    )
