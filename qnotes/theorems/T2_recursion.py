"""T2, the recursion along the chain: each layer carries the old error on and adds its own.

s bounds activations and e the error, after each layer. `Recursion.evaluate` runs both in the log
domain. T11 is the same in another norm.
"""

from collections.abc import Mapping

import sympy as sp

from qnotes.theorems.axioms import Norm
from qnotes.theorems.facts import Fact, eq, le
from qnotes.theorems.notation import (
    LAYERS,
    D,
    E,
    L,
    at_zero,
    beta,
    delta,
    e,
    ell,
    gamma,
    kappa,
    r,
    s,
)
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra
from qnotes.theorems.T1_decomposition import S, S_q, W, W_q, b, b_q
from qnotes.theorems.T17_slopes import ERROR, LIPSCHITZ, READ, SLOPES
from qnotes.theorems.theorem import Hypothesis, Recursion, Step, proof_of

OUR_PROOF = "The form and the proof are our own."


def inputs(radius: sp.Expr, norm=Norm) -> Mapping[str, Fact]:
    """Both networks read the same input."""
    return {"input": le(norm(S_q[0]), radius), "same input": eq(norm(S[0] - S_q[0]), 0)}


def sizes(growth, change, bias, bias_change, norm=Norm) -> Mapping[str, Fact]:
    """What four families of numbers bound: norms of layers, κ times."""
    slope, constant = kappa[ell], norm(at_zero[ell])
    return {
        "norm": le(slope * norm(W[ell]), growth[ell], LAYERS),
        "quantized norm": le(slope * norm(W_q[ell]), growth[ell], LAYERS),
        "change": le(slope * norm(W[ell] - W_q[ell]), change[ell], LAYERS),
        "bias": le(slope * norm(b_q[ell]) + constant, bias[ell], LAYERS),
        "bias change": le(slope * norm(b[ell] - b_q[ell]), bias_change[ell], LAYERS),
    }


WORST = {"worst input": eq(E, Norm(S[L] - S_q[L]))}
DOMAIN = Hypothesis(
    "both networks read the same input, no coordinate of it above D; E is the largest error, "
    "S and S' the activations at an input where it occurs",
    facts={**inputs(D), **WORST},
)
NORMS = Hypothesis(
    "r is at least κ times the norm of a layer in both networks; δ, β and γ are at least κ times "
    "the norms of the change of the weights, of the biases, and of their change; β with σ(0)",
    facts=sizes(r, delta, beta, gamma),
)

RECURSION = Recursion(
    number="T2",
    name="recursion along the chain",
    source="Classical in form; stated and proved here. " + OUR_PROOF,
    whose="classical",
    statement=sp.Le(E, e[L]),
    hypotheses=(LIPSCHITZ, DOMAIN, NORMS),
    initial={s: D, e: sp.Integer(0)},
    steps={
        s: r[ell] * s[ell - 1] + beta[ell],
        e: r[ell] * e[ell - 1] + delta[ell] * s[ell - 1] + gamma[ell],
    },
    tight=True,
    premises=(SLOPES,),
)


@proof_of(RECURSION)
def prove(theorem: Recursion) -> tuple[Step, ...]:
    """Norms of the decomposition, term by term; then induction over the layers, twice."""
    (goal,), (slopes,) = theorem.goals(), theorem.premises
    return (
        slopes.applied("slope of the error"),
        slopes.applied("slope of the activations", 2),
        *along_the_chain((r, delta, beta, gamma), s, e),
        Step(
            "statement",
            goal,
            Algebra(),
            uses=("worst input", ("errors", {ell: L})),
            reason="The output is the activation after layer L.",
        ),
    )


def along_the_chain(families, activations, errors, norm=Norm) -> tuple[Step, ...]:
    """‖S'_ℓ‖ ≤ s_ℓ and ‖Δ_ℓ‖ ≤ e_ℓ, for a norm and the families of numbers that belong to it."""
    growth, change, bias, bias_change = (family[ell] for family in families)
    made = growth * norm(ERROR) + change * norm(READ) + bias_change
    first = {base: f"{base.name.removesuffix('_layer')} 0" for base in (activations, errors)}
    return (
        Step(
            "activations in a layer",
            le(norm(S_q[ell]), growth * norm(READ) + bias, LAYERS),
            Algebra((1, norm(READ), 1)),
            uses=("slope of the activations", "quantized norm", "bias"),
        ),
        Step(
            "error in a layer",
            le(norm(S[ell] - S_q[ell]), made, LAYERS),
            Algebra((1, norm(ERROR), norm(READ), 1)),
            uses=("slope of the error", "norm", "change", "bias change"),
        ),
        *_induction(
            "activations",
            S_q,
            activations,
            step="activations in a layer",
            weights=(1, growth, 1),
            more=(),
            start=("input", first[activations]),
            norm=norm,
        ),
        Step(
            "no error at first",
            eq(norm(S[0] - S_q[0]), errors[0]),
            Algebra((1, -1)),
            uses=("same input", first[errors]),
        ),
        *_induction(
            "errors",
            {ell: S[ell] - S_q[ell], ell - 1: ERROR, 0: S[0] - S_q[0]},
            errors,
            step="error in a layer",
            weights=(1, growth, change, 1),
            more=(("activations", {ell: ell - 1}),),
            start=("no error at first",),
            norm=norm,
        ),
    )


def _induction(name, vector, bound, *, step, weights, more, start, norm) -> tuple[Step, ...]:
    """‖vector_ℓ‖ ≤ bound_ℓ for all layers, from what a layer does."""
    return over_layers(
        name,
        lambda at: norm(vector[at]),
        bound[ell],
        layer=Algebra((*weights[:-1], -1)),
        uses=(step, f"{name} before", *more, bound.name.removesuffix("_layer")),
        first=Algebra((1, -1)[: len(start)]),
        start=start,
        reasons=("Let it be so before a layer.", "Then it is so after it.", ""),
    )
