"""P2, one norm for all layers: the largest layer norm r, the widest feature map W.

In T2 activations grow like r^ℓ (D + ℓ), and layer ℓ adds an error of at most W ε times that. The
sum over layers makes the bound quadratic in depth. Earlier work.
"""

import sympy as sp

from qnotes.theorems.notation import D, E, L, W, beta, delta, e, ell, eps, gamma, k, r, r_max, s
from qnotes.theorems.proof_steps import (
    ClosedSum,
    Identity,
    Induction,
    Nonnegative,
    Step,
    Unrolled,
    equation,
)
from qnotes.theorems.T2_recursion import ACTIVATION, ERROR, LIPSCHITZ, RECURSION, with_constants
from qnotes.theorems.theorem import Hypothesis, Theorem, proof_of

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
        Hypothesis("every layer norm and absolute bias is at most r, and r ≥ 1"),
    ),
    tight=True,  # for rows of one weight, with biases
    premises=(RECURSION,),
)


@proof_of(UNIFORM_NORM)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """T2 with one norm r ≥ 1: activations grow like r^ℓ (D + ℓ); the sum over layers is closed."""
    (recursion,) = theorem.premises
    x, y, z = sp.symbols("x y z", nonnegative=True)  # slack: r = 1 + x says that r ≥ 1
    exact = with_constants(recursion, {r: r_max, beta: r_max, delta: W * eps, gamma: eps})
    activations = r_max**ell * (D + ell)
    added = W * eps * r_max ** (ell - 1) * (D + ell)
    steps = {e: r_max * e[ell - 1] + added}
    initial = {e: sp.Integer(0)}
    total = L * D + L * (L + 1) / 2
    closed = W * eps * r_max ** (ell - 1) * total.subs(L, ell)
    power = sp.Symbol("P", positive=True)  # r^(ℓ-1)
    at_previous = {ACTIVATION: power * (D + ell - 1)}
    return (
        Nonnegative(
            title="powers of r",
            reason="As $r \\ge 1$, every power is at least 1: if $P$ is one, the next is $r P$.",
            larger=r_max * power,
            smaller=sp.Integer(1),
            certificate=sp.expand((1 + x) * (1 + y) - 1),
            given={r_max: 1 + x, power: 1 + y},
        ),
        Nonnegative(
            title="activations",
            reason="By induction $s_\\ell \\le r^\\ell (D + \\ell)$; $P = r^{\\ell-1} \\ge 1$.",
            larger=r_max * power * (D + ell),
            smaller=exact[s].subs(at_previous),
            certificate=r_max * y,
            given={power: 1 + y},
        ),
        Identity(
            title="activations, start",
            reason="Before the first layer the bound is the radius of the domain.",
            left=activations.subs(ell, 0),
            right=recursion.initial[s],
            printed=(equation(s[0], activations.subs(ell, 0)),),
        ),
        Nonnegative(
            title="errors",
            reason="A row of changes is at most W ε, and a bias changes by at most ε ≤ W ε.",
            larger=r_max * ERROR + W * eps * power * (D + ell),
            smaller=exact[e].subs(at_previous),
            certificate=sp.expand(eps * ((1 + z) * (1 + y) - 1)),
            given={power: 1 + y, W: 1 + z},
        ),
        Induction(
            title="closed form",
            reason="The larger recursion has an exact solution.",
            initial=initial,
            steps=steps,
            closed={e: closed},
        ),
        Unrolled(initial=initial, steps=steps, quantity=e, closed=closed.subs(ell, L)),
        ClosedSum(
            title="the sum over layers",
            reason="The solution contains this sum.",
            total=sp.Sum(D + k, (k, 1, L)),
            closed=total,
        ),
        Nonnegative(
            title="statement",
            reason="With D ≤ max(D, 1) and 1 ≤ max(D, 1); nothing else is lost.",
            larger=theorem.statement.rhs,
            smaller=closed.subs(ell, L),
            certificate=W * eps * r_max ** (L - 1) * (L * x + L * (L + 1) / 2 * y),
            given={sp.Max(D, 1): 1 + y, D: 1 + y - x},
        ),
    )
