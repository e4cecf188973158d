"""T13, the typical error: what a random error exceeds with a small probability only (Cantelli).

Rounding makes errors random: for stochastic rounding that is exact, for rounding to nearest a
heuristic. Mean and variance of ‖Δ‖ come from draws or from a recursion; that is not stated here.
"""

import sympy as sp

from qnotes.theorems.facts import eq, le
from qnotes.theorems.notation import LATEX
from qnotes.theorems.rules import Algebra
from qnotes.theorems.T16_tolerance import P
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

size, mean = sp.Symbol("norm_of_error", nonnegative=True), sp.Symbol("mu_error", nonnegative=True)
deviation, above, shift, risk, chance = (
    sp.Symbol(name, positive=True) for name in ("sigma_error", "lambda", "u_shift", "risk", "miss")
)
LATEX |= {
    size: r"\|\Delta_L\|_2",
    mean: r"\mu",
    deviation: r"\sigma",
    above: r"\lambda",
    shift: "u",
    risk: r"\delta",
}
EXCEEDS = P(sp.Gt(size, mean + above, evaluate=False))

TYPICAL = Result(
    number="T13",
    name="typical error",
    source="Cantelli's inequality; Houache, Traonmilin and Aujol (arXiv:2610.09877) use it for "
    "quantization errors.",
    whose="the authors' later work",
    statement=sp.Le(EXCEEDS, risk, evaluate=False),
    hypotheses=(
        Hypothesis(
            "rounding errors are random: exact for stochastic rounding, else a heuristic; "
            "$\\|\\Delta_L\\|_2$ has the mean μ and the variance σ²"
        ),
        Hypothesis(
            "Markov's inequality for the square of $\\|\\Delta_L\\|_2 - μ + u$, whose mean is σ² + "
            "u²: it is at least (λ + u)² where $\\|\\Delta_L\\|_2$ exceeds μ + λ",
            facts={
                "Markov": le(EXCEEDS * (above + shift) ** 2, deviation**2 + shift**2),
            },
        ),
        Hypothesis(
            "λ is σ √((1-δ)/δ), and u is chosen as σ²/λ",
            facts={
                "threshold": eq(risk * above**2, (1 - risk) * deviation**2),
                "shift": eq(shift * above, deviation**2),
            },
        ),
    ),
)


@proof_of(TYPICAL)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Divided by (λ + u)², Markov's bound is δ."""
    (goal,) = theorem.goals()
    return (
        Step(
            "share",
            eq(risk * (above + shift) * above, shift * above),
            Algebra((1, risk - 1)),
            uses=("threshold", "shift"),
        ),
        Step(
            "statement",
            goal,
            Algebra(
                (1, -(above + shift) / above, -1),
                scale=(above + shift) ** 2,
            ),
            uses=("Markov", "share", "shift"),
        ),
    )
