"""T10, intervals with signs: bounds below and above the error of each unit. In words only."""

from qnotes.theorems.theorem import STATED, Hypothesis, Result

INTERVALS = Result(
    number="T10",
    name="intervals with signs",
    source=STATED + "Differential interval analysis.",
    whose="earlier work",
    statement=None,
    hypotheses=(Hypothesis("intervals for S and for Δ are propagated together, layer by layer"),),
)
