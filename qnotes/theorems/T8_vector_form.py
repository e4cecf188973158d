"""T8, the vector form: a bound on the error of each unit, not of each layer.

v bounds the activations of the quantized network and u the error, unit by unit; both travel
through the absolute weights. Stated here; `qnotes.propagation` computes it on the graph of a
network, with one number for each channel.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.notation import D, N, ell, i, j, u, v
from qnotes.theorems.T2_recursion import LIPSCHITZ
from qnotes.theorems.theorem import Result


def _row(matrix: sp.IndexedBase, vector: sp.IndexedBase) -> sp.Sum:
    return sp.Sum(matrix[ell, i, j] * vector[ell - 1, j], (j, 1, N[ell - 1]))


VECTOR_FORM = Result(
    number="T8",
    name="vector form",
    source="Stated here, and computed with one number for each channel. The form is our own.",
    statement=sp.Le(sy.abs_error[ell, i], u[ell, i], evaluate=False),
    definitions={
        v[0, i]: D,
        u[0, i]: sp.Integer(0),
        v[ell, i]: _row(sy.A_q, v) + sy.b_abs_q[ell, i],
        u[ell, i]: _row(sy.A, u) + _row(sy.A_change, v) + sy.b_change[ell, i],
    },
    hypotheses=(LIPSCHITZ,),
    tight=True,
)
