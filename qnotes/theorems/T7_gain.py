"""T7, the gain: how much smaller the layerwise bound is than one norm for all layers.

The quotient of P2 and T5 (mean form), as a product of three factors: depth, width and norms.
`qnotes.gain_factors` gives each of them for a profile.
"""

import sympy as sp

from qnotes.theorems.facts import eq
from qnotes.theorems.notation import (
    LATEX,
    L,
    W,
    eps,
    gain,
    k,
    n_joint,
    n_mean,
    r_joint,
    r_joint_mean,
    r_joint_min,
    r_max,
)
from qnotes.theorems.P2_uniform_norm import UNIFORM_NORM
from qnotes.theorems.rules import Algebra
from qnotes.theorems.T4_mean_form import sign_of_mean, smallest_of
from qnotes.theorems.T5_layerwise_with_biases import JOINT, MEAN_FORM_WITH_BIASES
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of

FACTORS = {
    "depth": (L + 3) / sp.Integer(2),
    "width": W / n_mean,
    "norms": (r_max / r_joint_mean) ** (L - 1),
}
#: A largest change that is not zero.
change = sp.Symbol("varepsilon", positive=True)
LATEX[change] = r"\varepsilon"


def _bound(theorem: Theorem) -> sp.Expr:
    return theorem.statement.rhs.xreplace({eps: change})


GAIN = Theorem(
    number="T7",
    form="gain",
    name="gain of the layerwise bound over one norm for all layers",
    source="The paper reports a gain of several orders of magnitude that comes mostly from depth; "
    "this shape is public. The formula is ours: the quotient of our P2 and our T5 (mean form).",
    whose="ours; the shape is public",
    statement=sp.Eq(gain, sp.Mul(*FACTORS.values()), evaluate=False),
    definitions={
        r_joint_mean: MEAN_FORM_WITH_BIASES.definitions[r_joint_mean],
        n_mean: sp.Sum(n_joint[k], (k, 1, L)) / L,
    },
    hypotheses=(
        Hypothesis(
            "the gain is the quotient of P2 and T5 (mean form), where something changes",
            facts={"quotient": eq(gain * _bound(MEAN_FORM_WITH_BIASES), _bound(UNIFORM_NORM))},
        ),
        Hypothesis("r̃ is at least 1", facts={"at least one": JOINT.facts["at least one"]}),
        smallest_of(r_joint, r_joint_min),
    ),
)


@proof_of(GAIN)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """The quotient of the two right sides, and that nothing was divided by zero."""
    (goal,) = theorem.goals()
    layerwise = _bound(MEAN_FORM_WITH_BIASES)
    weight = gain * layerwise / sp.Sum(n_joint[k], (k, 1, L))
    # P2/T5 with the mean fan-in times L for the sum of fan-ins.
    scale = layerwise / sp.Sum(n_joint[k], (k, 1, L)) * L * n_mean
    return (
        Step(
            "statement",
            goal,
            Algebra((1, weight), scale=scale),
            uses=("quotient", "n_mean"),
            reason="Both bounds are put in; what they have in common is not zero.",
        ),
        *sign_of_mean(r_joint, r_joint_mean, r_joint_min),
    )
