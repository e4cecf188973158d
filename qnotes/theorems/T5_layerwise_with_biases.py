"""T5, the layerwise bound with biases, in product form and in mean form.

A network with biases is one without, a coordinate wider that always holds 1. So T3 and T4 hold
with norms r̃ of rows and biases together, at least 1, with fan-ins ñ that count a bias that
changes, and with max(D, 1) for the input.
"""

import sympy as sp

from qnotes.theorems.notation import (
    D,
    E,
    L,
    delta,
    eps,
    eps_layer,
    k,
    n_joint,
    r,
    r_joint,
    r_joint_mean,
    r_joint_min,
)
from qnotes.theorems.proof_steps import DEPTHS, Cases, Identity, Step, equation
from qnotes.theorems.sums_over_layers import replaced, written_out
from qnotes.theorems.T2_recursion import LIPSCHITZ
from qnotes.theorems.T3_product_form import PRODUCT_FORM, others
from qnotes.theorems.T4_mean_form import MEAN_FORM, leave_one_out_mean, mean_steps, row_of_changes
from qnotes.theorems.theorem import Theorem, proof_of

PRODUCT_FORM_WITH_BIASES = Theorem(
    number="T5",
    form="product form",
    name="layerwise bound with biases, product form",
    source=PRODUCT_FORM.source,
    whose=PRODUCT_FORM.whose,
    statement=sp.Le(
        E, sp.Max(D, 1) * sp.Sum(n_joint[k] * eps_layer[k] * others(r_joint), (k, 1, L))
    ),
    hypotheses=(LIPSCHITZ,),
    tight=True,
    premises=(PRODUCT_FORM,),
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
    hypotheses=(LIPSCHITZ,),
    tight=True,
    premises=(PRODUCT_FORM_WITH_BIASES,),
)


@proof_of(PRODUCT_FORM_WITH_BIASES)
def prove_product_form(theorem: Theorem) -> tuple[Step, ...]:
    """A network with biases is one without, a coordinate wider that always holds 1."""
    (without,) = theorem.premises
    meanings = {D: sp.Max(D, 1), r: r_joint, delta: lambda index: n_joint[index] * eps_layer[index]}
    wider = replaced(without.statement.rhs, meanings)
    wider_input = sp.Symbol(r"\| (x, 1) \|_\infty", positive=True)
    return (
        _wider_matrix(
            _INPUTS,
            _WEIGHTS * _INPUTS + _BIAS,
            title="one coordinate more",
            reason="The matrix with rows (W b) and (0 1), applied to (x, 1), gives (W x + b, 1).",
        ),
        _wider_matrix(
            sp.ones(2, 1),
            _WEIGHTS * sp.ones(2, 1) + _BIAS,
            title="its norm",
            reason="Absolute row sums are those of a row and its bias, and 1 for the new row. With "
            "absolute values for entries they are what the wider matrix makes of ones.",
        ),
        row_of_changes(
            "ntilde_k",
            title="its changes",
            reason="A row holds ñ numbers that may change, none by more than ε; "
            "the new row and the biases that stay do not change.",
        ),
        Cases(
            title="its input",
            reason="The largest absolute coordinate of (x, 1) is at most max(D, 1).",
            pairs=((sp.Max(D, D, 1), sp.Max(D, 1)),),
            printed=(sp.Le(wider_input, sp.Max(D, 1), evaluate=False),),
        ),
        Identity(
            title="statement",
            reason="T3 for the wider network.",
            left=wider,
            right=theorem.statement.rhs,
            printed=(sp.Le(theorem.statement.lhs, wider, evaluate=False),),
        ),
        Cases(
            title="written out",
            reason="The same for depths 1 to 6, term by term.",
            pairs=tuple(
                (written_out(wider, depth), written_out(theorem.statement.rhs, depth))
                for depth in DEPTHS
            ),
            printed=tuple(
                sp.Le(theorem.statement.lhs, written_out(wider, depth), evaluate=False)
                for depth in (1, 2)
            ),
        ),
    )


_WEIGHTS = sp.Matrix(2, 2, lambda a, b: sp.Symbol(f"w_{a + 1}{b + 1}", nonnegative=True))
_BIAS = sp.Matrix(2, 1, lambda a, _: sp.Symbol(f"b_{a + 1}", nonnegative=True))
_WIDER = sp.Matrix(sp.BlockMatrix([[_WEIGHTS, _BIAS], [sp.zeros(1, 2), sp.ones(1, 1)]]))
_INPUTS = sp.Matrix(sp.symbols("x_1 x_2"))


def _wider_matrix(vector: sp.Matrix, result: sp.Matrix, *, title: str, reason: str) -> Step:
    """The wider matrix makes of a vector and 1 what the layer makes of the vector, and 1."""
    wider, expected = vector.col_join(sp.ones(1, 1)), result.col_join(sp.ones(1, 1))
    return Cases(
        title=title,
        reason=reason,
        pairs=tuple(zip(_WIDER * wider, expected, strict=True)),
        printed=(equation(sp.MatMul(_WIDER, wider), expected),),
    )


@proof_of(MEAN_FORM_WITH_BIASES)
def prove_mean_form(theorem: Theorem) -> tuple[Step, ...]:
    """As T4, from the product form with biases."""
    (product_form,) = theorem.premises
    relaxed = replaced(product_form.statement.rhs, {eps_layer: eps})
    return mean_steps(theorem, relaxed, r_joint, r_joint_mean, r_joint_min, n_joint)
