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
from qnotes.theorems.log_domain import log_value
from qnotes.theorems.notation import C, E, bits, largest, tau
from qnotes.theorems.proof_steps import Cases, Identity, Monotone, Nonnegative, Step, equation
from qnotes.theorems.theorem import Hypothesis, Result, proof_of

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


BITS = CertifyingBits(
    number="T12",
    name="bits that certify an error",
    source="Arithmetic on the half-step of a uniform quantizer; stated and proved here.",
    statement=sp.Ge(bits, 1 + sp.log(1 + C * largest / (2 * tau), 2), evaluate=False),
    conclusion=sp.Le(E, tau),
    hypotheses=(
        Hypothesis("symmetric uniform quantizer, codes in [-q, q], q = 2^(b-1) - 1, scale a/q"),
        Hypothesis("round to nearest, in exact arithmetic; biases are not quantized"),
        Hypothesis("E ≤ C ε, with a C that does not depend on b"),
    ),
)


@proof_of(BITS)
def prove(theorem: Result) -> tuple[Step, ...]:
    """The half-step, and the number of bits at which C times it is exactly τ."""
    scale, code, part = (
        sp.Symbol(name, positive=True) for name in (r"\,\mathrm{scale}\,", r"\,\mathrm{code}", "f")
    )
    t, u, q = (sp.Symbol(name, nonnegative=True) for name in ("t", "u", "q"))
    enough = theorem.statement.rhs
    more = sp.Symbol("y", positive=True)  # 2^(b-1) - 1 beyond what is enough
    first, second = sp.symbols("C_1 C_2", positive=True)
    between = enough.subs(C, first) - enough.subs(C, second)
    codes = sp.Symbol("q", positive=True)
    bits_more = sp.Symbol(r"\lim_{\tau \to 0} \left(b_1 - b_2\right)")
    return (
        Cases(
            title="half a step",
            reason="A weight lies a part $f$ of a step above a level. It goes down where "
            "$f = 1/2 - t$, and up where $f = 1/2 + t$: by half a step less $t$ steps.",
            pairs=tuple(
                (moved.subs(part, place), scale / 2 - t * scale)
                for moved, place in (
                    ((code + part) * scale - code * scale, sp.Rational(1, 2) - t),
                    ((code + 1) * scale - (code + part) * scale, sp.Rational(1, 2) + t),
                )
            ),
        ),
        Nonnegative(
            title="no clipping",
            reason="With scale a/q the largest weight has code q, so nothing leaves the range.",
            larger=q,
            smaller=(largest - u) / (largest / q),
            certificate=u * q / largest,
        ),
        Identity(
            title="enough bits",
            reason="At this number of bits C times the half-step is τ exactly.",
            left=C * HALF_STEP.subs(bits, enough),
            right=theorem.conclusion.rhs,
            printed=(
                equation(codes, LARGEST_CODE.subs(bits, enough)),
                equation(C * largest / (2 * codes), theorem.conclusion.rhs),
            ),
        ),
        Monotone(
            title="more bits",
            reason="With y more codes the bound is smaller: the half-step is a decreasing "
            "function of b.",
            expression=-C * largest / (2 * more),
            variables=(more,),
        ),
        Identity(
            title="two bounds",
            reason="For small τ two bounds with constants $C_1 > C_2$ differ by so many bits.",
            left=sp.limit(sp.logcombine(sp.expand_log(between)), tau, 0, "+"),
            right=sp.log(first / second, 2),
            printed=(equation(bits_more, sp.log(first / second, 2)),),
        ),
    )
