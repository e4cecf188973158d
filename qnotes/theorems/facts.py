"""Facts: what a proof starts from, passes on and ends with. And what it means to be the same one.

A fact is a relation between two expressions that holds for every value of its indices, and under
what it supposes. All that the page prints of a proof, and all that the machine checks, are facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import sympy as sp

from qnotes.theorems.sums_over_layers import (
    RangeError,
    Ranges,
    bound_indices,
    holds,
    must_have_meaning,
    put,
)

#: Signs of relations, and how a relation is read from right to left.
TURNED = {"=": "=", "<=": ">=", ">=": "<=", "<": ">", ">": "<"}
_KINDS = {"=": sp.Eq, "<=": sp.Le, ">=": sp.Ge, "<": sp.Lt, ">": sp.Gt}


class StepError(AssertionError):
    """Raised by a rule that refuses a fact; `ProofError` adds theorem and step."""


@dataclass(frozen=True)
class Fact:
    """`left sign right`, for every index in its range, where all that is supposed holds.

    Attributes:
        left, right: SymPy expressions.
        sign: ``=``, ``<=``, ``>=``, ``<`` or ``>``.
        each: the indices with their ranges, outer ones first.
        given: what is supposed, for the same values of the indices.
    """

    left: sp.Expr
    sign: str
    right: sp.Expr
    each: Ranges = ()
    given: tuple[Fact, ...] = ()

    @property
    def relation(self) -> sp.Rel:
        """As a SymPy relation, to be printed."""
        return _KINDS[self.sign](self.left, self.right, evaluate=False)

    @property
    def smaller(self) -> sp.Expr:
        """The side that is not the larger one; of an equation the left one."""
        return self.right if self.sign in (">=", ">") else self.left

    @property
    def larger(self) -> sp.Expr:
        """The other side."""
        return self.left if self.sign in (">=", ">") else self.right

    @property
    def gap(self) -> sp.Expr:
        """What is zero or not negative: the larger side less the smaller one."""
        return self.larger - self.smaller

    @property
    def says_nothing(self) -> bool:
        """Whether both sides are the same expression: x = x, or x ≤ x."""
        return self.left == self.right and self.sign in ("=", "<=", ">=")

    def mapped(self, change) -> Fact:
        """The fact with a function applied to both sides, to all limits and to what is given."""
        each = tuple((index, change(low), change(high)) for index, low, high in self.each)
        given = tuple(fact.mapped(change) for fact in self.given)
        return Fact(change(self.left), self.sign, change(self.right), each, given)

    def at(self, images: dict[sp.Symbol, sp.Expr]) -> tuple[sp.Expr, sp.Expr]:
        """Both sides with expressions for indices; no image may meet an index of a sum inside."""
        met = {symbol for image in images.values() for symbol in sp.sympify(image).free_symbols}
        if captured := met & (bound_indices(self.left) | bound_indices(self.right)):
            raise StepError(f"{captured} would be captured by a sum in {self.relation}")
        return put(self.left, images), put(self.right, images)

    def opened(self) -> tuple[Fact, dict[sp.Symbol, sp.Expr]]:
        """The same fact with indices `low + t`, `t ≥ 0`, and what was put in for each index.

        So the sign of an index's symbol is forgotten, and only its range counts.
        """
        return self._opened

    @cached_property
    def _opened(self) -> tuple[Fact, dict[sp.Symbol, sp.Expr]]:
        images: dict[sp.Symbol, sp.Expr] = {}
        each = []
        for index, low, high in self.each:
            low, high = put(low, images), put(high, images)
            fresh = _fresh(index.name, len(each))
            images[index] = low + fresh
            each.append((fresh, sp.S.Zero, sp.expand(high - low)))
        left, right = put(self.left, images), put(self.right, images)
        return Fact(left, self.sign, right, tuple(each)), images

    def must_have_meaning(self) -> None:
        """Raise StepError where a sum may run backwards or a denominator vanish."""
        opened, _ = self.opened()
        try:
            for side in (opened.left, opened.right):
                must_have_meaning(side, opened.each)
        except RangeError as error:
            raise StepError(str(error)) from None


@cache
def _fresh(name: str, position: int) -> sp.Dummy:
    """What stands for an index of a fact that is opened; no fact that is kept has it."""
    return sp.Dummy(name, integer=True, nonnegative=True)


def fact(relation: sp.Rel, *each, given=()) -> Fact:
    """A fact from a SymPy relation; ranges as (index, low, high)."""
    sign = next(sign for sign, kind in _KINDS.items() if isinstance(relation, kind))
    return _fact(relation.lhs, sign, relation.rhs, each, given)


def _fact(left, sign, right, each, given=()) -> Fact:
    ranges = tuple(tuple(map(sp.sympify, limits)) for limits in each)
    return Fact(sp.sympify(left), sign, sp.sympify(right), ranges, tuple(given))


def _with_sign(sign: str) -> Callable[..., Fact]:
    def made(left, right, *each, given=()) -> Fact:
        return _fact(left, sign, right, each, given)

    return made


#: left = right, left ≤ right, left ≥ right, left < right; ranges of indices as (index, low, high).
eq, le, ge, lt = map(_with_sign, ("=", "<=", ">=", "<"))


def within(images: dict[sp.Symbol, sp.Expr], used: Ranges, ranges: Ranges) -> bool:
    """Whether expressions are whole, and in a fact's ranges, wherever the indices of ours are."""
    return all(
        images[index].is_integer
        and holds(images[index] - put(low, images), ranges)
        and holds(put(high, images) - images[index], ranges)
        for index, low, high in used
    )


def supposed(claim: Fact, index_range: tuple) -> Fact:
    """For an index: what is supposed of it, as a fact that rests on nothing but itself."""
    ranges = (tuple(map(sp.sympify, index_range)), *claim.each)
    return replace(claim, each=ranges, given=(claim,))
