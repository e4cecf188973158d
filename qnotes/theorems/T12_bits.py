"""T12, how many bits a bound asks for: at so many, C times half a step is at most the tolerance.

The constant C of a bound E ≤ C ε must not depend on the bits. `BITS.bits` is the right side of the
statement as a number, `BITS.log10_error` its inverse: the error that so many bits certify.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.facts import eq, le
from qnotes.theorems.log_domain import log_value
from qnotes.theorems.notation import LATEX, C, E, bits, eps, largest, tau
from qnotes.theorems.rules import Algebra, Power
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

#: q, the largest code of a symmetric quantizer of b bits.
LARGEST_CODE = 2 ** (bits - 1) - 1
#: The largest change of a weight: half of the distance a/q of two neighbouring codes.
HALF_STEP = largest / (2 * LARGEST_CODE)


@dataclass(frozen=True, eq=False, kw_only=True)
class CertifyingBits(Result):
    """T12 in numbers; every argument may be an array."""

    def bits(self, log10_constant, *, largest, tolerance):
        """The bits from which on a bound is at most the tolerance, as real numbers; round up.

        They take log10 of C, since C itself leaves float64 on deep networks.
        """
        logs = {
            sy.C: np.multiply(log10_constant, math.log(10)),
            sy.largest: np.log(largest),
            sy.tau: np.log(tolerance),
        }
        enough, logarithm = self.statement.rhs, sp.Symbol("x")
        (inside,) = (part.args[0] for part in enough.atoms(sp.log) if part.has(sy.C))
        number = sp.lambdify(logarithm, enough.subs(sp.log(inside), logarithm))
        return number(log_value(inside, logs, {}))

    def log10_error(self, log10_constant, *, largest, bits):
        """log10 of C times half a step, which so many bits certify."""
        return log10_constant + np.log10(self.half_step(largest, bits))

    def half_step(self, largest, bits):
        """The most that a weight moves when it is rounded to so many bits, in exact arithmetic."""
        return sp.lambdify((sy.largest, sy.bits), HALF_STEP)(largest, bits)


#: The distance of neighbouring codes, and the size of any weight.
scale = sp.Symbol("scale", positive=True)
weight = sp.Symbol("w", nonnegative=True)
LATEX[scale], LATEX[weight] = r"\mathrm{scale}", "|w|"

_NO_CLIPPING = le(weight, LARGEST_CODE * scale)

BITS = CertifyingBits(
    number="T12",
    name="bits that certify an error",
    source="Arithmetic on the half-step of a uniform quantizer; stated and proved here.",
    statement=sp.Ge(bits, 1 + sp.log(1 + C * largest / (2 * tau), 2), evaluate=False),
    conclusion=sp.Le(E, tau, evaluate=False),
    hypotheses=(
        Hypothesis(
            "symmetric uniform quantizer of b bits, codes in [-q, q], $q = 2^{b-1} - 1$, "
            "scale a/q, a the largest weight",
            facts={
                "scale": eq(LARGEST_CODE * scale, largest),
                "largest weight": le(weight, largest),
            },
        ),
        Hypothesis(
            "round to nearest, in exact arithmetic: a weight that is not clipped moves by at most "
            "half a step; biases are not quantized",
            facts={"half a step": le(eps, scale / 2, given=(_NO_CLIPPING,))},
        ),
        Hypothesis(
            "E ≤ C ε, with a C that does not depend on b; τ is the error that may occur",
            facts={"bound": le(E, C * eps)},
        ),
    ),
)


@proof_of(BITS)
def prove(theorem: Result) -> tuple[Step, ...]:
    """No clipping, the half-step, and the number of codes at which C times it is at most τ."""
    (goal,) = theorem.goals()
    needed = C * largest / (2 * tau)
    return (
        Step(
            "no clipping",
            _NO_CLIPPING,
            Algebra((1, -1)),
            uses=("largest weight", "scale"),
            reason="The largest weight has the largest code.",
        ),
        Step("rounding", le(eps, scale / 2), Algebra(), uses=("half a step", "no clipping")),
        Step(
            "bits as a logarithm",
            le(sp.log(1 + needed) / sp.log(2), bits - 1),
            Algebra(),
            uses=("condition",),
        ),
        Step(
            "codes",
            le(1 + needed, 2 ** (bits - 1)),
            Power(sp.Integer(2)),
            uses=("bits as a logarithm",),
            reason="A power of 2 grows with its exponent.",
        ),
        Step(
            "a step",
            le(C * scale / 2, tau),
            Algebra((tau * scale / largest, tau / largest)),
            uses=("codes", "scale"),
            reason="So many codes divide the range.",
        ),
        Step("statement", goal, Algebra((1, C, 1)), uses=("bound", "rounding", "a step")),
    )
