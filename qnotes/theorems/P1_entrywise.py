"""P1, the entrywise bound: one number bounds every weight and bias, another every change.

A row of the widest layer has `W_chain` entries and a bias, each at most R. So a layer multiplies
activations and errors by at most (W_chain + 1) R, and all layers count as this one. Earlier work.
"""

import sympy as sp

from qnotes.theorems.facts import ge, le
from qnotes.theorems.notation import (
    LAYERS,
    D,
    E,
    L,
    R,
    W_chain,
    beta,
    c,
    delta,
    e,
    ell,
    eps,
    gamma,
    i,
    r,
    s,
    w,
)
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, Largest, Replace
from qnotes.theorems.solved_recursion import row_of_changes
from qnotes.theorems.T2_recursion import DOMAIN, NORMS, RECURSION
from qnotes.theorems.T17_slopes import LIPSCHITZ
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of

ENTRIES = (i, sp.S.One, W_chain)

ENTRYWISE = Theorem(
    number="P1",
    name="entrywise bound",
    source="Form of Berner, Grohs and Jentzen (2020); the proof here is our own.",
    whose="earlier work",
    statement=sp.Le(E, sp.Max(D, 1) * L * (W_chain + 1) ** L * R ** (L - 1) * eps),
    hypotheses=(
        LIPSCHITZ,
        DOMAIN,
        NORMS,
        Hypothesis(
            "every weight and bias of both networks, κ times, is at most R, a bias with σ(0), and "
            "R ≥ 1; a row of the chain has at most $W_{\\mathrm{chain}}$ weights, and κ times no "
            "change of a weight or bias is above ε",
            facts={
                "row": le(r[ell], sp.Sum(w[ell, i], ENTRIES), LAYERS),
                "row entries": le(w[ell, i], R, LAYERS, ENTRIES),
                "changes": le(delta[ell], sp.Sum(c[ell, i], ENTRIES), LAYERS),
                "changes entries": le(c[ell, i], eps, LAYERS, ENTRIES),
                "biases": le(beta[ell], R, LAYERS),
                "bias changes": le(gamma[ell], eps, LAYERS),
                "at least one": ge(R, 1),
            },
        ),
    ),
    tight=True,  # for equal weights in ever wider rows
    premises=(RECURSION,),
)


@proof_of(ENTRYWISE)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """Every row has at most W entries of at most R, and one bias; the rest is induction."""
    (recursion,), (goal,) = theorem.premises, theorem.goals()
    start = sp.Max(D, 1)
    activations = start * (W_chain + 1) ** ell * R**ell
    errors = start * ell * (W_chain + 1) ** ell * R ** (ell - 1) * eps
    return (
        recursion.applied("recursion"),
        *row_of_changes(r[ell], lambda at: w[ell, at], W_chain, R, name="row", each=(LAYERS,)),
        *row_of_changes(
            delta[ell], lambda at: c[ell, at], W_chain, eps, name="changes", each=(LAYERS,)
        ),
        Step("D or 1", le(D, start), Largest()),
        Step("1 or D", ge(start, 1), Largest()),
        Step("an entry more", ge(W_chain + 1, 1), Algebra(gives_away=True)),
        Step(
            "at least one, always",
            ge(activations, 1, (ell, 0, L)),
            Replace(),
            uses=("1 or D", "an entry more", "at least one"),
            reason="The bounds of activations are at least 1, so a bias counts as an entry more.",
        ),
        *over_layers(
            "activations",
            lambda at: s[at],
            activations,
            layer=Algebra((1, s[ell - 1], W_chain * R, 1, R)),
            uses=(
                "s",
                "row at most",
                "activations before",
                "biases",
                ("at least one, always", {ell: ell - 1}),
            ),
            start=("s 0", "D or 1"),
        ),
        *over_layers(
            "errors",
            lambda at: e[at],
            errors,
            layer=Algebra(
                (1, e[ell - 1], W_chain * R, s[ell - 1], W_chain * eps, 1, eps), gives_away=True
            ),
            uses=(
                "e",
                "row at most",
                "errors before",
                "changes at most",
                ("activations", {ell: ell - 1}),
                "bias changes",
                ("at least one, always", {ell: ell - 1}),
            ),
            start=("e 0",),
            reasons=("", "The bias joins the row.", ""),
        ),
        Step("statement", goal, Algebra(), uses=("recursion", ("errors", {ell: L}))),
    )
