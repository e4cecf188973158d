"""A lemma: the product of all norms but one is at most a power of their mean, zeros included.

With M + t for the mean, t > 0, each norm is at most (M + t) exp(norm/(M + t) - 1). Multiplied, the
exponents add up to at most zero. Then t goes to zero. A single layer has no other norm: 1 ≤ 1.
"""

import sympy as sp

from qnotes.theorems.axioms import EXPONENTIAL
from qnotes.theorems.facts import eq, le
from qnotes.theorems.notation import L, j, k, r, r_mean, r_min
from qnotes.theorems.rules import Algebra, ByAxiom, Limit, Replace, Split
from qnotes.theorems.solved_recursion import others
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

ALL = sp.Sum(r[j], (j, 1, L))

MEANS = Result(
    number="inequality of the means",
    name="a product and the power of a mean",
    source="Classical; the proof is Pólya's, with one number left out.",
    whose="classical",
    statement=sp.Le(others(r), r_mean ** (L - 1)),
    hypotheses=(
        Hypothesis("no norm is below the smallest", facts={"smallest": le(r_min, r[k], (k, 1, L))}),
        Hypothesis(
            "L-1 times the mean is the sum of the norms without the smallest",
            facts={"mean": eq((L - 1) * r_mean, ALL - r_min)},
        ),
    ),
)


@proof_of(MEANS)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Pólya's proof."""
    (goal,) = theorem.goals()
    t = sp.Symbol("t", positive=True)
    above, layers, one = r_mean + t, (j, 1, L), (k, 1, L)
    before, after = sp.Sum(r[j], (j, 1, k - 1)), sp.Sum(r[j], (j, k + 1, L))
    exponent = (before + after) / above - (L - 1)
    power = above ** (L - 1)
    return (
        Step(
            "one norm",
            le(r[j] / above, sp.exp(r[j] / above - 1), layers),
            ByAxiom(EXPONENTIAL),
            reason="Let $t > 0$, so that nothing is divided by zero.",
        ),
        Step(
            "one factor",
            le(r[j], above * sp.exp(r[j] / above - 1), layers),
            Algebra((above,)),
            uses=("one norm",),
        ),
        Step(
            "all others",
            le(others(r), power * sp.exp(exponent), one),
            Replace(),
            uses=("one factor",),
            reason="Exponents of a product are added.",
        ),
        Step("the sum without one", eq(ALL, before + r[k] + after, one), Split(k)),
        Step(
            "the others have no larger mean",
            le(before + after, (L - 1) * r_mean, one),
            Algebra((1, -1, -1)),
            uses=("smallest", "the sum without one", "mean"),
            reason="What is left out is no smaller than the smallest.",
        ),
        Step(
            "the exponent",
            le(exponent, 0, one),
            Algebra((1 / above,), gives_away=True),
            uses=("the others have no larger mean",),
        ),
        Step(
            "without the exponential",
            le(power * sp.exp(exponent), power, one),
            Replace(),
            uses=("the exponent",),
        ),
        Step(
            "a little above the mean",
            le(others(r), power, one),
            Algebra(),
            uses=("all others", "without the exponential"),
        ),
        Step(
            "statement",
            goal,
            Limit(t),
            uses=("a little above the mean",),
            reason="This holds for every $t > 0$, and both sides are polynomials in $t$.",
        ),
    )
