"""T2, the recursion along the chain: each layer carries the old error on and adds its own.

s bounds activations and e the error, after each layer. `Recursion.evaluate` runs both in the log
domain. T11 is the same in another norm.
"""

from collections.abc import Mapping

import sympy as sp

from qnotes.theorems.axioms import ROWS, TRIANGLE, Norm
from qnotes.theorems.facts import Fact, eq, le
from qnotes.theorems.notation import LAYERS, D, E, L, beta, delta, e, ell, gamma, r, s
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, Apply, ByAxiom, Replace
from qnotes.theorems.T1_decomposition import DECOMPOSITION, DIFFERENCE, S, S_q, W, W_q, b, b_q
from qnotes.theorems.theorem import Hypothesis, Recursion, Result, Step, proof_of

OUR_PROOF = "The form and the proof are our own."
LIPSCHITZ_TEXT = "activations are 1-Lipschitz with σ(0) = 0"
#: What a layer reads, in both networks.
ERROR, READ = S[ell - 1] - S_q[ell - 1], S_q[ell - 1]


def lipschitz(norm=Norm) -> Mapping[str, Fact]:
    """What activations do to the error, and to the activations of the quantized network."""
    layer = W_q[ell] * READ + b_q[ell]
    return {
        "activation of the error": le(norm(S[ell] - S_q[ell]), norm(DIFFERENCE), LAYERS),
        "activation": le(norm(S_q[ell]), norm(layer), LAYERS),
    }


def inputs(radius: sp.Expr, norm=Norm) -> Mapping[str, Fact]:
    """Both networks read the same input."""
    return {
        "input": le(norm(S_q[0]), radius),
        "same input": eq(norm(S[0] - S_q[0]), 0),
    }


def sizes(growth, change, bias, bias_change, norm=Norm) -> Mapping[str, Fact]:
    """What four families of numbers bound."""
    return {
        "norm": le(norm(W[ell]), growth[ell], LAYERS),
        "quantized norm": le(norm(W_q[ell]), growth[ell], LAYERS),
        "change": le(norm(W[ell] - W_q[ell]), change[ell], LAYERS),
        "bias": le(norm(b_q[ell]), bias[ell], LAYERS),
        "bias change": le(norm(b[ell] - b_q[ell]), bias_change[ell], LAYERS),
    }


WORST = {"worst input": eq(E, Norm(S[L] - S_q[L]))}
LIPSCHITZ = Hypothesis(LIPSCHITZ_TEXT, facts=lipschitz())
DOMAIN = Hypothesis(
    "both networks read the same input, no coordinate of it above D; E is the largest error, "
    "S and S' the activations at an input where it occurs",
    facts={**inputs(D), **WORST},
)
NORMS = Hypothesis(
    "r is at least the norm of a layer in both networks; δ, β and γ are at least the norms of the "
    "change of the weights, of the biases, and of their change",
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
    premises=(DECOMPOSITION,),
)


@proof_of(RECURSION)
def prove(theorem: Recursion) -> tuple[Step, ...]:
    """Norms of the decomposition, term by term; then induction over the layers, twice."""
    (goal,) = theorem.goals()
    return (
        *along_the_chain(theorem, r, delta, beta, gamma, s, e),
        Step(
            name="statement",
            fact=goal,
            rule=Algebra(),
            uses=("worst input", ("errors", {ell: L})),
            reason="The output is the activation after layer L.",
        ),
    )


def along_the_chain(
    theorem: Result, growth, change, bias, bias_change, activations, errors, norm=Norm
) -> tuple[Step, ...]:
    """‖S'_ℓ‖ ≤ s_ℓ and ‖Δ_ℓ‖ ≤ e_ℓ, for a norm and the families of numbers that belong to it."""
    layer = W_q[ell] * READ + b_q[ell]
    grown = le(norm(S_q[ell]), growth[ell] * norm(READ) + bias[ell], LAYERS)
    made = growth[ell] * norm(ERROR) + change[ell] * norm(READ) + bias_change[ell]
    names = {base: base.name.removesuffix("_layer") for base in (activations, errors)}
    return (
        *decomposed(theorem, norm),
        Step(
            name="triangle for the layer",
            fact=le(norm(layer), norm(W_q[ell] * READ) + norm(b_q[ell]), LAYERS),
            rule=ByAxiom(TRIANGLE),
        ),
        Step(
            name="old activations",
            fact=le(norm(W_q[ell] * READ), norm(W_q[ell]) * norm(READ), LAYERS),
            rule=ByAxiom(ROWS),
        ),
        Step(
            name="activations in a layer",
            fact=grown,
            rule=Algebra((1, 1, 1, norm(READ), 1)),
            uses=(
                "activation",
                "triangle for the layer",
                "old activations",
                "quantized norm",
                "bias",
            ),
            reason="σ(0) = 0 and slopes of at most 1 make no entry larger.",
        ),
        Step(
            name="new error",
            fact=le(norm((W[ell] - W_q[ell]) * READ), norm(W[ell] - W_q[ell]) * norm(READ), LAYERS),
            rule=ByAxiom(ROWS),
        ),
        Step(
            name="error in a layer",
            fact=le(norm(S[ell] - S_q[ell]), made, LAYERS),
            rule=Algebra((1, 1, 1, 1, 1, norm(ERROR), norm(READ), 1)),
            uses=(
                "activation of the error",
                "size of the difference",
                "triangle for the difference",
                "old error",
                "new error",
                "norm",
                "change",
                "bias change",
            ),
            reason="Old error is carried on, new error is made; σ is 1-Lipschitz.",
        ),
        *_induction(
            "activations",
            S_q,
            activations,
            step="activations in a layer",
            weights=(1, growth[ell], 1),
            more=(),
            start=("input", f"{names[activations]} 0"),
            norm=norm,
        ),
        Step(
            name="no error at first",
            fact=eq(norm(S[0] - S_q[0]), errors[0]),
            rule=Algebra((1, -1)),
            uses=("same input", f"{names[errors]} 0"),
        ),
        *_induction(
            "errors",
            {ell: S[ell] - S_q[ell], ell - 1: ERROR, 0: S[0] - S_q[0]},
            errors,
            step="error in a layer",
            weights=(1, growth[ell], change[ell], 1),
            more=(("activations", {ell: ell - 1}),),
            start=("no error at first",),
            norm=norm,
        ),
    )


def decomposed(theorem: Result, norm=Norm, *, whole: bool = True) -> tuple[Step, ...]:
    """The size of the difference of both layers, by T1, and by the triangle inequality if whole."""
    decomposition = theorem.premises[0]
    one_layer = decomposition.goals()[0]
    parts = (W[ell] * ERROR, (W[ell] - W_q[ell]) * READ, b[ell] - b_q[ell])
    triangle = Step(
        name="triangle for the difference",
        fact=le(norm(one_layer.right), sp.Add(*map(norm, parts)), LAYERS),
        rule=ByAxiom(TRIANGLE),
    )
    return (
        Step(name="decomposition", fact=one_layer, rule=Apply(decomposition)),
        Step(
            name="size of the difference",
            fact=eq(norm(one_layer.left), norm(one_layer.right), LAYERS),
            rule=Replace(),
            uses=("decomposition",),
        ),
        *([triangle] if whole else []),
        Step(
            name="old error",
            fact=le(norm(parts[0]), norm(W[ell]) * norm(ERROR), LAYERS),
            rule=ByAxiom(ROWS),
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
