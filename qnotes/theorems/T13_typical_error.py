"""T13, the typical error: what the error rarely exceeds where rounding is random. Stated only."""

import sympy as sp

from qnotes.theorems.notation import error_norm, mu_error, risk, sigma_error
from qnotes.theorems.theorem import STATED, Hypothesis, Result

_probability = sp.Function("P")
_CANTELLI = mu_error + sigma_error * sp.sqrt((1 - risk) / risk)

TYPICAL = Result(
    number="T13",
    name="typical error",
    source=STATED + "Houache, Traonmilin and Aujol (arXiv:2610.09877), Cantelli's inequality.",
    whose="the authors' later work",
    statement=sp.Le(
        _probability(sp.Gt(error_norm, _CANTELLI, evaluate=False)), risk, evaluate=False
    ),
    hypotheses=(
        Hypothesis("rounding errors are random: exact for stochastic rounding, else a heuristic"),
    ),
)
