"""T12: how many bits a bound asks for (theory, section 5)."""

import sympy as sp

from qnotes.theory.proof import Cases, Identity, Monotone, Nonnegative, Step, equation
from qnotes.theory.symbols import C, E, bits, largest, tau
from qnotes.theory.theorem import Hypothesis, Result

#: q, the largest code of a symmetric quantizer of b bits.
LARGEST_CODE = 2 ** (bits - 1) - 1
#: The largest change of a weight: half of the distance a/q of two neighbouring codes.
HALF_STEP = largest / (2 * LARGEST_CODE)
_CODES = sp.Symbol("q", positive=True)
#: How many bits more the first of two bounds asks for.
_DIFFERENCE = sp.Symbol(r"\lim_{\tau \to 0} \left(b_1 - b_2\right)")


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
                equation(_CODES, LARGEST_CODE.subs(bits, enough)),
                equation(C * largest / (2 * _CODES), theorem.conclusion.rhs),
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
            printed=(equation(_DIFFERENCE, sp.log(first / second, 2)),),
        ),
    )


BITS = Result(
    number="T12",
    form="",
    name="bits that certify an error",
    source="Arithmetic on the half-step of a uniform quantizer; stated and proved here.",
    statement=sp.Ge(bits, 1 + sp.log(1 + C * largest / (2 * tau), 2), evaluate=False),
    conclusion=sp.Le(E, tau),
    hypotheses=(
        Hypothesis("symmetric uniform quantizer, codes in [-q, q], q = 2^(b-1) - 1, scale a/q"),
        Hypothesis("round to nearest, in exact arithmetic; biases are not quantized"),
        Hypothesis("E ≤ C ε, with a C that does not depend on b"),
    ),
    prove=prove,
)
