"""The mean of a normal variable after ReLU or ReLU6: for bias correction without data.

The mean of max(0, X) is the integral of x times the density from 0 on; an antiderivative that
vanishes at infinity gives it. ReLU6 is the difference of two ReLUs,
min(max(x, 0), 6) = max(x, 0) - max(x - 6, 0).
"""

from __future__ import annotations

import sympy as sp

from qnotes.theorems.facts import Fact, eq
from qnotes.theorems.rules import Algebra, Primitive
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

x, mu = sp.symbols("x mu", real=True)
sigma = sp.Symbol("sigma", positive=True)
top = sp.Symbol("c", positive=True)

DENSITY = sp.exp(-((x - mu) ** 2) / (2 * sigma**2)) / (sigma * sp.sqrt(2 * sp.pi))
#: An antiderivative of x · DENSITY in x that vanishes at infinity.
TAIL = -(sigma**2) * DENSITY - mu / 2 * sp.erfc((x - mu) / (sigma * sp.sqrt(2)))
#: E max(0, X) of X ~ N(μ, σ²). With erfc, and not 1 + erf, it stays exact for very negative means.
RELU_MEAN = -TAIL.subs(x, 0)
#: E min(max(0, X), 6).
RELU6_MEAN = RELU_MEAN - RELU_MEAN.subs(mu, mu - 6)


mean_clipped = sp.Symbol("M_6", real=True)


def at_mean(expression: sp.Expr, shift: int) -> sp.Expr:
    """The same for X less a number."""
    return expression.subs(mu, mu - shift)


def mean_above_zero(shift: int) -> sp.Integral:
    """E max(0, X - shift)."""
    return sp.Integral(x * at_mean(DENSITY, shift), (x, 0, sp.oo))


CLIPPED = Result(
    number="clipped normal",
    name="the mean of a normal variable after ReLU and ReLU6",
    source="A lemma of this book, for bias correction.",
    statement=sp.Eq(mean_above_zero(0), RELU_MEAN, evaluate=False),
    also=(sp.Eq(mean_clipped, RELU6_MEAN, evaluate=False),),
    hypotheses=(
        Hypothesis(
            "X is normal with mean μ and deviation σ; the integral is the mean of the ReLU of X, "
            "$M_6$ that of ReLU6, which is the difference of the ReLUs of X and X - 6",
            facts={"two ReLUs": eq(mean_clipped, mean_above_zero(0) - mean_above_zero(6))},
        ),
    ),
)


@proof_of(CLIPPED)
def prove(theorem: Result) -> tuple[Step, ...]:
    """The antiderivative is differentiated, and taken at 0; the rest is put together."""
    relu, clipped = theorem.goals()
    return (
        Step("antiderivative", _slope(0), Algebra()),
        Step("ReLU", relu, Primitive(TAIL), uses=("antiderivative",)),
        Step("antiderivative, shifted", _slope(6), Algebra()),
        Step(
            "ReLU, shifted",
            eq(mean_above_zero(6), at_mean(RELU_MEAN, 6)),
            Primitive(at_mean(TAIL, 6)),
            uses=("antiderivative, shifted",),
        ),
        Step("ReLU6", clipped, Algebra((1, 1, -1)), uses=("two ReLUs", "ReLU", "ReLU, shifted")),
    )


def _slope(shift: int) -> Fact:
    return eq(sp.diff(at_mean(TAIL, shift), x), x * at_mean(DENSITY, shift))
