"""T13, the typical error: what the error rarely exceeds where rounding is random. In words only."""

from qnotes.theorems.theorem import STATED, Hypothesis, Result

TYPICAL = Result(
    number="T13",
    name="typical error",
    source=STATED + "Houache, Traonmilin and Aujol (arXiv:2610.09877), Cantelli's inequality.",
    whose="the authors' later work",
    statement=None,
    hypotheses=(
        Hypothesis("rounding errors are random: exact for stochastic rounding, else a heuristic"),
    ),
)
