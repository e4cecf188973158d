"""T5, the layerwise bound with biases, in product form and in mean form.

A network with biases is one without, a coordinate wider that always holds 1. So it has the
recursion of T3 with norms r̃ of rows and biases together, at least 1, with fan-ins ñ that count a
bias that changes, and with max(D, 1) for the input.
"""

import sympy as sp

from qnotes.theorems.axioms import BLOCKS, ONE, ROWS, SHORTER, TRIANGLE, Beside, Norm, WithOne
from qnotes.theorems.facts import eq, ge, le
from qnotes.theorems.inequality_of_means import MEANS
from qnotes.theorems.notation import (
    LAYERS,
    D,
    E,
    L,
    at_zero,
    c,
    delta,
    ell,
    eps,
    eps_layer,
    i,
    k,
    kappa,
    n_joint,
    p,
    q,
    r,
    r_joint,
    r_joint_mean,
    r_joint_min,
)
from qnotes.theorems.rules import Algebra, Apply, ByAxiom, Largest, Replace
from qnotes.theorems.solved_recursion import SOLVED, others, row_of_changes
from qnotes.theorems.sums_over_layers import replaced
from qnotes.theorems.T1_decomposition import DECOMPOSITION, S, S_q, W, W_q, b, b_q
from qnotes.theorems.T2_recursion import DOMAIN
from qnotes.theorems.T3_product_form import PRODUCT_FORM
from qnotes.theorems.T4_mean_form import (
    MEAN_FORM,
    ONE_GAP,
    leave_one_out_mean,
    mean_steps,
    smallest_of,
)
from qnotes.theorems.T17_slopes import ERROR, LIPSCHITZ, READ, SLOPES, decomposed
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of

ROW_OF_CHANGES = Norm(Beside(W[ell] - W_q[ell], b[ell] - b_q[ell]))
CHANGE = kappa[ell] * ROW_OF_CHANGES
JOINT = Hypothesis(
    "r̃ is at least 1, and at least κ times each absolute row sum with the bias, in both "
    "networks, with σ(0)",
    facts={
        "norm": le(kappa[ell] * Norm(Beside(W[ell], b[ell])), r_joint[ell], LAYERS),
        "quantized norm": le(
            kappa[ell] * Norm(Beside(W_q[ell], b_q[ell])) + Norm(at_zero[ell]), r_joint[ell], LAYERS
        ),
        "at least one": ge(r_joint[ell], 1, LAYERS),
    },
)
FAN_IN = Hypothesis(
    "a row of changes, with that of the bias, holds at most ñ numbers, κ times none above its "
    "layer's largest change",
    facts={
        "row": le(CHANGE, sp.Sum(c[ell, i], (i, 1, n_joint[ell])), LAYERS),
        "row entries": le(c[ell, i], eps_layer[ell], LAYERS, (i, 1, n_joint[ell])),
    },
)

PRODUCT_FORM_WITH_BIASES = Theorem(
    number="T5",
    form="product form",
    name="layerwise bound with biases, product form",
    source=PRODUCT_FORM.source,
    whose=PRODUCT_FORM.whose,
    statement=sp.Le(
        E, sp.Max(D, 1) * sp.Sum(n_joint[k] * eps_layer[k] * others(r_joint), (k, 1, L))
    ),
    hypotheses=(LIPSCHITZ, DOMAIN, JOINT, FAN_IN),
    tight=True,
    premises=(DECOMPOSITION, SLOPES, SOLVED),
)

MEAN_FORM_WITH_BIASES = Theorem(
    number="T5",
    form="mean form",
    name="layerwise bound with biases, mean form",
    source=MEAN_FORM.source,
    whose="the paper's, in our form",
    statement=sp.Le(
        E, sp.Max(D, 1) * r_joint_mean ** (L - 1) * sp.Sum(n_joint[k], (k, 1, L)) * eps
    ),
    definitions={r_joint_mean: leave_one_out_mean(r_joint, r_joint_min)},
    hypotheses=(LIPSCHITZ, DOMAIN, JOINT, FAN_IN, ONE_GAP, smallest_of(r_joint, r_joint_min)),
    tight=True,
    premises=(PRODUCT_FORM_WITH_BIASES, MEANS),
)


@proof_of(PRODUCT_FORM_WITH_BIASES)
def prove_product_form(theorem: Theorem) -> tuple[Step, ...]:
    """A network with biases is one without, a coordinate wider that always holds 1."""
    _, slopes, solved = theorem.premises
    (goal,), (closed,) = theorem.goals(), solved.goals()
    wide = lambda at: sp.Max(Norm(S_q[at]), 1)  # noqa: E731
    gaps = n_joint[ell] * eps_layer[ell]
    error = lambda at: Norm(S[at] - S_q[at])  # noqa: E731
    slope = kappa[ell]
    meanings = {
        D: sp.Max(D, 1),
        r: r_joint,
        delta: lambda at: n_joint[at] * eps_layer[at],
        p: wide,
        q: error,
    }
    return (
        slopes.applied("values", 1),
        *_joined("layer", W_q[ell], b_q[ell]),
        Step("a coordinate that is one", ge(wide(ell - 1), 1, LAYERS), Largest()),
        Step(
            "activations in a layer",
            le(Norm(S_q[ell]), r_joint[ell] * wide(ell - 1), LAYERS),
            Algebra((1, -slope, slope, wide(ell - 1), Norm(at_zero[ell]))),
            uses=(
                "values",
                "joined layer",
                "rows of the layer",
                "quantized norm",
                "a coordinate that is one",
            ),
        ),
        Step(
            "it stays one",
            le(1, r_joint[ell] * wide(ell - 1), LAYERS),
            Algebra((wide(ell - 1), 1)),
            uses=("at least one", "a coordinate that is one"),
        ),
        Step(
            "wider activations",
            le(wide(ell), r_joint[ell] * wide(ell - 1), LAYERS),
            Largest(),
            uses=("activations in a layer", "it stays one"),
        ),
        *decomposed(theorem, whole=False),
        Step(
            "triangle with the bias",
            le(
                Norm(theorem.premises[0].goals()[0].right),
                Norm(W[ell] * ERROR) + Norm((W[ell] - W_q[ell]) * READ + b[ell] - b_q[ell]),
                LAYERS,
            ),
            ByAxiom(TRIANGLE),
        ),
        *_joined("change", W[ell] - W_q[ell], b[ell] - b_q[ell]),
        *row_of_changes(
            CHANGE, lambda at: c[ell, at], n_joint[ell], eps_layer[ell], name="row", each=(LAYERS,)
        ),
        Step(
            "weights alone",
            le(Norm(W[ell]), Norm(Beside(W[ell], b[ell])), LAYERS),
            ByAxiom(SHORTER),
        ),
        Step(
            "error in a layer",
            le(error(ell), r_joint[ell] * error(ell - 1) + gaps * wide(ell - 1), LAYERS),
            Algebra(
                (
                    *(1, slope, slope, slope, slope * error(ell - 1), error(ell - 1)),
                    *(-slope, slope, wide(ell - 1)),
                )
            ),
            uses=(
                "activation of the error",
                "size of the difference",
                "triangle with the bias",
                "old error",
                "weights alone",
                "norm",
                "joined change",
                "rows of the change",
                "row at most",
            ),
        ),
        Step("D or 1", ge(sp.Max(D, 1), D), Largest()),
        Step("1 or D", ge(sp.Max(D, 1), 1), Largest()),
        Step("input below", le(Norm(S_q[0]), sp.Max(D, 1)), Algebra(), uses=("input", "D or 1")),
        Step("wider input", le(wide(0), sp.Max(D, 1)), Largest(), uses=("input below", "1 or D")),
        Step("no error at first", le(error(0), 0), Algebra(), uses=("same input",)),
        Step(
            "solved",
            closed.mapped(lambda side: replaced(sp.sympify(side), meanings)),
            Apply(solved, meanings),
            uses=("wider input", "wider activations", "no error at first", "error in a layer"),
            reason="The recursion of the wider network, without biases.",
        ),
        Step("statement", goal, Algebra(), uses=("worst input", "solved")),
    )


def _joined(name: str, matrix: sp.Expr, column: sp.Expr) -> tuple[Step, ...]:
    """‖A x + a‖ ≤ ‖[A a]‖ max(‖x‖, 1)."""
    layer, wide = matrix * READ + column, Beside(matrix, column)
    return (
        Step(f"{name} as a wider matrix", eq(wide * WithOne(READ), layer, LAYERS), ByAxiom(BLOCKS)),
        Step(
            f"one beside what the {name} reads",
            eq(Norm(WithOne(READ)), sp.Max(Norm(READ), 1), LAYERS),
            ByAxiom(ONE),
        ),
        Step(
            f"wider rows of the {name}",
            le(Norm(wide * WithOne(READ)), Norm(wide) * Norm(WithOne(READ)), LAYERS),
            ByAxiom(ROWS),
        ),
        Step(
            f"joined {name}",
            eq(Norm(wide * WithOne(READ)), Norm(layer), LAYERS),
            Replace(),
            uses=(f"{name} as a wider matrix",),
        ),
        Step(
            f"rows of the {name}",
            le(Norm(wide * WithOne(READ)), Norm(wide) * sp.Max(Norm(READ), 1), LAYERS),
            Algebra((1, Norm(wide))),
            uses=(f"wider rows of the {name}", f"one beside what the {name} reads"),
        ),
    )


@proof_of(MEAN_FORM_WITH_BIASES)
def prove_mean_form(theorem: Theorem) -> tuple[Step, ...]:
    """As T4, from the product form with biases."""
    product_form, means = theorem.premises
    (bound,) = product_form.goals()
    return (
        product_form.applied("product form by fan-ins"),
        *mean_steps(theorem, means, bound.right, (r_joint, r_joint_mean, r_joint_min)),
    )
