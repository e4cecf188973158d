"""A second judge of proofs, independent of the rules: z3, in networks of a few layers.

Facts become formulae over real numbers. A network has one unit a layer here, so matrices and
vectors are numbers and norms absolute values; sums and products over its one, two or three layers
are written out. What z3 finds is a counterexample: numbers for which the facts hold, and the claim
does not. That it finds none proves little, since a network may have more layers and units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sympy as sp
import z3

from qnotes.theorems import notation as sy
from qnotes.theorems.axioms import Beside, Norm, Size, WithOne
from qnotes.theorems.facts import Fact
from qnotes.theorems.rules import Apply, Falling, Limit, Power
from qnotes.theorems.sums_over_layers import Descending
from qnotes.theorems.T16_tolerance import P
from qnotes.theorems.theorem import Result

#: How many layers, and how large every other whole number is, such as a fan-in.
SIZES = ((1, 1), (2, 2), (3, 2))
TIMEOUT = 3000  # milliseconds, where the machine is slow
EFFORT = 1_000_000  # in z3's own count, which is the same on every machine
_MOST = 4000  # terms of one question


class NoFit(Exception):
    """Exponentials, logarithms, powers that are no whole numbers: z3 has no rules for them."""


@dataclass(frozen=True)
class Verdict:
    """``refuted`` with numbers, ``follows`` as far as was looked, ``unknown``, or ``no fit``."""

    word: str
    numbers: dict[str, str] | None = None


def verdict(claims: Iterable[Fact], facts: Iterable[Fact]) -> Verdict:
    """Whether z3 finds numbers for which all facts hold and one of the claims does not."""
    claims, facts, unknown = list(claims), list(facts), False
    try:
        for layers, size in SIZES:
            question = Question(layers, size)
            for fact in facts:
                question.solver.add(question.formula(fact, {}))
            question.solver.add(z3.Not(z3.And([question.formula(fact, {}) for fact in claims])))
            question.solver.add(question.must_hold)
            answer = question.solver.check()
            if answer == z3.sat:
                return Verdict("refuted", {"L": str(layers), **question.found()})
            unknown |= answer == z3.unknown
    except NoFit:
        return Verdict("no fit")
    return Verdict("unknown" if unknown else "follows")


def of_step(theorem: Result, name: str) -> Verdict:
    """Whether a step of a proof follows from what it uses, as far as that is there."""
    definitions = theorem.definition_facts()
    known = {**theorem.facts(), **definitions}
    for step in theorem.proof:
        if step.name == name and not isinstance(step.rule, _WITHOUT):
            used = [known[use] for use in step.names if use in known]
            if isinstance(step.rule, Apply):  # its conclusion speaks of what it defines
                used += definitions.values()
            return verdict([step.fact], used)
        known[step.name] = step.fact
    return Verdict("no fit")


def of_theorem(theorem: Result) -> Verdict:
    """Whether a theorem follows from its hypotheses and definitions."""
    if any(hypothesis.anything for hypothesis in theorem.hypotheses):
        return Verdict("no fit")  # for every number: no formula without quantifiers
    facts = (*theorem.facts().values(), *theorem.definition_facts().values())
    return verdict(theorem.goals(), facts)


#: Rules about all numbers t, or about logarithms.
_WITHOUT = (Falling, Limit, Power)


class Question:
    """A translation into z3 for so many layers, and the numbers that it speaks of."""

    def __init__(self, layers: int, size: int) -> None:
        self.layers, self.size = layers, size
        self.solver = z3.Solver()
        self.solver.set("timeout", TIMEOUT)
        self.solver.set("rlimit", EFFORT)
        self.numbers: dict[str, z3.ArithRef] = {}
        self.must_hold: list[z3.BoolRef] = []
        self.count = 0

    def found(self) -> dict[str, str]:
        """The counterexample, by name."""
        model = self.solver.model()
        return {name: str(model[number]) for name, number in self.numbers.items()}

    # Facts.

    def formula(self, fact: Fact, at: dict) -> z3.BoolRef:
        """A fact for all indices of it: what is given implies the relation."""
        found = []
        for here in self._indices(fact.each, at):
            left, right = self.term(fact.left, here), self.term(fact.right, here)
            given = [self.formula(other, here) for other in fact.given]
            found.append(z3.Implies(z3.And(given), _SIGNS[fact.sign](left, right)))
        return z3.And(found)

    def _indices(self, ranges, at: dict) -> Iterator[dict]:
        if not ranges:
            yield at
            return
        (index, low, high), *rest = ranges
        for value in range(self.whole(low, at), self.whole(high, at) + 1):
            yield from self._indices(rest, {**at, index: sp.Integer(value)})

    # Expressions.

    def whole(self, expression: sp.Expr, at: dict) -> int:
        """The value of an expression of indices and sizes."""
        value = sp.sympify(expression).xreplace(at)
        value = value.xreplace({x: self._size(x) for x in value.atoms(sp.Indexed)})
        value = value.xreplace({x: self._size(x) for x in value.free_symbols})
        if not value.is_Integer:
            raise NoFit
        return int(value)

    def _size(self, symbol: sp.Basic) -> sp.Expr:
        if not symbol.is_integer:
            raise NoFit
        if symbol == sy.L:
            return sp.Integer(self.layers)
        return sp.S.One if getattr(symbol, "base", None) == sy.N else sp.Integer(self.size)

    def term(self, part: sp.Expr, at: dict) -> z3.ArithRef:
        """An expression as a term of z3."""
        self.count += 1
        if self.count > _MOST:
            raise NoFit
        if part.is_Rational:
            return z3.RealVal(f"{part.p}/{part.q}")
        for kind, rule in _RULES:
            if isinstance(part, kind):
                return rule(self, part, at)
        raise NoFit

    def _symbol(self, symbol, at):
        if symbol in at or symbol.is_integer:
            return z3.RealVal(self.whole(symbol, at))
        return self._number(str(symbol), symbol)

    def _indexed(self, entry, at):
        if entry.is_integer:
            return z3.RealVal(self.whole(entry, at))
        indices = [self.whole(index, at) for index in entry.indices]
        return self._number(f"{entry.base}{indices}", entry)

    def _number(self, name: str, like: sp.Basic) -> z3.ArithRef:
        if name not in self.numbers:
            number = self.numbers[name] = z3.Real(name)
            if like.is_positive:
                self.must_hold.append(number > 0)
            elif like.is_nonnegative:
                self.must_hold.append(number >= 0)
        return self.numbers[name]

    def _sum(self, part, at):
        return z3.Sum([z3.RealVal(0), *self._bodies(part, at)])

    def _product(self, part, at):
        return z3.Product([z3.RealVal(1), *self._bodies(part, at)])

    def _bodies(self, part, at) -> list[z3.ArithRef]:
        ranges = tuple(reversed(part.limits))  # SymPy lists the innermost one first
        return [self.term(part.function, here) for here in self._indices(ranges, at)]

    def _add(self, part, at):
        return z3.Sum([self.term(arg, at) for arg in part.args])

    def _mul(self, part, at):
        blocks = [arg for arg in part.args if isinstance(arg, Beside | WithOne)]
        others = [self.term(arg, at) for arg in part.args if arg not in blocks]
        if blocks:  # [A a] (x, 1)
            (first, column), (entry,) = ([self.term(x, at) for x in b.args] for b in blocks)
            others.append(first * entry + column)
        return z3.Product(others)

    def _power(self, part, at):
        try:
            exponent = self.whole(part.exp, at)
        except NoFit:
            return self._power_of_number(part, at)
        base = self.term(part.base, at)
        value = z3.Product([z3.RealVal(1), *[base] * abs(exponent)])
        if exponent >= 0:
            return value
        self.must_hold.append(base != 0)
        return 1 / value

    def _power_of_number(self, part, at):
        """Such as 2 to the b - 1: half of 2 to the b, of which only the sign is known."""
        shift, rest = part.exp.as_coeff_Add()
        if not part.base.is_Integer or not shift.is_Integer or not rest.is_Symbol:
            raise NoFit
        return self._number(f"{part.base}^{rest}", part) * self.term(part.base**shift, at)

    def _max(self, part, at):
        first, *others = (self.term(arg, at) for arg in part.args)
        for other in others:
            first = z3.If(first >= other, first, other)
        return first

    def _chain(self, part, at):
        base, top, bottom = part.args
        whole = range(self.whole(bottom, at), self.whole(top, at) + 1)
        return z3.Product([z3.RealVal(1), *[self.term(base[sp.Integer(x)], at) for x in whole]])

    def _norm(self, part, at):
        inside = part.args[0]
        if isinstance(inside, Beside):
            one, other = (self.term(arg, at) for arg in inside.args)
            return _absolute(one) + _absolute(other)
        if isinstance(inside, WithOne):
            entry = _absolute(self.term(inside.args[0], at))
            return z3.If(entry >= 1, entry, z3.RealVal(1))
        return _absolute(self.term(inside, at))

    def _binomial(self, part, at):
        return z3.RealVal(int(sp.binomial(*[self.whole(arg, at) for arg in part.args])))

    def _probability(self, part, at):
        return self._number(str(part), part)


def _absolute(number):
    return z3.If(number >= 0, number, -number)


_SIGNS = {
    "=": lambda left, right: left == right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
}
_RULES = (
    (sp.Symbol, Question._symbol),
    (sp.Indexed, Question._indexed),
    (sp.Sum, Question._sum),
    (sp.Product, Question._product),
    (sp.Add, Question._add),
    (sp.Mul, Question._mul),
    (sp.Pow, Question._power),
    (sp.Max, Question._max),
    (Descending, Question._chain),
    (Norm | Size, Question._norm),
    (sp.binomial, Question._binomial),
    (P, Question._probability),
)
