"""T8, the vector form: a bound on the error of each unit, not of each layer.

v bounds the activations of the quantized network and u the error, unit by unit; both travel
through the absolute weights. `qnotes.propagation` computes it on the graph of a network, with one
number for each channel.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.axioms import ENTRIES, TRIANGLE, Size
from qnotes.theorems.facts import eq, le
from qnotes.theorems.notation import LAYERS, D, N, at_zero, ell, growth, i, j, kappa, u, v
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, ByAxiom, Replace
from qnotes.theorems.T1_decomposition import DECOMPOSITION, DIFFERENCE, S, S_q, W, W_q, b, b_q
from qnotes.theorems.T17_slopes import CHANGE, ERROR, LAYER, READ
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of


def _units(at: sp.Expr) -> tuple:
    """The units after a layer, as the range of i."""
    return ((i, sp.S.One, N[at]),)


UNITS, INPUTS = (i, sp.S.One, N[ell]), (j, sp.S.One, N[ell - 1])


def _row(matrix: sp.IndexedBase, vector) -> sp.Sum:
    return sp.Sum(matrix[ell, i, j] * vector(j), (j, 1, N[ell - 1]))


VECTOR_FORM = Result(
    number="T8",
    name="vector form",
    source="Computed with one number for each channel. The form and the proof are our own.",
    statement=sp.Le(sy.abs_error[ell, i], u[ell, i], evaluate=False),
    definitions={
        v[0, i]: D,
        u[0, i]: sp.Integer(0),
        v[ell, i]: growth[ell] * (_row(sy.A_q, lambda at: v[ell - 1, at]) + sy.b_abs_q[ell, i])
        + Size(at_zero[ell], i),
        u[ell, i]: kappa[ell]
        * (
            _row(sy.A, lambda at: u[ell - 1, at])
            + _row(sy.A_change, lambda at: v[ell - 1, at])
            + sy.b_change[ell, i]
        ),
    },
    hypotheses=(
        Hypothesis(
            "activations are κ-Lipschitz, and move from their value at 0 by at most g times what "
            "they read; κ = g = 1 and σ(0) = 0 for ReLU and ReLU6",
            facts={
                "activation of the error": le(
                    Size(S[ell] - S_q[ell], i), kappa[ell] * Size(DIFFERENCE, i), LAYERS, UNITS
                ),
                "activation": le(
                    Size(S_q[ell] - at_zero[ell], i), growth[ell] * Size(LAYER, i), LAYERS, UNITS
                ),
            },
        ),
        Hypothesis(
            "both networks read the same input, no coordinate of it above D",
            facts={
                "input": le(Size(S_q[0], i), D, (i, 1, N[0])),
                "same input": eq(Size(S[0] - S_q[0], i), 0, (i, 1, N[0])),
            },
        ),
        Hypothesis(
            "entries of |W|, |W'|, |W-W'|, |b'|, |b-b'| and |Δ| are absolute values",
            facts={
                "weights": eq(Size(W[ell], i, j), sy.A[ell, i, j], LAYERS, UNITS, INPUTS),
                "quantized weights": eq(
                    Size(W_q[ell], i, j), sy.A_q[ell, i, j], LAYERS, UNITS, INPUTS
                ),
                "changes": eq(Size(CHANGE, i, j), sy.A_change[ell, i, j], LAYERS, UNITS, INPUTS),
                "biases": eq(Size(b_q[ell], i), sy.b_abs_q[ell, i], LAYERS, UNITS),
                "bias changes": eq(Size(b[ell] - b_q[ell], i), sy.b_change[ell, i], LAYERS, UNITS),
                "error": eq(Size(S[ell] - S_q[ell], i), sy.abs_error[ell, i], LAYERS, UNITS),
            },
        ),
    ),
    tight=True,
    premises=(DECOMPOSITION,),
)


@proof_of(VECTOR_FORM)
def prove(theorem: Result) -> tuple[Step, ...]:
    """T1 entry by entry, and induction over the layers, twice."""
    (decomposition,) = theorem.premises
    one_layer, (goal,) = decomposition.goals()[0], theorem.goals()
    parts = (W[ell] * ERROR, CHANGE * READ, b[ell] - b_q[ell])
    each = (LAYERS, UNITS)
    old_u, old_v = (lambda at: u[ell - 1, at]), (lambda at: v[ell - 1, at])
    return (
        decomposition.applied("decomposition"),
        Step(
            "entries of the difference",
            eq(Size(one_layer.left, i), Size(one_layer.right, i), *each),
            Replace(),
            uses=("decomposition",),
        ),
        Step(
            "triangle for the difference",
            le(Size(one_layer.right, i), sum(Size(part, i) for part in parts), *each),
            ByAxiom(TRIANGLE),
        ),
        *_row_by_row("old error", W[ell], ERROR, sy.A, "weights"),
        *_row_by_row("new error", CHANGE, READ, sy.A_change, "changes"),
        *_row_by_row("old activations", W_q[ell], READ, sy.A_q, "quantized weights"),
        Step(
            "triangle for the layer",
            le(Size(LAYER, i), Size(W_q[ell] * READ, i) + Size(b_q[ell], i), *each),
            ByAxiom(TRIANGLE),
        ),
        Step(
            "away from zero",
            le(Size(S_q[ell], i), Size(S_q[ell] - at_zero[ell], i) + Size(at_zero[ell], i), *each),
            ByAxiom(TRIANGLE),
        ),
        *over_layers(
            "activations",
            lambda at: Size(S_q[at], i),
            v[ell, i],
            each=_units,
            between=lambda before: (
                _grown("old activations", sy.A_q, READ, old_v, "activations before", (before,)),
            ),
            layer=Algebra((1, 1, *(growth[ell],) * 5, -1)),
            uses=(
                "away from zero",
                "activation",
                "triangle for the layer",
                "old activations, row by row",
                "entries of the old activations",
                "old activations, bounded",
                "biases",
                "v",
            ),
            first=Algebra((1, -1)),
            start=("input", "v 0"),
        ),
        _grown("new error", sy.A_change, READ, old_v, ("activations", {ell: ell - 1}), ()),
        Step(
            "no error at first",
            eq(Size(S[0] - S_q[0], i), u[0, i], (i, 1, N[0])),
            Algebra((1, -1)),
            uses=("same input", "u 0"),
        ),
        *over_layers(
            "errors",
            lambda at: Size(S[at] - S_q[at], i),
            u[ell, i],
            each=_units,
            between=lambda before: (
                _grown("old error", sy.A, ERROR, old_u, "errors before", (before,)),
            ),
            layer=Algebra((1, *(kappa[ell],) * 9, -1)),
            uses=(
                "activation of the error",
                "entries of the difference",
                "triangle for the difference",
                "old error, row by row",
                "entries of the old error",
                "old error, bounded",
                "new error, row by row",
                "entries of the new error",
                "new error, bounded",
                "bias changes",
                "u",
            ),
            start=("no error at first",),
        ),
        Step("statement", goal, Algebra((1, -1)), uses=("errors", "error")),
    )


def _row_by_row(name, matrix, vector, family, entries) -> tuple[Step, ...]:
    """|A x|_i ≤ Σ_j |A|_{i,j} |x|_j, with the absolute entries of the theorem."""
    total = _row_of(lambda at: Size(matrix, i, at), vector)
    return (
        Step(
            f"{name}, row by row",
            le(Size(matrix * vector, i), total, LAYERS, UNITS),
            ByAxiom(ENTRIES),
        ),
        Step(
            f"entries of the {name}",
            eq(total, _row_of(lambda at: family[ell, i, at], vector), LAYERS, UNITS),
            Replace(),
            uses=(entries,),
        ),
    )


def _grown(name, family, vector, bound, use, given) -> Step:
    """The same sum with bounds for the entries of the vector."""
    total = _row_of(lambda at: family[ell, i, at], vector)
    larger = sp.Sum(family[ell, i, j] * bound(j), (j, 1, N[ell - 1]))
    return Step(
        f"{name}, bounded", le(total, larger, LAYERS, UNITS, given=given), Replace(), uses=(use,)
    )


def _row_of(entry, vector) -> sp.Sum:
    return sp.Sum(entry(j) * Size(vector, j), (j, 1, N[ell - 1]))
