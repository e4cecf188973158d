"""T10, intervals with signs: a low and a high end of the error of each unit.

`qnotes.propagation.intervals.Intervals` computes these ends on the graph of a network: its rules
`affine` and `activation`, and what `met` does with Δ. A sum is a layer here, whose weights are 1 in
both networks and whose χ is 1. That the code also meets the ends of S and S' with those of Δ only
makes intervals smaller, and so do its ends of Δ behind ReLU, max(Δ, -σ(S')) and min(Δ, σ(S)): they
are those of the lemma on two ReLUs.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.facts import Fact, eq, ge, le
from qnotes.theorems.intervals_of_one_network import (
    DIFFERENCE,
    ERROR,
    ONE_NETWORK,
    OURS,
    THEIRS,
    UNITS,
    Activated,
    _ends,
    between_ends,
    definitions,
    members,
    network,
    outside,
    row,
    rows,
    units,
    weighted,
)
from qnotes.theorems.notation import LAYERS, L, N, ell, i, j
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, Apply, Largest, Replace
from qnotes.theorems.sums_over_layers import Larger, Smaller
from qnotes.theorems.theorem import Hypothesis, Result, Step, name_of, proof_of

error = sy.error_entry
low, high = _ends("Delta", r"\Delta")
made_low, made_high = _ends("delta", r"\delta")
made, made_q = OURS.made[ell, i], THEIRS.made[ell, i]
INPUTS = (i, sp.S.One, N[0])
_AFTER = Activated(made) - Activated(made_q)


def _bent(kind, ends: sp.Expr) -> sp.Expr:
    """Δ, or between it and 0: the largest or smallest of Δ and χ Δ."""
    return kind(ends, sy.straight[ell, i] * ends)


def _made(one: str) -> sp.Expr:
    """An end of the error that a layer makes of ends before it."""
    old = weighted(OURS.plus, OURS.minus, *((low, high) if one == "low" else (high, low)))
    ends = (THEIRS.low, THEIRS.high) if one == "low" else (THEIRS.high, THEIRS.low)
    new = weighted(sy.c_plus, sy.c_minus, *ends)
    return old + new + OURS.bias[ell, i] - THEIRS.bias[ell, i]


INTERVALS = Result(
    number="T10",
    name="intervals with signs",
    source="Differential interval analysis (ReluDiff, 2020), here for two networks with different "
    "weights. `qnotes.certify` has it.",
    whose="earlier work",
    statement=sp.Le(error[ell, i], high[ell, i], evaluate=False),
    also=(sp.Ge(error[ell, i], low[ell, i], evaluate=False),),
    definitions={
        low[0, i]: sp.Integer(0),
        high[0, i]: sp.Integer(0),
        **definitions(OURS),
        made_high[ell, i]: _made("high"),
        made_low[ell, i]: _made("low"),
        high[ell, i]: Smaller(
            _bent(Larger, made_high[ell, i]), OURS.high[ell, i] - THEIRS.low[ell, i]
        ),
        low[ell, i]: Larger(
            _bent(Smaller, made_low[ell, i]), OURS.low[ell, i] - THEIRS.high[ell, i]
        ),
    },
    hypotheses=(
        Hypothesis(
            "z and z' are what layers make of S and S', with weights w and w' and biases b and b'; "
            "+ and - mark positive and negative parts; S and S' lie between ends, at first those "
            "of the box of inputs",
            facts={**network(THEIRS), **network(OURS, " of S")},
        ),
        Hypothesis(
            "activations never decrease and have slopes of at most 1; χ is 1 where both networks "
            "are on a piece of slope 1, else 0",
            facts={
                "slope, high": le(_AFTER, _bent(Larger, made - made_q), LAYERS, UNITS),
                "slope, low": ge(_AFTER, _bent(Smaller, made - made_q), LAYERS, UNITS),
            },
        ),
        Hypothesis(
            "both networks read the same input; Δ is S - S', and w - w' is the difference of its "
            "positive and negative parts",
            facts={
                **ERROR,
                "same input": eq(OURS.value[0, i], THEIRS.value[0, i], INPUTS),
                "change": eq(
                    OURS.weight[ell, i, j] - THEIRS.weight[ell, i, j],
                    sy.c_plus[ell, i, j] - sy.c_minus[ell, i, j],
                    *(LAYERS, UNITS, (j, 1, N[ell - 1])),
                ),
            },
        ),
    ),
    premises=(ONE_NETWORK, DIFFERENCE),
)


@proof_of(INTERVALS)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Interval arithmetic for both networks, T1 entry by entry, and induction over the layers."""
    one, layer = theorem.premises
    old, read = (lambda at: error[ell - 1, at]), (lambda at: THEIRS.value[ell - 1, at])
    weights = lambda family: lambda at: family[ell, i, at]  # noqa: E731
    w, w_q, plus, minus = map(weights, OURS[:1] + THEIRS[:1] + OURS[1:3])
    c_plus, c_minus = map(weights, (sy.c_plus, sy.c_minus))
    times = lambda entry, vector: row(lambda at: entry(at) * vector(at))  # noqa: E731
    values = ("high of S'", "low of S'", "high of S' before", "low of S' before")
    each = (LAYERS, UNITS)
    return (
        layer.applied("difference"),
        *(one.applied(name, goal) for goal, name in enumerate(values)),
        *_of_ours(one),
        Step(
            "weights with signs",
            eq(times(w, old), times(lambda at: plus(at) - minus(at), old), *each),
            Replace(),
            uses=("parts of S",),
        ),
        Step(
            "change with signs",
            eq(
                times(lambda at: w(at) - w_q(at), read),
                times(lambda at: c_plus(at) - c_minus(at), read),
                *each,
            ),
            Replace(),
            uses=("change",),
        ),
        *rows("new", sy.c_plus, sy.c_minus, THEIRS.value, THEIRS.low, THEIRS.high, values[2:]),
        *_by_values(),
        *members(error, low, high, ((ell, 0, L), UNITS)),
        *over_layers(
            "outside",
            lambda at: outside(error, low, high, at),
            sp.S.Zero,
            each=units,
            between=_one_layer,
            layer=Largest(),
            uses=("not above", "not below"),
            first=Largest(),
            start=("not above at first", "not below at first"),
        ),
        *(
            Step(f"{end} end", goal, Algebra(), uses=(f"{end} member", "outside"))
            for end, goal in zip(("high", "low"), theorem.goals(), strict=True)
        ),
    )


def _of_ours(one: Result) -> tuple[Step, ...]:
    """The lemma for S, whose families have other names."""
    meanings = dict(zip(THEIRS, OURS, strict=True))
    uses = (*network(OURS, " of S"), *map(name_of, definitions(OURS)))
    ends = ((le, OURS.high, "high of S"), (ge, OURS.low, "low of S"))
    return tuple(
        Step(
            name,
            kind(OURS.value[ell, i], end[ell, i], LAYERS, UNITS),
            Apply(one, meanings),
            uses=uses,
        )
        for kind, end, name in ends
    )


def _by_values() -> tuple[Step, ...]:
    """Where the ends of S and S' put their difference."""
    each = (LAYERS, UNITS)
    return (
        Step(
            "by values, high",
            le(error[ell, i], OURS.high[ell, i] - THEIRS.low[ell, i], *each),
            Algebra(),
            uses=("error", "high of S", "low of S'"),
        ),
        Step(
            "by values, low",
            ge(error[ell, i], OURS.low[ell, i] - THEIRS.high[ell, i], *each),
            Algebra((-1, 1, 1)),
            uses=("error", "low of S", "high of S'"),
        ),
    )


def _one_layer(before: Fact) -> tuple[Step, ...]:
    """From the error before a layer to the error after it."""
    ends = ("high before a layer", "low before a layer")
    return (
        *between_ends(error, low, high, before),
        *rows("old", OURS.plus, OURS.minus, error, low, high, ends, (before,)),
        *_one_end(before, "high", le, Larger, Smaller, made_high, high, ("high", "low")),
        *_one_end(before, "low", ge, Smaller, Larger, made_low, low, ("low", "high")),
        Step(
            "not above at first",
            le(error[0, i] - high[0, i], 0, INPUTS),
            Algebra((1, 1, -1)),
            uses=(("error", {ell: 0}), "same input", name_of(high[0, i])),
        ),
        Step(
            "not below at first",
            le(low[0, i] - error[0, i], 0, INPUTS),
            Algebra((-1, -1, 1)),
            uses=(("error", {ell: 0}), "same input", name_of(low[0, i])),
        ),
    )


def _one_end(before, end, at_most, bent, met, made_end, after, order) -> tuple[Step, ...]:
    """One end of the error: after the layer, after the activation, and met with the values' own."""
    given, each = (before,), (LAYERS, UNITS)
    sign = 1 if end == "high" else -1
    found = {True: (error[ell, i], after[ell, i]), False: (after[ell, i], error[ell, i])}[sign > 0]
    slope, values = _bent(bent, made_end[ell, i]), f"by values, {end}"
    both = (
        OURS.high[ell, i] - THEIRS.low[ell, i]
        if sign > 0
        else OURS.low[ell, i] - THEIRS.high[ell, i]
    )
    return (
        Step(
            f"difference, {end}",
            at_most(made - made_q, made_end[ell, i], *each, given=given),
            Algebra((sign, sign, sign, 1, 1, 1, 1, -sign)),
            uses=(
                *("difference", "weights with signs", "change with signs"),
                *(f"old, {w} weights, {o}" for w, o in zip(_WEIGHTS, order, strict=True)),
                *(f"new, {w} weights, {o}" for w, o in zip(_WEIGHTS, order, strict=True)),
                name_of(made_end[ell, i]),
            ),
        ),
        Step(
            f"slope of the {end} end",
            at_most(_bent(bent, made - made_q), slope, *each, given=given),
            Replace(),
            uses=(f"difference, {end}",),
        ),
        Step(
            f"activated, {end}",
            at_most(error[ell, i], slope, *each, given=given),
            Algebra((sign, sign, -sign, 1, 1)),
            uses=(
                *("error", "activated of S", "activated"),
                *(f"slope, {end}", f"slope of the {end} end"),
            ),
        ),
        Step(
            f"met, {end}",
            at_most(error[ell, i], met(slope, both), *each, given=given),
            Largest(),
            uses=(f"activated, {end}", values),
        ),
        Step(
            "not above" if sign > 0 else "not below",
            le(found[0] - found[1], 0, *each, given=given),
            Algebra((1, -sign)),
            uses=(f"met, {end}", name_of(after[ell, i])),
        ),
    )


_WEIGHTS = ("positive", "negative")
