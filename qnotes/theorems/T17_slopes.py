"""T17, slopes: what activations with slopes κ do to the error of a layer, and to its values.

They count as activations of slope 1 after weights κ W and biases κ b: κ multiplies the norms of a
layer and of its change. What they make of zeros counts as a bias. Every other theorem about a
chain begins here, so it holds for any slopes, with r at least κ times the norm of a layer.
"""

from collections.abc import Mapping

import sympy as sp

from qnotes.theorems.axioms import ROWS, TRIANGLE, Norm
from qnotes.theorems.facts import Fact, eq, le
from qnotes.theorems.notation import LAYERS, at_zero, ell, kappa
from qnotes.theorems.rules import Algebra, ByAxiom, Replace
from qnotes.theorems.T1_decomposition import DECOMPOSITION, DIFFERENCE, S, S_q, W, W_q, b, b_q
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

#: What a layer reads, in both networks, and what it makes of it before the activation.
ERROR, READ = S[ell - 1] - S_q[ell - 1], S_q[ell - 1]
LAYER = W_q[ell] * READ + b_q[ell]
CHANGE = W[ell] - W_q[ell]


def lipschitz(norm=Norm) -> Mapping[str, Fact]:
    """How far activations bring two lists apart: of both networks, and of one and zeros."""
    return {
        "activation of the error": le(
            norm(S[ell] - S_q[ell]), kappa[ell] * norm(DIFFERENCE), LAYERS
        ),
        "activation": le(norm(S_q[ell] - at_zero[ell]), kappa[ell] * norm(LAYER), LAYERS),
    }


def errors(norm=Norm) -> sp.Le:
    """A layer carries old error on and makes new error, each at most κ times as large."""
    return sp.Le(
        norm(S[ell] - S_q[ell]),
        kappa[ell]
        * (norm(W[ell]) * norm(ERROR) + norm(CHANGE) * norm(READ) + norm(b[ell] - b_q[ell])),
        evaluate=False,
    )


def activations(norm=Norm) -> tuple[sp.Le, sp.Le]:
    """The values after a layer: κ times those before, and the activations' own at zero."""
    at_most = (
        kappa[ell] * norm(LAYER),
        kappa[ell] * (norm(W_q[ell]) * norm(READ) + norm(b_q[ell])),
    )
    return tuple(
        sp.Le(norm(S_q[ell]), value + norm(at_zero[ell]), evaluate=False) for value in at_most
    )


LIPSCHITZ = Hypothesis(
    "activations are κ-Lipschitz; κ = 1 and σ(0) = 0 for ReLU and ReLU6", facts=lipschitz()
)

SLOPES = Result(
    number="T17",
    name="slopes of activations",
    source="Classical; stated and proved here.",
    whose="classical",
    statement=errors(),
    also=activations(),
    hypotheses=(LIPSCHITZ,),
    tight=True,
    premises=(DECOMPOSITION,),
)


@proof_of(SLOPES)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Norms of the decomposition, term by term; each once more by κ."""
    return one_layer(theorem)


def one_layer(theorem: Result, norm=Norm) -> tuple[Step, ...]:
    """The facts of T17 in a norm, by T1, which is the first premise of the theorem."""
    layer = norm(W_q[ell] * READ)
    values, grown = (le(*relation.args, LAYERS) for relation in activations(norm))
    slope = kappa[ell]
    return (
        *decomposed(theorem, norm),
        Step(
            "new error", le(norm(CHANGE * READ), norm(CHANGE) * norm(READ), LAYERS), ByAxiom(ROWS)
        ),
        Step(
            "slope of the error",
            le(*errors(norm).args, LAYERS),
            Algebra((1, slope, slope, slope, slope)),
            uses=(
                "activation of the error",
                "size of the difference",
                "triangle for the difference",
                "old error",
                "new error",
            ),
            reason="Old error is carried on, new error is made; σ multiplies both by κ at most.",
        ),
        Step(
            "away from zero",
            le(norm(S_q[ell]), norm(S_q[ell] - at_zero[ell]) + norm(at_zero[ell]), LAYERS),
            ByAxiom(TRIANGLE),
        ),
        Step(
            "values",
            values,
            Algebra(),
            uses=("away from zero", "activation"),
            reason="$\\sigma(z) = \\sigma(0) + (\\sigma(z) - \\sigma(0))$.",
        ),
        Step(
            "triangle for the layer",
            le(norm(LAYER), layer + norm(b_q[ell]), LAYERS),
            ByAxiom(TRIANGLE),
        ),
        Step("old activations", le(layer, norm(W_q[ell]) * norm(READ), LAYERS), ByAxiom(ROWS)),
        Step(
            "slope of the activations",
            grown,
            Algebra((1, slope, slope)),
            uses=("values", "triangle for the layer", "old activations"),
        ),
    )


def decomposed(theorem: Result, norm=Norm, *, whole: bool = True) -> tuple[Step, ...]:
    """The size of the difference of both layers, by T1, and by the triangle inequality if whole."""
    decomposition = theorem.premises[0]
    one_layer = decomposition.goals()[0]
    parts = (W[ell] * ERROR, CHANGE * READ, b[ell] - b_q[ell])
    triangle = Step(
        "triangle for the difference",
        le(norm(one_layer.right), sp.Add(*map(norm, parts)), LAYERS),
        ByAxiom(TRIANGLE),
    )
    return (
        decomposition.applied("decomposition"),
        Step(
            "size of the difference",
            eq(norm(one_layer.left), norm(one_layer.right), LAYERS),
            Replace(),
            uses=("decomposition",),
        ),
        *([triangle] if whole else []),
        Step("old error", le(norm(parts[0]), norm(W[ell]) * norm(ERROR), LAYERS), ByAxiom(ROWS)),
    )
