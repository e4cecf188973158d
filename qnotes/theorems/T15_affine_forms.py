"""T15, affine forms: S, S' and Δ as numbers times common symbols, and an interval for the rest.

`qnotes.propagation.affine.Affine` computes them: its rules `affine` (c, G and r of a layer) and
`activation` with `_bent` (a line s x + μ, and what is left as new symbols or in the interval). Its
slip, which float64's own rounding takes, is no part of this. The lemmas "two ReLUs" and "chord"
show lines for ReLU.
"""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.axioms import EXCHANGE
from qnotes.theorems.facts import Fact, eq, le
from qnotes.theorems.intervals_of_one_network import (
    DIFFERENCE,
    ERROR,
    OURS,
    THEIRS,
    UNITS,
    Activated,
    network,
    row,
    units,
)
from qnotes.theorems.notation import LAYERS, L, N, ell, g, i, j, symbols_count, xi
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, ByAxiom, Largest, Replace
from qnotes.theorems.theorem import Hypothesis, Result, Step, name_of, proof_of
from qnotes.theorems.through_relu import size

EACH = (LAYERS, UNITS)


class Form(NamedTuple):
    """c + G ξ + rest, |rest| ≤ r, of a value; before the activation too, and the line of it."""

    value: sp.IndexedBase
    center: sp.IndexedBase
    generators: sp.IndexedBase
    rest: sp.IndexedBase
    radius: sp.IndexedBase
    made_center: sp.IndexedBase
    made_generators: sp.IndexedBase
    made_rest: sp.IndexedBase
    made_radius: sp.IndexedBase
    slope: sp.IndexedBase
    shift: sp.IndexedBase
    fresh: sp.IndexedBase
    curved: sp.IndexedBase


def _form(value: sp.IndexedBase, mark: str, tex: str) -> Form:
    letters = ("c", "G", "q", "r", "c_z", "G_z", "q_z", "r_z", "s", "mu", "H", "eta")
    shown = ("c", "G", "q", "r", r"\check c", r"\check G", r"\check q", r"\check r", "s", r"\mu")
    return Form(
        value,
        *(
            sy._family(f"form_{letter}{mark}", f"{latex}{tex}", real=True)
            if letter not in ("r", "r_z", "s", "eta")
            else sy._family(f"form_{letter}{mark}", f"{latex}{tex}", nonnegative=True)
            for letter, latex in zip(letters, (*shown, "H", r"\eta"), strict=True)
        ),
    )


OUR_FORM = _form(sy.S_entry, "S", "^{S}")
THEIR_FORM = _form(sy.S_entry_q, "'", "'")
ERROR_FORM = _form(sy.error_entry, "", "")
#: Of what a form is, in names of facts.
MARKS = {OUR_FORM: " of S", THEIR_FORM: " of S'", ERROR_FORM: ""}


def over_symbols(entry) -> sp.Sum:
    """Σ_g entry(g) ξ_g."""
    return sp.Sum(entry(g) * xi[g], (g, 1, symbols_count))


class Term(NamedTuple):
    """A matrix, by its positive and negative parts too, and the form that it meets."""

    name: str
    weight: object
    plus: sp.IndexedBase
    minus: sp.IndexedBase
    form: Form
    parts: str


CHANGE = lambda at: OURS.weight[ell, i, at] - THEIRS.weight[ell, i, at]  # noqa: E731
_OUR_TERM = Term(
    "layer", lambda at: OURS.weight[ell, i, at], OURS.plus, OURS.minus, OUR_FORM, "parts of S"
)
_THEIR_TERM = Term(
    "layer", lambda at: THEIRS.weight[ell, i, at], THEIRS.plus, THEIRS.minus, THEIR_FORM, "parts"
)
_OLD = Term(
    "old", lambda at: OURS.weight[ell, i, at], OURS.plus, OURS.minus, ERROR_FORM, "parts of S"
)
_NEW = Term("new", CHANGE, sy.c_plus, sy.c_minus, THEIR_FORM, "change")


def _definitions(form: Form, terms: tuple[Term, ...], bias: sp.Expr) -> dict:
    """A layer and a line, on forms."""
    of = lambda part, *more: sum(  # noqa: E731
        row(lambda at, t=t: t.weight(at) * getattr(t.form, part)[(ell - 1, at, *more)])
        for t in terms
    )
    radii = sum(
        row(lambda at, t=t: (t.plus[ell, i, at] + t.minus[ell, i, at]) * t.form.radius[ell - 1, at])
        for t in terms
    )
    s = form.slope[ell, i]
    return {
        form.made_center[ell, i]: of("center") + bias,
        form.made_generators[ell, i, g]: of("generators", g),
        form.made_radius[ell, i]: radii,
        form.center[ell, i]: s * form.made_center[ell, i] + form.shift[ell, i],
        form.generators[ell, i, g]: s * form.made_generators[ell, i, g] + form.fresh[ell, i, g],
        form.radius[ell, i]: s * form.made_radius[ell, i] + form.curved[ell, i],
    }


def _made(form: Form, change=lambda x: x) -> sp.Expr:
    """What a form encloses before an activation: z, z' or z - z'; or what becomes of them."""
    ours, theirs = (change(network.made[ell, i]) for network in (OURS, THEIRS))
    return {OUR_FORM: ours, THEIR_FORM: theirs, ERROR_FORM: ours - theirs}[form]


def _off_the_line(form: Form) -> sp.Expr:
    """What a line and new symbols leave of an activation."""
    line = form.slope[ell, i] * _made(form) + form.shift[ell, i]
    return _made(form, Activated) - line - over_symbols(lambda at: form.fresh[ell, i, at])


def _off_the_form(form: Form) -> sp.Expr:
    """What center and symbols leave of a value."""
    symbols = over_symbols(lambda at: form.generators[ell, i, at])
    return form.value[ell, i] - form.center[ell, i] - symbols


def _rests(form: Form) -> dict[str, Fact]:
    """What a form leaves of a value, before and after an activation; and what a line leaves."""
    mark = MARKS[form]
    return {
        f"rest{mark}": eq(form.rest[ell, i], _off_the_form(form), (ell, 0, L), UNITS),
        f"rest before the activation{mark}": eq(
            form.made_rest[ell, i],
            _made(form)
            - form.made_center[ell, i]
            - over_symbols(lambda at: form.made_generators[ell, i, at]),
            *EACH,
        ),
        f"line{mark}": le(size(_off_the_line(form)), form.curved[ell, i], *EACH),
        f"input{mark}": le(size(form.rest[0, i]), form.radius[0, i], (i, 1, N[0])),
    }


def _stated(form: Form) -> sp.Le:
    return sp.Le(size(_off_the_form(form)), form.radius[ell, i], evaluate=False)


_NETWORKS = {**network(THEIRS), **network(OURS, " of S")}
_NAMES = ("layer", "activated", "parts", "layer of S", "activated of S", "parts of S")

AFFINE_FORMS = Result(
    number="T15",
    name="affine forms",
    source="Affine arithmetic (Comba and Stolfi, 1993); for two networks as in VeryDiff (2025). "
    "`qnotes.certify` has it, around images.",
    whose="earlier work",
    statement=_stated(ERROR_FORM),
    also=(_stated(THEIR_FORM), _stated(OUR_FORM)),
    definitions={
        **_definitions(OUR_FORM, (_OUR_TERM,), OURS.bias[ell, i]),
        **_definitions(THEIR_FORM, (_THEIR_TERM,), THEIRS.bias[ell, i]),
        **_definitions(ERROR_FORM, (_OLD, _NEW), OURS.bias[ell, i] - THEIRS.bias[ell, i]),
    },
    hypotheses=(
        Hypothesis(
            "z and z' are what layers make of S and S', with weights w and w' (of which + and - "
            "mark the positive and negative parts) and biases b and b'; Δ is S - S'",
            facts={
                **{name: _NETWORKS[name] for name in _NAMES},
                **ERROR,
                "change": eq(
                    CHANGE(j),
                    sy.c_plus[ell, i, j] - sy.c_minus[ell, i, j],
                    *(*EACH, (j, 1, N[ell - 1])),
                ),
            },
        ),
        Hypothesis(
            "there are m symbols ξ; q' is what the form c' + G' ξ leaves of S', q what c + G ξ "
            "leaves of Δ, and those of S are marked by an S; checks stand before an activation; of "
            "the input they are at most r' and r; the line s x + μ with new symbols H ξ leaves at "
            "most η of what an activation makes of its form",
            facts={**_rests(OUR_FORM), **_rests(THEIR_FORM), **_rests(ERROR_FORM)},
        ),
    ),
    premises=(DIFFERENCE,),
)


@proof_of(AFFINE_FORMS)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Layers are exact on c and G, and take r along with |W|: for S, for S', and then for Δ."""
    (layer,), (error, theirs, ours) = theorem.premises, theorem.goals()
    return (
        layer.applied("difference"),
        *_along(OUR_FORM, (_OUR_TERM,), "layer of S", ("activated of S",), (1,)),
        *_along(THEIR_FORM, (_THEIR_TERM,), "layer", ("activated",), (1,)),
        *_along(
            *(ERROR_FORM, (_OLD, _NEW), "difference"),
            *(("error", "activated of S", "activated"), (1, 1, -1)),
        ),
        *_enclosed(OUR_FORM, ours),
        *_enclosed(THEIR_FORM, theirs),
        *_enclosed(ERROR_FORM, error),
    )


def _enclosed(form: Form, goal: Fact) -> tuple[Step, ...]:
    """The value itself, with its center and symbols in place of q."""
    off, mark = _off_the_form(form), MARKS[form]
    return (
        *(
            Step(
                f"{end} end{mark}",
                le(sign * off, form.radius[ell, i], *EACH),
                Algebra((-sign, 1, 1)),
                uses=(f"rest{mark}", f"{end} member{mark}", f"rest is small{mark}"),
            )
            for end, sign in (("positive", 1), ("negative", -1))
        ),
        Step(
            f"enclosed{mark}", goal, Largest(), uses=(f"positive end{mark}", f"negative end{mark}")
        ),
    )


def _along(form: Form, terms, layer, activated, weights) -> tuple[Step, ...]:
    """|q| ≤ r after every layer: for S, for S', or for Δ."""
    mark = MARKS[form]
    own = [term for term in terms if term.form is form]
    others = [term for term in terms if term.form is not form]
    everywhere = ((ell, 0, L), UNITS)
    rest = form.rest[ell, i]
    return (
        *(
            Step(f"{name} member{mark}", le(part, size(rest), *everywhere), Largest())
            for name, part in (("positive", rest), ("negative", -rest))
        ),
        *(step for term in terms for step in _exact(term, mark)),
        *_through_the_layer(form, terms, mark, layer),
        *(step for term in others for step in _rows(term, mark, MARKS[term.form], ())),
        *over_layers(
            f"rest is small{mark}",
            lambda at: size(form.rest[at, i]),
            form.radius[ell, i],
            each=units,
            between=lambda before: (
                *(step for term in own for step in _rows(term, mark, mark, (before,))),
                *_one_layer(form, terms, mark, before, activated, weights),
            ),
            layer=Largest(),
            uses=(f"no more above{mark}", f"no more below{mark}"),
            start=(f"input{mark}",),
        ),
    )


def _exact(term: Term, mark: str) -> tuple[Step, ...]:
    """Rests before a layer by what they are, with weights; and weights with their signs."""
    form, name = term.form, f"{term.name}{mark}"
    here = lambda part, at, *more: getattr(form, part)[(ell - 1, at, *more)]  # noqa: E731
    generated = lambda at, s: term.weight(at) * here("generators", at, s) * xi[s]  # noqa: E731
    inputs, symbols = (j, 1, N[ell - 1]), (g, 1, symbols_count)
    rests = row(lambda at: term.weight(at) * here("rest", at))
    known = row(
        lambda at: (
            term.weight(at)
            * (
                here("value", at)
                - here("center", at)
                - over_symbols(lambda s: here("generators", at, s))
            )
        )
    )
    signs = row(lambda at: (term.plus[ell, i, at] - term.minus[ell, i, at]) * here("rest", at))
    return (
        Step(
            f"symbol by symbol, {name}",
            eq(
                sp.Sum(generated(j, g), symbols, inputs),
                sp.Sum(generated(j, g), inputs, symbols),
                *EACH,
            ),
            ByAxiom(EXCHANGE),
        ),
        Step(
            f"what rests are, {name}",
            eq(rests, known, *EACH),
            Replace(),
            uses=(f"rest{MARKS[form]}",),
        ),
        Step(f"weights with signs, {name}", eq(rests, signs, *EACH), Replace(), uses=(term.parts,)),
    )


def _through_the_layer(form: Form, terms, mark: str, layer: str) -> tuple[Step, Step]:
    """The rest before the activation is what the layer makes of rests: c and G are exact."""
    made = sum(row(lambda at, t=t: t.weight(at) * t.form.rest[ell - 1, at]) for t in terms)
    through = lambda s: sum(  # noqa: E731
        row(lambda at, t=t: t.weight(at) * t.form.generators[ell - 1, at, s]) for t in terms
    )
    names = [f"{term.name}{mark}" for term in terms]
    return (
        Step(
            f"generators of the layer{mark}",
            eq(
                over_symbols(lambda s: form.made_generators[ell, i, s]),
                over_symbols(through),
                *EACH,
            ),
            Replace(),
            uses=(name_of(form.made_generators[ell, i, g]),),
        ),
        Step(
            f"rests through the layer{mark}",
            eq(form.made_rest[ell, i], made, *EACH),
            Algebra((1, 1, -1, -1, *(1 for _ in terms), *(-1 for _ in terms))),
            uses=(
                *(f"rest before the activation{mark}", layer, name_of(form.made_center[ell, i])),
                f"generators of the layer{mark}",
                *(f"symbol by symbol, {name}" for name in names),
                *(f"what rests are, {name}" for name in names),
            ),
        ),
    )


def _rows(term: Term, mark: str, own: str, given: tuple) -> tuple[Step, ...]:
    """Rests before a layer are at most r, both ways, and so are they with positive weights."""
    form, at = term.form, {ell: ell - 1}
    small = f"rest is small{own} before" if given else (f"rest is small{own}", at)
    rest, radius = (lambda x: form.rest[ell - 1, x]), (lambda x: form.radius[ell - 1, x])
    signs = (("positive", 1), ("negative", -1))
    before = tuple(
        Step(
            f"{sign} rest, {term.name}{mark}",
            le(number * rest(i), radius(i), LAYERS, (i, 1, N[ell - 1]), given=given),
            Algebra(),
            uses=((f"{sign} member{own}", at), small),
        )
        for sign, number in signs
    )
    return before + tuple(
        Step(
            f"{sign} rest, {weights} weights, {term.name}{mark}",
            le(
                row(lambda x, p=part, n=number: p[ell, i, x] * n * rest(x)),
                row(lambda x, p=part: p[ell, i, x] * radius(x)),
                *EACH,
                given=given,
            ),
            Replace(),
            uses=(f"{sign} rest, {term.name}{mark}",),
        )
        for weights, part in (("positive", term.plus), ("negative", term.minus))
        for sign, number in signs
    )


def _one_layer(form: Form, terms, mark, before: Fact, activated, weights) -> tuple[Step, ...]:
    """From rests before a layer to rests after its activation."""
    generators, fresh = form.generators, form.fresh
    s, made = form.slope[ell, i], form.made_generators
    return (
        Step(
            f"generators of the line{mark}",
            eq(
                over_symbols(lambda at: generators[ell, i, at]),
                over_symbols(lambda at: s * made[ell, i, at] + fresh[ell, i, at]),
                *EACH,
            ),
            Replace(),
            uses=(name_of(generators[ell, i, g]),),
        ),
        *_one_way(form, terms, mark, before, activated, weights, 1),
        *_one_way(form, terms, mark, before, activated, weights, -1),
    )


def _one_way(form, terms, mark, before, activated, weights, sign) -> tuple[Step, ...]:
    given, s = (before,), form.slope[ell, i]
    end, other = ("positive", "negative")[::sign]
    line = _off_the_line(form)
    names = [f"{term.name}{mark}" for term in terms]
    return (
        Step(
            f"rest before the activation, {end}{mark}",
            le(sign * form.made_rest[ell, i], form.made_radius[ell, i], *EACH, given=given),
            Algebra((sign, *(sign for _ in terms), *(1 for _ in terms for _ in "+-"), -1)),
            uses=(
                f"rests through the layer{mark}",
                *(f"weights with signs, {name}" for name in names),
                *(
                    f"{rest} rest, {part} weights, {name}"
                    for name in names
                    for rest, part in ((end, "positive"), (other, "negative"))
                ),
                name_of(form.made_radius[ell, i]),
            ),
        ),
        Step(f"off the line, {end}{mark}", le(sign * line, size(line), *EACH), Largest()),
        Step(
            "no more above" + mark if sign > 0 else "no more below" + mark,
            le(sign * form.rest[ell, i], form.radius[ell, i], *EACH, given=given),
            Algebra(
                (
                    *(sign, *(sign * weight for weight in weights), 1, 1),
                    *(-sign * s, s, -sign, -sign, -1),
                )
            ),
            uses=(
                *(f"rest{mark}", *activated, f"off the line, {end}{mark}", f"line{mark}"),
                *(
                    f"rest before the activation{mark}",
                    f"rest before the activation, {end}{mark}",
                ),
                *(name_of(form.center[ell, i]), f"generators of the line{mark}"),
                name_of(form.radius[ell, i]),
            ),
        ),
    )
