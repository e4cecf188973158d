"""A lemma: interval arithmetic through one network, low and high ends of every value.

`qnotes.propagation.intervals.layer` computes ends of a layer by center and radius, W c ± |W| r; the
second relation says that this is the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.facts import Fact, eq, ge, le
from qnotes.theorems.notation import LAYERS, L, N, ell, i, j
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, Largest, Replace
from qnotes.theorems.sums_over_layers import Larger
from qnotes.theorems.theorem import Hypothesis, Result, Step, name_of, proof_of

UNITS, INPUTS = (i, sp.S.One, N[ell]), (j, sp.S.One, N[ell - 1])
BEFORE = (i, sp.S.One, N[ell - 1])


class Activated(sp.Function):
    """What an activation makes of a number; of the activation only hypotheses are known."""

    nargs = 1
    is_real = True

    def _latex(self, printer) -> str:
        return rf"\sigma\left({printer._print(self.args[0])}\right)"


class Ends(NamedTuple):
    """The families of one network, and the ends that are computed for it."""

    weight: sp.IndexedBase
    plus: sp.IndexedBase
    minus: sp.IndexedBase
    bias: sp.IndexedBase
    made: sp.IndexedBase
    value: sp.IndexedBase
    made_low: sp.IndexedBase
    made_high: sp.IndexedBase
    low: sp.IndexedBase
    high: sp.IndexedBase


def _ends(name: str, latex: str) -> tuple[sp.IndexedBase, sp.IndexedBase]:
    return (
        sy._family(f"{name}_low", rf"\underline{{{latex}}}", real=True),
        sy._family(f"{name}_high", rf"\overline{{{latex}}}", real=True),
    )


OURS = Ends(
    *(sy.w_entry, sy.w_plus, sy.w_minus, sy.b_entry, sy.z_entry, sy.S_entry),
    *(*_ends("z", "z"), *_ends("S", "S")),
)
THEIRS = Ends(
    *(sy.w_entry_q, sy.w_plus_q, sy.w_minus_q, sy.b_entry_q, sy.z_entry_q, sy.S_entry_q),
    *(*_ends("z'", "z'"), *_ends("S'", "S'")),
)


def row(first, second=lambda at: sp.S.Zero) -> sp.Sum:
    """Σ_j over what a layer reads, of one term or a difference of two."""
    return sp.Sum(first(j) - second(j), (j, 1, N[ell - 1]))


def weighted(plus, minus, one, other) -> sp.Sum:
    """Σ_j (w⁺ one - w⁻ other), of ends before the layer."""
    return row(
        lambda at: plus[ell, i, at] * one[ell - 1, at],
        lambda at: minus[ell, i, at] * other[ell - 1, at],
    )


def definitions(of: Ends) -> dict[sp.Basic, sp.Expr]:
    """The ends, layer by layer."""
    bias = of.bias[ell, i]
    return {
        of.made_high[ell, i]: weighted(of.plus, of.minus, of.high, of.low) + bias,
        of.made_low[ell, i]: weighted(of.plus, of.minus, of.low, of.high) + bias,
        of.high[ell, i]: Activated(of.made_high[ell, i]),
        of.low[ell, i]: Activated(of.made_low[ell, i]),
    }


def network(of: Ends, mark: str = "") -> Mapping[str, Fact]:
    """What a layer and an activation do, and where the input is."""
    made, entry = of.made[ell, i], of.weight[ell, i, j]
    rises = lambda one, other: le(  # noqa: E731
        Activated(one) - Activated(other), Larger(one - other, 0), LAYERS, UNITS
    )
    inputs = (i, 1, N[0])
    found = {
        "layer": eq(
            made,
            row(lambda at: of.weight[ell, i, at] * of.value[ell - 1, at]) + of.bias[ell, i],
            *(LAYERS, UNITS),
        ),
        "parts": eq(entry, of.plus[ell, i, j] - of.minus[ell, i, j], LAYERS, UNITS, INPUTS),
        "activated": eq(of.value[ell, i], Activated(made), LAYERS, UNITS),
        "rises to the high end": rises(made, of.made_high[ell, i]),
        "rises from the low end": rises(of.made_low[ell, i], made),
        "input, high": le(of.value[0, i], of.high[0, i], inputs),
        "input, low": ge(of.value[0, i], of.low[0, i], inputs),
    }
    return {name + mark: fact for name, fact in found.items()}


ONE_NETWORK = Result(
    number="intervals",
    name="ends of the values of one network",
    source="Classical interval arithmetic; stated and proved here.",
    whose="classical",
    statement=sp.Le(THEIRS.value[ell, i], THEIRS.high[ell, i], evaluate=False),
    also=(
        sp.Ge(THEIRS.value[ell, i], THEIRS.low[ell, i], evaluate=False),
        sp.Le(THEIRS.value[ell - 1, i], THEIRS.high[ell - 1, i], evaluate=False),
        sp.Ge(THEIRS.value[ell - 1, i], THEIRS.low[ell - 1, i], evaluate=False),
    ),
    definitions=definitions(THEIRS),
    hypotheses=(
        Hypothesis(
            "activations never decrease and have slopes of at most 1, so they rise by no more than "
            "what they read, up to each end; a weight w' is the difference of its positive and "
            "negative parts, and the input lies between ends",
            facts=network(THEIRS),
        ),
    ),
)


@proof_of(ONE_NETWORK)
def prove(theorem: Result) -> tuple[Step, ...]:
    """How far a value is outside of its ends: not at all, by induction over the layers."""
    of, goals = THEIRS, theorem.goals()
    everywhere = ((ell, 0, L), UNITS)
    signs = row(lambda at: (of.plus[ell, i, at] - of.minus[ell, i, at]) * of.value[ell - 1, at])
    return (
        *members(of.value, of.low, of.high, everywhere),
        Step(
            "weights with signs",
            eq(row(lambda at: of.weight[ell, i, at] * of.value[ell - 1, at]), signs, LAYERS, UNITS),
            Replace(),
            uses=("parts",),
        ),
        *over_layers(
            "outside",
            lambda at: outside(of.value, of.low, of.high, at),
            sp.S.Zero,
            each=units,
            between=lambda before: _one_layer(of, before),
            layer=Largest(),
            uses=("not above", "not below"),
            first=Largest(),
            start=("input, not above", "input, not below"),
        ),
        *(
            Step(name, goal, Algebra(), uses=((member, at), ("outside", at)))
            for name, goal, (member, at) in zip(
                ("high", "low", "high before", "low before"),
                goals,
                [(f"{end} member", at) for at in ({}, {ell: ell - 1}) for end in ("high", "low")],
                strict=True,
            )
        ),
    )


#: Δ is S - S', entry by entry.
ERROR = {
    "error": eq(
        sy.error_entry[ell, i], OURS.value[ell, i] - THEIRS.value[ell, i], (ell, 0, L), UNITS
    )
}
_OLD = row(lambda at: OURS.weight[ell, i, at] * sy.error_entry[ell - 1, at])
_NEW = row(
    lambda at: (OURS.weight[ell, i, at] - THEIRS.weight[ell, i, at]) * THEIRS.value[ell - 1, at]
)
_LAYERS = {**network(THEIRS), **network(OURS, " of S")}

DIFFERENCE = Result(
    number="one layer",
    name="the decomposition entry by entry",
    source="T1 with entries for matrices.",
    whose="classical",
    statement=sp.Eq(
        OURS.made[ell, i] - THEIRS.made[ell, i],
        _OLD + _NEW + OURS.bias[ell, i] - THEIRS.bias[ell, i],
        evaluate=False,
    ),
    hypotheses=(
        Hypothesis(
            "z and z' are what a layer makes, with weights w and w' and biases b and b', of values "
            "S and S', and Δ is S - S'",
            facts={name: _LAYERS[name] for name in ("layer of S", "layer")} | ERROR,
        ),
    ),
)


@proof_of(DIFFERENCE)
def prove_difference(theorem: Result) -> tuple[Step, ...]:
    """As T1."""
    (goal,) = theorem.goals()
    apart = row(
        lambda at: OURS.weight[ell, i, at] * (OURS.value[ell - 1, at] - THEIRS.value[ell - 1, at])
    )
    return (
        Step("old error, by values", eq(_OLD, apart, *goal.each), Replace(), uses=("error",)),
        Step(
            "statement",
            goal,
            Algebra((1, -1, -1)),
            uses=("layer of S", "layer", "old error, by values"),
        ),
    )


def units(at: sp.Expr) -> tuple:
    """The units after a layer, as the range of i."""
    return ((i, sp.S.One, N[at]),)


def outside(value, low, high, at: sp.Expr) -> Larger:
    """How far a value is above its high end or below its low one."""
    return Larger(value[at, i] - high[at, i], low[at, i] - value[at, i])


def members(value, low, high, each) -> tuple[Step, Step]:
    """Each of the two distances is at most the larger one."""
    both = outside(value, low, high, ell)
    above, below = value[ell, i] - high[ell, i], low[ell, i] - value[ell, i]
    return (
        Step("high member", le(above, both, *each), Largest()),
        Step("low member", le(below, both, *each), Largest()),
    )


def between_ends(value, low, high, before: Fact) -> tuple[Step, Step]:
    """What is supposed of a value before a layer, as two inequalities."""
    each, was = (LAYERS, BEFORE), (value[ell - 1, i], low[ell - 1, i], high[ell - 1, i])
    at = {ell: ell - 1}
    return tuple(
        Step(
            f"{name} before a layer",
            kind(was[0], end, *each, given=(before,)),
            Algebra(),
            uses=((f"{name} member", at), "outside before"),
        )
        for name, kind, end in (("high", le, was[2]), ("low", ge, was[1]))
    )


def rows(name, plus, minus, value, low, high, uses, given=()) -> tuple[Step, ...]:
    """Σ w⁺ x and Σ w⁻ x between the same with ends for x; `uses` show x ≤ high and x ≥ low."""
    each = (LAYERS, UNITS)
    total = lambda part, of: row(lambda at: part[ell, i, at] * of[ell - 1, at])  # noqa: E731
    return tuple(
        Step(
            f"{name}, {weights} weights, {end}",
            le(*(total(part, of) for of in pair), *each, given=given),
            Replace(),
            uses=(use,),
        )
        for weights, part in (("positive", plus), ("negative", minus))
        for end, pair, use in (("high", (value, high), uses[0]), ("low", (low, value), uses[1]))
    )


def _one_layer(of: Ends, before: Fact) -> tuple[Step, ...]:
    """From values before a layer between their ends to values after it."""
    given, each = (before,), (LAYERS, UNITS)
    made, low, high = (family[ell, i] for family in (of.made, of.made_low, of.made_high))
    ends = ("high before a layer", "low before a layer")
    after = lambda one, other, end: (  # noqa: E731
        Step(
            f"no rise beyond the {end} end",
            le(Larger(one - other, 0), 0, *each, given=given),
            Replace(),
            uses=(f"layer, {end}",),
        ),
    )
    return (
        *between_ends(of.value, of.low, of.high, before),
        *rows("row", of.plus, of.minus, of.value, of.low, of.high, ends, given),
        Step(
            "layer, high",
            le(made - high, 0, *each, given=given),
            Algebra((1, 1, 1, 1, -1)),
            uses=(
                *("layer", "weights with signs"),
                *("row, positive weights, high", "row, negative weights, low"),
                name_of(high),
            ),
        ),
        Step(
            "layer, low",
            le(low - made, 0, *each, given=given),
            Algebra((-1, -1, 1, 1, 1)),
            uses=(
                *("layer", "weights with signs"),
                *("row, positive weights, low", "row, negative weights, high"),
                name_of(low),
            ),
        ),
        *after(made, high, "high"),
        *after(low, made, "low"),
        Step(
            "not above",
            le(of.value[ell, i] - of.high[ell, i], 0, *each, given=given),
            Algebra((1, 1, 1, -1)),
            uses=(
                *("activated", "rises to the high end", "no rise beyond the high end"),
                name_of(of.high[ell, i]),
            ),
        ),
        Step(
            "not below",
            le(of.low[ell, i] - of.value[ell, i], 0, *each, given=given),
            Algebra((-1, 1, 1, 1)),
            uses=(
                *("activated", "rises from the low end", "no rise beyond the low end"),
                name_of(of.low[ell, i]),
            ),
        ),
        Step(
            "input, not above",
            le(of.value[0, i] - of.high[0, i], 0, (i, 1, N[0])),
            Algebra(),
            uses=("input, high",),
        ),
        Step(
            "input, not below",
            le(of.low[0, i] - of.value[0, i], 0, (i, 1, N[0])),
            Algebra(),
            uses=("input, low",),
        ),
    )
