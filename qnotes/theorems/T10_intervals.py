"""T10, intervals with signs: bounds below and above the error of each unit. Stated only."""

import sympy as sp

from qnotes.theorems.notation import difference, ell, high, i, low
from qnotes.theorems.theorem import STATED, Hypothesis, Result

INTERVALS = Result(
    number="T10",
    name="intervals with signs",
    source=STATED + "Differential interval analysis.",
    whose="earlier work",
    statement=sp.Le(low[ell, i], difference[ell, i], evaluate=False),
    also=(sp.Le(difference[ell, i], high[ell, i], evaluate=False),),
    hypotheses=(Hypothesis("intervals for S and for Δ are propagated together, layer by layer"),),
)
