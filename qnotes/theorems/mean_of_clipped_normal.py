"""The mean of a normal variable after ReLU or ReLU6: for bias correction without data.

The mean of max(0, X) is the integral of x times the density from 0 on. An antiderivative is stated,
a proof checks it, and everything else follows from it: ReLU6 is the difference of two ReLUs,
min(max(x, 0), 6) = max(x, 0) - max(x - 6, 0).
"""

from __future__ import annotations

import sympy as sp

from qnotes.theorems.proof_steps import Cases, Identity, Step

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


def proof() -> tuple[Step, ...]:
    """Why RELU_MEAN and RELU6_MEAN are the means; `verify()` derives each step again."""
    return (
        Identity(
            title="antiderivative",
            reason="Its derivative is x times the density.",
            left=sp.diff(TAIL, x),
            right=x * DENSITY,
        ),
        Cases(
            title="ends",
            reason="It vanishes at infinity, so the integral from 0 is minus its value there.",
            pairs=(
                (sp.limit(TAIL, x, sp.oo), sp.S.Zero),
                (-TAIL.subs(x, 0), RELU_MEAN),
            ),
        ),
        Cases(
            title="ReLU6",
            reason="The difference of two ReLUs, checked below 0, between, and above the top; "
            "X - 6 is normal with mean μ - 6.",
            pairs=(*_clipped(), (RELU_MEAN - RELU_MEAN.subs(mu, mu - 6), RELU6_MEAN)),
        ),
    )


def _clipped() -> tuple[tuple[sp.Expr, sp.Expr], ...]:
    share = sp.Symbol("t", positive=True)
    below, within, above = -share, top * share / (1 + share), top + share
    values = ((below, sp.S.Zero), (within, within), (above, top))
    return tuple((_relu(size) - _relu(size - top), value) for size, value in values)


def _relu(value: sp.Expr) -> sp.Expr:
    return value if sp.simplify(value).is_nonnegative else sp.S.Zero
