"""T11, Euclidean norms: the recursion T2 with spectral norms. Stated only."""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.notation import D, E, L, N, e_euclid, ell, rho, s_euclid
from qnotes.theorems.theorem import STATED, Hypothesis, Result

EUCLIDEAN = Result(
    number="T11",
    name="Euclidean norms",
    source=STATED + "The recursion T2 in ℓ² with upper bounds of spectral norms.",
    whose="classical",
    statement=sp.Le(E, e_euclid[L], evaluate=False),
    definitions={
        s_euclid[0]: D * sp.sqrt(N[0]),
        e_euclid[0]: sp.Integer(0),
        s_euclid[ell]: rho[ell] * s_euclid[ell - 1] + sy.beta_euclid[ell],
        e_euclid[ell]: rho[ell] * e_euclid[ell - 1]
        + sy.rho_change[ell] * s_euclid[ell - 1]
        + sy.gamma_euclid[ell],
    },
    hypotheses=(
        Hypothesis("ρ are upper bounds of the spectral norms of both networks"),
        Hypothesis("pooling is 1-Lipschitz in ℓ²; overlapping max-pooling is not"),
    ),
)
