"""The mean of a normal variable after ReLU or ReLU6: for bias correction without data.

The mean of max(0, X) is the integral of x times the density from 0 on. An antiderivative is stated,
a proof checks it, and everything else follows from it: ReLU6 is the difference of two ReLUs,
min(max(x, 0), 6) = max(x, 0) - max(x - 6, 0).
"""

from __future__ import annotations

import sympy as sp

from qnotes.theorems.facts import eq
from qnotes.theorems.rules import Algebra
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


mean, mean_shifted, mean_clipped = sp.symbols("M_{\\mu} M_{\\mu-6} M_6", real=True)
_SLOPE = eq(sp.diff(TAIL, x), x * DENSITY)
_SHIFTED = _SLOPE.mapped(lambda side: side.subs(mu, mu - 6))

CLIPPED = Result(
    number="clipped normal",
    name="the mean of a normal variable after ReLU and ReLU6",
    source="A lemma of this book, for bias correction.",
    statement=sp.Eq(mean, RELU_MEAN, evaluate=False),
    also=(sp.Eq(mean_clipped, RELU6_MEAN, evaluate=False),),
    hypotheses=(
        Hypothesis(
            "the mean after ReLU is the integral of x times the density from 0 on: minus the value "
            "at 0 of an antiderivative that vanishes at infinity",
            facts={
                "integral": eq(mean, -TAIL.subs(x, 0), given=(_SLOPE,)),
                "integral, shifted": eq(
                    mean_shifted, -TAIL.subs(x, 0).subs(mu, mu - 6), given=(_SHIFTED,)
                ),
            },
        ),
        Hypothesis(
            "ReLU6 is the difference of two ReLUs, and X - 6 is normal with mean μ - 6",
            facts={"two ReLUs": eq(mean_clipped, mean - mean_shifted)},
        ),
    ),
)


@proof_of(CLIPPED)
def prove(theorem: Result) -> tuple[Step, ...]:
    """The antiderivative is differentiated; the rest is put together."""
    relu, clipped = theorem.goals()
    return (
        Step(name="antiderivative", fact=_SLOPE, rule=Algebra()),
        Step(name="antiderivative, shifted", fact=_SHIFTED, rule=Algebra()),
        Step(name="ReLU", fact=relu, rule=Algebra(), uses=("integral", "antiderivative")),
        Step(
            name="ReLU6",
            fact=clipped,
            rule=Algebra((1, 1, -1)),
            uses=("two ReLUs", "ReLU", "integral, shifted", "antiderivative, shifted"),
        ),
    )
