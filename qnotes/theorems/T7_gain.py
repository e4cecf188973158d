"""T7, the gain: how much smaller the layerwise bound is than one norm for all layers.

The quotient of P2 and T5 (mean form), as a product of three factors: depth, width and norms.
`qnotes.gain_factors` gives each of them for a profile.
"""

import sympy as sp

from qnotes.theorems.notation import L, W, gain, k, n_joint, n_mean, r_joint_mean, r_max
from qnotes.theorems.P2_uniform_norm import UNIFORM_NORM
from qnotes.theorems.proof_steps import Cases, Identity, Monotone, Step, equation
from qnotes.theorems.T5_layerwise_with_biases import MEAN_FORM_WITH_BIASES
from qnotes.theorems.theorem import Theorem, proof_of

FACTORS = {
    "depth": (L + 3) / sp.Integer(2),
    "width": W / n_mean,
    "norms": (r_max / r_joint_mean) ** (L - 1),
}

GAIN = Theorem(
    number="T7",
    form="gain",
    name="gain of the layerwise bound over one norm for all layers",
    source="The paper reports a gain of several orders of magnitude that comes mostly from depth. "
    "The formula is the quotient of our P2 and our T5 (mean form).",
    whose="ours; the paper reports such a gain",
    statement=sp.Eq(gain, sp.Mul(*FACTORS.values())),
    definitions={
        r_joint_mean: MEAN_FORM_WITH_BIASES.definitions[r_joint_mean],
        n_mean: sp.Sum(n_joint[k], (k, 1, L)) / L,
    },
    premises=(UNIFORM_NORM, MEAN_FORM_WITH_BIASES),
)


@proof_of(GAIN)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """The quotient of the two right sides, and how it grows."""
    uniform, layerwise = theorem.premises
    written = theorem.statement.rhs.subs({n_mean: theorem.definitions[n_mean]})
    ratio = sp.Symbol("q", positive=True)  # r / r_mean
    return (
        Identity(
            title="quotient",
            reason="The bound of P2 divided by that of T5 (mean form), nothing estimated.",
            left=uniform.statement.rhs / layerwise.statement.rhs,
            right=written,
        ),
        Cases(
            title="the same mean",
            reason="The mean of the norms is that of T5, the mean fan-in that of its sum.",
            pairs=(
                (theorem.definitions[r_joint_mean], layerwise.definitions[r_joint_mean]),
                (L * theorem.definitions[n_mean], sp.Sum(n_joint[k], (k, 1, L))),
            ),
            printed=(
                equation(r_joint_mean, layerwise.definitions[r_joint_mean]),
                equation(L * n_mean, sp.Sum(n_joint[k], (k, 1, L))),
            ),
        ),
        Identity(
            title="equal layers",
            reason="With equal norms and fan-ins the gain is linear in depth.",
            left=theorem.statement.rhs.subs({r_joint_mean: r_max, n_mean: W}),
            right=(L + 3) / 2,
            printed=(equation(gain, sp.factor((L + 3) / 2)),),
        ),
        Monotone(
            title="unequal layers",
            reason="With $q = r / \\tilde r_{\\mathrm{mean}}$ it grows, exponentially in depth.",
            expression=ratio ** (L - 1),
            variables=(ratio,),
        ),
    )
