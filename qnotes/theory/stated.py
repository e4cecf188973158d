"""T8, T10, T11 and T13: stated; `qnotes.propagation.vectors` computes T8 (theory, section 5)."""

import sympy as sp

from qnotes.theory.symbols import (
    A,
    A_change,
    A_q,
    D,
    E,
    L,
    N,
    abs_error,
    b_abs_q,
    b_change,
    beta_euclid,
    difference,
    e_euclid,
    ell,
    error_norm,
    gamma_euclid,
    high,
    i,
    j,
    low,
    mu_error,
    rho,
    rho_change,
    risk,
    s_euclid,
    sigma_error,
    u,
    v,
)
from qnotes.theory.theorem import Hypothesis, Result

STATED = "Stated here, not computed yet. "


def _row(matrix: sp.IndexedBase, vector: sp.IndexedBase) -> sp.Sum:
    return sp.Sum(matrix[ell, i, j] * vector[ell - 1, j], (j, 1, N[ell - 1]))


VECTOR_FORM = Result(
    number="T8",
    form="",
    name="vector form",
    source="Stated here, and computed with one number for each channel. The form is our own.",
    statement=sp.Le(abs_error[ell, i], u[ell, i], evaluate=False),
    definitions={
        v[0, i]: D,
        u[0, i]: sp.Integer(0),
        v[ell, i]: _row(A_q, v) + b_abs_q[ell, i],
        u[ell, i]: _row(A, u) + _row(A_change, v) + b_change[ell, i],
    },
    hypotheses=(Hypothesis("activations are 1-Lipschitz with σ(0) = 0"),),
    tight=True,
)

INTERVALS = Result(
    number="T10",
    form="",
    name="intervals with signs",
    source=STATED + "Differential interval analysis.",
    whose="earlier work",
    statement=sp.Le(low[ell, i], difference[ell, i], evaluate=False),
    also=(sp.Le(difference[ell, i], high[ell, i], evaluate=False),),
    hypotheses=(Hypothesis("intervals for S and for Δ are propagated together, layer by layer"),),
)

EUCLIDEAN = Result(
    number="T11",
    form="",
    name="Euclidean norms",
    source=STATED + "The recursion T2 in ℓ² with upper bounds of spectral norms.",
    whose="classical",
    statement=sp.Le(E, e_euclid[L], evaluate=False),
    definitions={
        s_euclid[0]: D * sp.sqrt(N[0]),
        e_euclid[0]: sp.Integer(0),
        s_euclid[ell]: rho[ell] * s_euclid[ell - 1] + beta_euclid[ell],
        e_euclid[ell]: rho[ell] * e_euclid[ell - 1]
        + rho_change[ell] * s_euclid[ell - 1]
        + gamma_euclid[ell],
    },
    hypotheses=(
        Hypothesis("ρ are upper bounds of the spectral norms of both networks"),
        Hypothesis("pooling is 1-Lipschitz in ℓ²; overlapping max-pooling is not"),
    ),
)

_probability = sp.Function("P")
_CANTELLI = mu_error + sigma_error * sp.sqrt((1 - risk) / risk)
TYPICAL = Result(
    number="T13",
    form="",
    name="typical error",
    source=STATED + "Houache, Traonmilin and Aujol (arXiv:2610.09877), Cantelli's inequality.",
    whose="the authors' later work",
    statement=sp.Le(
        _probability(sp.Gt(error_norm, _CANTELLI, evaluate=False)),
        risk,
        evaluate=False,
    ),
    hypotheses=(
        Hypothesis("rounding errors are random: exact for stochastic rounding, else a heuristic"),
    ),
)
