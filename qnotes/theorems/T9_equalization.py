"""T9, the best equalization: what rescaling neurons can do to the product of norms.

No rescaling goes below the path norm, the norm of |W_L| ··· |W_1| 1, and the rescaling by 1/v
reaches it where every v is positive; where some v is zero, rescalings by 1/(v + t z) come as close
to it as one likes. `qnotes.equalize(method="path")` rescales a network so.
"""

import sympy as sp

from qnotes.theorems.facts import Fact, eq, ge, le, lt
from qnotes.theorems.notation import LATEX, LAYERS, A, L, N, best, d, ell, i, j, m, top, v, z
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, Both, Limit, Replace
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

UNITS, LAST = (i, sp.S.One, N[ell]), (i, sp.S.One, N[L])
HIDDEN = (ell, sp.S.One, L - 1)
#: A positive number that goes to zero, and the largest entry of z_L.
t = sp.Symbol("t", positive=True)
top_z = sp.Symbol("top_z", nonnegative=True)
LATEX[top_z] = r"\|z_L\|"
#: The product of the norms of a rescaled network.
NORMS = sp.Product(m[ell], (ell, 1, L))


def _row(vector) -> sp.Sum:
    return sp.Sum(A[ell, i, j] * vector(j), (j, 1, N[ell - 1]))


_RESCALED = sp.Sum(d[ell, i] * A[ell, i, j] / d[ell - 1, j], (j, 1, N[ell - 1]))
_BELOW_ALL = le(top, NORMS)
# The rescaling by 1/y, y = v + t z.
_Y = v[ell, i] + t * z[ell, i]
_ROW_OF_Y = _row(lambda at: v[ell - 1, at] + t * z[ell - 1, at])
_POSITIVE = lt(0, _Y, HIDDEN, UNITS)
_NOTHING_AT_FIRST = eq(v[0, i] + t * z[0, i], 1, (i, 1, N[0]))
_HIDDEN_ROWS = le(_ROW_OF_Y, _Y, HIDDEN, UNITS)
_LAST_ROWS = le(_ROW_OF_Y.subs(ell, L), top + t * top_z, LAST)

EQUALIZATION = Result(
    number="T9",
    name="best equalization",
    source="The paper states that cross-layer equalization tightens the bound. That the optimum is "
    "the path norm, the form and the proof are our own.",
    statement=sp.Eq(best, top, evaluate=False),
    definitions={
        v[0, i]: sp.Integer(1),
        v[ell, i]: _row(lambda at: v[ell - 1, at]),
        z[0, i]: sp.Integer(0),
        z[ell, i]: _row(lambda at: z[ell - 1, at]) + 1,
    },
    hypotheses=(
        Hypothesis(
            "activations are positively homogeneous: ReLU, not ReLU6; no biases. Then hidden units "
            "may be rescaled by any d > 0, the diagonal of D, and m is at least each row sum of a "
            "rescaled layer",
            facts={
                "row sums": le(_RESCALED, m[ell], LAYERS, UNITS),
                "input as it is": eq(d[0, i], 1, (i, 1, N[0])),
                "output as it is": eq(d[L, i], 1, LAST),
            },
        ),
        Hypothesis(
            "$\\|v_L\\|$ and $\\|z_L\\|$ are the largest entries of $v_L$ and $z_L$",
            facts={
                "largest entry": le(v[L, i], top, LAST),
                "no smaller number": Fact(top, "<=", NORMS, (), (le(v[L, i], NORMS, LAST),)),
                "largest entry of z": le(z[L, i], top_z, LAST),
            },
        ),
        Hypothesis(
            "the infimum is the greatest lower bound of the products of norms of rescalings: it is "
            "not below $\\|v_L\\|$, if no product is; and not above the product that the rescaling "
            "by 1/y has, y = v + t z, for every t > 0: 1 for each hidden layer, as $|W| y$ is at "
            "most y, and the last rows. It may not be reached: where some v is zero",
            anything=(t,),
            facts={
                "largest below all": Fact(top, "<=", best, (), (_BELOW_ALL,)),
                "one rescaling": Fact(
                    best,
                    "<=",
                    top + t * top_z,
                    (),
                    (_POSITIVE, _NOTHING_AT_FIRST, _HIDDEN_ROWS, _LAST_ROWS),
                ),
            },
        ),
    ),
    tight=True,
)


@proof_of(EQUALIZATION)
def prove(theorem: Result) -> tuple[Step, ...]:
    """No rescaling goes below the path norm, by induction; and one comes as close as one likes."""
    (goal,) = theorem.goals()
    product = sp.Product(m[j], (j, 1, ell))
    last = product.subs(ell, ell - 1)
    old = lambda at: v[ell - 1, at]  # noqa: E731
    bounded = _row(lambda at: last / d[ell - 1, at])
    return (
        # The lower bound.
        Step(
            "at the input",
            le(v[0, i], 1 / d[0, i], (i, 1, N[0])),
            Algebra((v[0, i] / d[0, i], 1 / d[0, i])),
            uses=("input as it is", "v 0"),
        ),
        *over_layers(
            "every layer",
            lambda at: v[at, i],
            product / d[ell, i],
            each=lambda at: ((i, 1, N[at]),),
            between=lambda before: (
                Step(
                    "bounds for a row",
                    le(_row(old), bounded, LAYERS, UNITS, given=(before,)),
                    Replace(),
                    uses=("every layer before",),
                ),
            ),
            layer=Algebra((1, 1, last / d[ell, i])),
            uses=("v", "bounds for a row", "row sums"),
            start=("at the input",),
            reasons=("", "Each row of the rescaled layer adds up to at most its norm.", ""),
        ),
        Step(
            "the output",
            le(v[L, i], NORMS, LAST),
            Algebra((1, -NORMS / d[L, i])),
            uses=(("every layer", {ell: L}), "output as it is"),
        ),
        Step(
            "no rescaling goes below",
            _BELOW_ALL,
            Algebra(),
            uses=("no smaller number", "the output"),
        ),
        Step(
            "lower bound",
            le(top, best),
            Algebra(),
            uses=("largest below all", "no rescaling goes below"),
        ),
        # The rescaling by 1/(v + t z).
        Step(
            "at least one",
            ge(z[ell, i], 1, LAYERS, UNITS),
            Algebra((-1,), gives_away=True),
            uses=("z",),
        ),
        Step(
            "positive",
            _POSITIVE,
            Algebra((t,), gives_away=True),
            uses=("at least one",),
            reason="So nothing is divided by zero, although some v may be zero.",
        ),
        Step("the input", _NOTHING_AT_FIRST, Algebra((1, t)), uses=("v 0", "z 0")),
        Step(
            "hidden rows",
            _HIDDEN_ROWS,
            Algebra((-1, -t), gives_away=True),
            uses=("v", "z"),
            reason="Divided by the right side: every hidden row sum is at most 1.",
        ),
        Step(
            "last rows",
            _LAST_ROWS,
            Algebra((-1, -t, 1, t), gives_away=True),
            uses=(("v", {ell: L}), ("z", {ell: L}), "largest entry", "largest entry of z"),
        ),
        Step(
            "a little above",
            le(best, top + t * top_z),
            Algebra(),
            uses=("one rescaling", "positive", "the input", "hidden rows", "last rows"),
        ),
        Step(
            "upper bound",
            le(best, top),
            Limit(t),
            uses=("a little above",),
            reason="This holds for every $t > 0$.",
        ),
        Step("statement", goal, Both(), uses=("upper bound", "lower bound")),
    )
