"""Lemmas about ReLU: what it does to a difference, its chord, and that a unit may be rescaled.

`qnotes.propagation.intervals` has the sharper end of a difference in its rule `activation`.
`qnotes.propagation.affine` draws lines: `_Change` with slopes of Δ, `_chord` through the ends of an
interval.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.facts import eq, le
from qnotes.theorems.intervals_of_one_network import UNITS
from qnotes.theorems.notation import LAYERS, ell, i
from qnotes.theorems.rules import Algebra, Both, Largest
from qnotes.theorems.sums_over_layers import Larger
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

EACH = (LAYERS, UNITS)
x, y = sy.z_entry[ell, i], sy.z_entry_q[ell, i]
slope = sy._family("s_line", "s", nonnegative=True)
above = sy._family("u_end", "u", nonnegative=True)
below = sy._family("a_end", "a", positive=True)


def relu(number: sp.Expr) -> sp.Max:
    """max(x, 0)."""
    return Larger(number, 0)


def size(number: sp.Expr) -> sp.Max:
    """|x|, as the larger one of x and -x."""
    return Larger(number, -number)


RELU = Result(
    number="two ReLUs",
    name="the difference of two numbers after ReLU",
    source="Classical; stated and proved here.",
    whose="classical",
    statement=sp.Le(relu(x) - relu(y), Larger(x - y, 0), evaluate=False),
    also=(
        sp.Le(relu(y) - relu(x), Larger(y - x, 0), evaluate=False),
        sp.Le(size(relu(x) - relu(y) - (x - y) / 2), size(x - y) / 2, evaluate=False),
        sp.Le(relu(x) - relu(y), Larger(x - y, -relu(y)), evaluate=False),
    ),
)


@proof_of(RELU)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Each maximum by its members; between 0 and Δ is no further from Δ/2 than |Δ|/2."""
    rises, falls, half, sharper = theorem.goals()
    rest = relu(x) - relu(y) - (x - y) / 2
    sizes = ("as large", "as large with the other sign")
    both = (("", x, y, rises, rest, sizes), (", exchanged", y, x, falls, -rest, sizes[::-1]))
    return (
        *(
            Step(name, le(difference, size(x - y), *EACH), Largest())
            for name, difference in zip(sizes, (x - y, y - x), strict=True)
        ),
        *(step for names in both for step in _one_way(*names)),
        Step(
            "half of the difference",
            half,
            Largest(),
            uses=("not far from half", "not far from half, exchanged"),
        ),
        *_no_more_than_is_cut(sharper),
    )


def _no_more_than_is_cut(goal) -> tuple[Step, ...]:
    """Where x is cut off, the difference is -max(y, 0); elsewhere no more than x - y."""
    most = Larger(x - y, -relu(y))
    return (
        Step("either the difference", le(x - y, most, *EACH), Largest()),
        Step("or what is left", le(-relu(y), most, *EACH), Largest()),
        Step(
            "where it is kept",
            le(x, relu(y) + most, *EACH),
            Algebra(),
            uses=("the other one", "either the difference"),
        ),
        Step(
            "where it is cut off",
            le(0, relu(y) + most, *EACH),
            Algebra(),
            uses=("or what is left",),
        ),
        Step(
            "kept or cut off",
            le(relu(x), relu(y) + most, *EACH),
            Largest(),
            uses=("where it is kept", "where it is cut off"),
        ),
        Step("sharper", goal, Algebra(), uses=("kept or cut off",)),
    )


def _one_way(mark, one, other, goal, rest, sizes) -> tuple[Step, ...]:
    both, whole = size(one - other), Larger(one - other, 0)
    return (
        Step(f"the other one{mark}", le(other, relu(other), *EACH), Largest()),
        Step(f"their difference{mark}", le(one - other, whole, *EACH), Largest()),
        Step(
            f"this one{mark}",
            le(one, relu(other) + whole, *EACH),
            Algebra(),
            uses=(f"the other one{mark}", f"their difference{mark}"),
        ),
        Step(f"zero{mark}", le(0, relu(other) + whole, *EACH), Algebra(gives_away=True)),
        Step(
            f"at most both{mark}",
            le(relu(one), relu(other) + whole, *EACH),
            Largest(),
            uses=(f"this one{mark}", f"zero{mark}"),
        ),
        Step(f"rise{mark}", goal, Algebra(), uses=(f"at most both{mark}",)),
        Step(
            f"more than half{mark}",
            le(one - other, (one - other) / 2 + both / 2, *EACH),
            Algebra((sp.Rational(1, 2),)),
            uses=sizes[:1],
        ),
        Step(
            f"less than half{mark}",
            le(0, (one - other) / 2 + both / 2, *EACH),
            Algebra((sp.Rational(1, 2),)),
            uses=sizes[1:],
        ),
        Step(
            f"between{mark}",
            le(whole, (one - other) / 2 + both / 2, *EACH),
            Largest(),
            uses=(f"more than half{mark}", f"less than half{mark}"),
        ),
        Step(
            f"not far from half{mark}",
            le(rest, both / 2, *EACH),
            Algebra(),
            uses=(f"rise{mark}", f"between{mark}"),
        ),
    )


a, u, s = below[ell, i], above[ell, i], slope[ell, i]
CHORD = Result(
    number="chord",
    name="the chord of ReLU over an interval",
    source="Classical; stated and proved here.",
    whose="classical",
    statement=sp.Le(size(relu(y) - s * y - s * a / 2), s * a / 2, evaluate=False),
    hypotheses=(
        Hypothesis(
            "z' lies between -a and u, on both sides of 0; s is the slope u/(u + a) of the chord",
            facts={
                "low end": le(-a, y, *EACH),
                "high end": le(y, u, *EACH),
                "slope": eq(s * (u + a), u, *EACH),
            },
        ),
    ),
)


@proof_of(CHORD)
def prove_chord(theorem: Result) -> tuple[Step, ...]:
    """ReLU lies below the chord and above the parallel through 0."""
    (goal,) = theorem.goals()
    chord, rest = s * (y + a), relu(y) - s * y - s * a / 2
    return (
        Step(
            "under the chord",
            le(y, chord, *EACH),
            Algebra((a, -(y + a)), scale=u + a),
            uses=("high end", "slope"),
        ),
        Step("the chord is above 0", le(0, chord, *EACH), Algebra((s,)), uses=("low end",)),
        Step(
            "ReLU under the chord",
            le(relu(y), chord, *EACH),
            Largest(),
            uses=("under the chord", "the chord is above 0"),
        ),
        Step(
            "a slope of at most 1",
            le(s, 1, *EACH),
            Algebra(scale=u + a, gives_away=True),
            uses=("slope",),
        ),
        Step("above the number", le(y, relu(y), *EACH), Largest()),
        Step(
            "above the parallel",
            le(s * y, relu(y), *EACH),
            Algebra((s, relu(y))),
            uses=("above the number", "a slope of at most 1"),
        ),
        Step(
            "not further above",
            le(rest, s * a / 2, *EACH),
            Algebra(),
            uses=("ReLU under the chord",),
        ),
        Step(
            "not further below",
            le(-rest, s * a / 2, *EACH),
            Algebra(),
            uses=("above the parallel",),
        ),
        Step("statement", goal, Largest(), uses=("not further above", "not further below")),
    )


d = sy.d[ell, i]
weight = sy._family("w_reads", "w", real=True)[ell, i]
RESCALED = Result(
    number="rescaled unit",
    name="a ReLU whose input is multiplied by d",
    source="Classical; stated and proved here.",
    whose="classical",
    statement=sp.Eq(relu(d * x), d * relu(x), evaluate=False),
    also=(sp.Eq(weight / d * relu(d * x), weight * relu(x), evaluate=False),),
    hypotheses=(
        Hypothesis("d is positive, z what a unit reads, w a weight by which its value is read"),
    ),
)


@proof_of(RESCALED)
def prove_rescaled(theorem: Result) -> tuple[Step, ...]:
    """ReLU is positively homogeneous, so a unit may be rescaled and the network stays the same."""
    scaled, read = theorem.goals()
    part = relu(d * x) / d
    return (
        Step("the number", le(x, relu(x), *EACH), Largest()),
        Step("scaled", le(d * x, d * relu(x), *EACH), Algebra((d,)), uses=("the number",)),
        Step("not below zero", le(0, d * relu(x), *EACH), Algebra(gives_away=True)),
        Step(
            "at most scaled",
            le(relu(d * x), d * relu(x), *EACH),
            Largest(),
            uses=("scaled", "not below zero"),
        ),
        Step("the scaled number", le(d * x, relu(d * x), *EACH), Largest()),
        Step("divided", le(x, part, *EACH), Algebra((1 / d,)), uses=("the scaled number",)),
        Step("not below zero, divided", le(0, part, *EACH), Algebra(gives_away=True)),
        Step(
            "at most divided",
            le(relu(x), part, *EACH),
            Largest(),
            uses=("divided", "not below zero, divided"),
        ),
        Step(
            "at least scaled",
            le(d * relu(x), relu(d * x), *EACH),
            Algebra((d,)),
            uses=("at most divided",),
        ),
        Step("statement", scaled, Both(), uses=("at most scaled", "at least scaled")),
        Step("as it is read", read, Algebra((weight / d,)), uses=("statement",)),
    )
