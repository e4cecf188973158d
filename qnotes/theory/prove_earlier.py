"""Proofs of P1, P2 and P3: the recursion with one constant for all layers."""

from __future__ import annotations

import sympy as sp

from qnotes.theory.layers import replaced
from qnotes.theory.proof import (
    ClosedSum,
    Identity,
    Induction,
    Nonnegative,
    Step,
    Unrolled,
    equation,
)
from qnotes.theory.symbols import (
    D,
    L,
    R,
    W,
    W_chain,
    beta,
    delta,
    e,
    ell,
    eps,
    eps_layer,
    gamma,
    k,
    n_joint,
    r,
    r_joint,
    r_joint_max,
    r_max,
    s,
)

# Slack of the hypotheses: s = 1 + t says that s ≥ 1, and so on.
t, x, y, z = sp.symbols("t x y z", nonnegative=True)
before = sp.Symbol("s", nonnegative=True)
error = sp.Symbol("e", nonnegative=True)
m = sp.Symbol("m", integer=True, positive=True)
START = sp.Max(D, 1)


# ------------------------------------------------------------------------------------------ P1


def prove_entrywise(theorem) -> tuple[Step, ...]:
    """Every row has at most W entries of at most R, and one bias."""
    (recursion,) = theorem.premises
    entries = {r: W_chain * R, beta: R, delta: W_chain * eps, gamma: eps}
    exact = _with_symbols(recursion, entries)
    grown = (W_chain + 1) * R
    steps = {s: grown * s[ell - 1], e: grown * e[ell - 1] + (W_chain + 1) * eps * s[ell - 1]}
    initial = {s: START, e: sp.Integer(0)}
    closed = {s: START * grown**ell, e: theorem.statement.rhs.subs(L, ell)}
    return (
        _start(),
        Nonnegative(
            title="the bias joins the row, activations",
            reason="Bounds of activations start at max(D, 1) ≥ 1, and so the bias counts as one "
            "entry more.",
            larger=_at_layer(steps[s]),
            smaller=exact[s],
            certificate=R * t,
            given={before: 1 + t},
        ),
        Nonnegative(
            title="they stay at least 1",
            reason="Since R ≥ 1, the next bound is at least 1 again.",
            larger=_at_layer(steps[s]),
            smaller=sp.Integer(1),
            certificate=sp.expand((W_chain + 1) * (1 + x) * (1 + t) - 1),
            given={before: 1 + t, R: 1 + x},
        ),
        Nonnegative(
            title="the bias joins the row, errors",
            reason="The same for the errors.",
            larger=_at_layer(steps[e]),
            smaller=exact[e],
            certificate=R * error + eps * t,
            given={before: 1 + t},
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


# ------------------------------------------------------------------------------------------ P2


def prove_uniform_norm(theorem) -> tuple[Step, ...]:
    """T2 with one norm r ≥ 1: activations grow like r^ℓ (D + ℓ); the sum over layers is closed."""
    (recursion,) = theorem.premises
    exact = _with_symbols(recursion, {r: r_max, beta: r_max, delta: W * eps, gamma: eps})
    activations = r_max**ell * (D + ell)
    added = W * eps * r_max ** (ell - 1) * (D + ell)
    steps = {e: r_max * e[ell - 1] + added}
    initial = {e: sp.Integer(0)}
    total = L * D + L * (L + 1) / 2
    closed = W * eps * r_max ** (ell - 1) * total.subs(L, ell)
    power = sp.Symbol("P", positive=True)  # r^(ℓ-1)
    at_previous = {before: power * (D + ell - 1)}
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
            larger=r_max * error + W * eps * power * (D + ell),
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
            given={START: 1 + y, D: 1 + y - x},
        ),
    )


# ------------------------------------------------------------------------------------------ P3


def prove_path_metric(theorem) -> tuple[Step, ...]:
    """T5 with one norm and one fan-in for all layers, and room to spare."""
    (product_form,) = theorem.premises
    uniform = {r_joint: r_joint_max, eps_layer: eps, n_joint: W**2}
    return (
        Nonnegative(
            title="fan-in",
            reason="A row reads at most W weights and a bias, and W ≥ 2.",
            larger=W**2,
            smaller=W + 1,
            certificate=1 + 3 * t + t**2,
            given={W: 2 + t},
        ),
        Nonnegative(
            title="norms and gaps",
            reason="The largest norm and the largest gap serve for all layers; the product form "
            "never falls when one of its quantities grows.",
            larger=r_joint_max * eps,
            smaller=r_joint[k] * eps_layer[k],
            certificate=sp.expand((r_joint[k] + x) * (eps_layer[k] + y))
            - r_joint[k] * eps_layer[k],
            given={r_joint_max: r_joint[k] + x, eps: eps_layer[k] + y},
        ),
        Identity(
            title="statement",
            reason="All L terms of the sum are then equal.",
            left=_evaluated(replaced(product_form.statement.rhs, uniform)),
            right=theorem.statement.rhs,
        ),
    )


# -------------------------------------------------------------------------------------- shared


def _start() -> Step:
    return Nonnegative(
        title="start",
        reason="max(D, 1) is at least D and at least 1.",
        larger=2 * START,
        smaller=D + 1,
        certificate=x + y,
        given={START: 1 + y, D: 1 + y - x},
    )


def _at_layer(step: sp.Expr) -> sp.Expr:
    return step.subs({s[ell - 1]: before, e[ell - 1]: error})


def _with_symbols(recursion, constants) -> dict[sp.IndexedBase, sp.Expr]:
    """The right sides of T2 with one constant for all layers, s and e for the values before."""
    return {b: _at_layer(replaced(step, constants)) for b, step in recursion.steps.items()}


def _evaluated(expression: sp.Expr) -> sp.Expr:
    return expression.replace(
        lambda part: isinstance(part, sp.Sum | sp.Product), lambda part: part.doit()
    )
