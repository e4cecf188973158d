"""Sums and products over layers: one form for equal ones, and which limits and signs are certain.

An index never trusts the sign of its symbol: it is opened, `index = low + t` with a whole `t ≥ 0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import sympy as sp

#: Ranges of indices, outer ones first: (index, low, high).
Ranges = tuple[tuple[sp.Symbol, sp.Expr, sp.Expr], ...]
OVER = (sp.Sum, sp.Product)


class RangeError(ValueError):
    """An expression that need not have a meaning: a sum that runs backwards, a power of zero."""


class Descending(sp.Expr):
    """The ordered product of matrices base[top] ··· base[bottom]; the identity where it is empty.

    Matrices do not commute, and SymPy's own products run upwards.
    """

    is_commutative = False

    def _latex(self, printer) -> str:
        base, top, bottom = self.args
        return rf"{printer._print(base[top])} \cdots {printer._print(base[bottom])}"


class Opaque(sp.Function):
    """A nonnegative number whose argument algebra leaves as it stands, such as a norm."""

    is_nonnegative = True
    is_commutative = True


class Larger(sp.Max):
    """A maximum of which no two members are compared, but numbers: SymPy asks long for signs."""

    @classmethod
    def _is_connected(cls, x, y):
        if x == y or not (x.is_number and y.is_number):
            return x == y
        return cls if (x >= y) == issubclass(cls, sp.Max) else sp.Add  # the other one stays

    @classmethod
    def _collapse_arguments(cls, args, **assumptions):
        return args


class Smaller(sp.Min):
    """A minimum, the same way."""

    _is_connected = classmethod(Larger._is_connected.__func__)
    _collapse_arguments = classmethod(Larger._collapse_arguments.__func__)


def expanded(expression: sp.Expr) -> sp.Expr:
    """SymPy's expansion, outside of what is opaque."""
    hidden = {part: sp.Dummy(nonnegative=True) for part in expression.atoms(Opaque)}
    shown = {dummy: part for part, dummy in hidden.items()}
    return sp.expand(expression.xreplace(hidden)).xreplace(shown)


def replaced(expression: sp.Expr, meanings: Mapping[sp.Basic, object]) -> sp.Expr:
    """The same, with symbols, or whole families such as r_1, r_2, …, replaced.

    A family is replaced by a function of the index, by another family, or by one value for all.
    """
    families = {base: new for base, new in meanings.items() if isinstance(base, sp.IndexedBase)}
    symbols = {old: new for old, new in meanings.items() if old not in families}

    def of_family(indexed):
        new = families[indexed.base]
        if isinstance(new, sp.IndexedBase):
            return new[indexed.indices]
        return new(*indexed.indices) if callable(new) else sp.sympify(new)

    inside = expression.replace(
        lambda part: isinstance(part, sp.Indexed) and part.base in families, of_family
    )
    return inside.xreplace(symbols) if symbols else inside


def put(expression: sp.Expr, images: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
    """The same with expressions for symbols, all at once; indices that sums bind stay.

    SymPy's `subs` does it too, ten times slower; it knows which indices are bound.
    """
    expression = sp.sympify(expression)
    if images.keys() & bound_indices(expression):
        return expression.subs(images, simultaneous=True)
    return expression.xreplace(images) if images else expression


# What is certain of whole numbers and signs.


def holds(expression: sp.Expr, ranges: Ranges = ()) -> bool:
    """Whether a linear expression of indices is nonnegative wherever they are in their ranges."""
    families = {x: _stand_in(x) for x in sp.sympify(expression).atoms(sp.Indexed)}
    expression = sp.expand(expression.xreplace(families))
    for at in reversed(range(len(ranges))):
        index, low, high = ranges[at]
        if expression.has(index):
            slope = expression.coeff(index)
            if not slope.is_Integer or (expression - slope * index).expand().has(index):
                return False
            end = low if slope > 0 else high
            return holds(put(expression, {index: end}), ranges[:at])
    return bool(expression.is_nonnegative)


@cache
def _stand_in(entry: sp.Indexed) -> sp.Dummy:
    """A plain symbol with the signs of an entry of a family."""
    return sp.Dummy(**entry.assumptions0)


def nonnegative(expression: sp.Expr, ranges: Ranges = ()) -> bool:
    """Whether the signs of the symbols alone show that an expression is at least zero."""
    if isinstance(expression, sp.Sum | sp.Product):
        body, inner = entered(expression)
        return nonnegative(body, (*ranges, inner))
    if isinstance(expression, sp.Max):
        return any(nonnegative(part, ranges) for part in expression.args)
    if isinstance(expression, sp.Add | sp.Mul):
        signs = all(nonnegative(part, ranges) for part in expression.args)
        return signs or holds(expression, ranges)
    if isinstance(expression, sp.Pow):
        base, exponent = expression.args
        even = exponent.is_even and base.is_real
        return bool(even) or nonnegative(base, ranges)
    return bool(expression.is_nonnegative)


def positive(expression: sp.Expr, ranges: Ranges = ()) -> bool:
    """Whether the signs of the symbols alone show that an expression is larger than zero."""
    if isinstance(expression, sp.Max):
        return any(positive(part, ranges) for part in expression.args)
    if isinstance(expression, sp.Mul):
        return all(positive(part, ranges) for part in expression.args)
    if isinstance(expression, sp.Add):
        signs = all(nonnegative(part, ranges) for part in expression.args)
        some = any(positive(part, ranges) for part in expression.args)
        return (signs and some) or holds(expression - 1, ranges)
    if isinstance(expression, sp.Pow):
        return positive(expression.base, ranges)
    if isinstance(expression, sp.Sum | sp.Product):
        body, inner = entered(expression)
        some = isinstance(expression, sp.Product) or holds(inner[2] - inner[1], ranges)
        return some and positive(body, (*ranges, inner))
    return bool(expression.is_positive)


@cache
def entered(part: sp.Expr) -> tuple[sp.Expr, tuple]:
    """The body of a sum or product, and its range; of the new index only the range is known.

    The same one for the same sum, which cannot be inside of itself.
    """
    index, low, high = _limits(part)
    sign = {"positive": True} if low.is_positive else {}
    if not sign and low.is_nonnegative:
        sign = {"nonnegative": True}
    fresh = sp.Dummy(index.name, integer=True, **sign)
    return put(_body(part), {index: fresh}), (fresh, low, high)


def _limits(part: sp.Expr) -> tuple:
    """The outermost index, with its limits; SymPy lists the innermost one first."""
    if len(part.limits[-1]) != 3:
        raise RangeError(f"expected an index with two limits, got {part}")
    return tuple(part.limits[-1])


def _body(part: sp.Expr) -> sp.Expr:
    """What the outermost index runs over: the summand, or a sum over the inner indices."""
    inner = part.limits[:-1]
    return part.func(part.function, *inner) if inner else part.function


def must_have_meaning(expression: sp.Basic, ranges: Ranges = ()) -> None:
    """Raise RangeError for sums that may run backwards, and for powers and quotients of zero."""
    if isinstance(expression, sp.Sum | sp.Product):
        body, inner = entered(expression)
        if not holds(inner[2] - inner[1] + 1, ranges):
            raise RangeError(f"{expression} may run backwards")
        must_have_meaning(body, (*ranges, inner))
        return
    if isinstance(expression, Descending):
        _, top, bottom = expression.args
        if not holds(top - bottom + 1, ranges):
            raise RangeError(f"{expression} may run backwards")
        return
    if isinstance(expression, sp.Pow):
        base, exponent = expression.args
        if not (positive(base, ranges) or nonnegative(exponent, ranges)):
            raise RangeError(f"{expression} may divide by zero")
    if isinstance(expression, sp.log) and not positive(expression.args[0], ranges):
        raise RangeError(f"{expression} may be the logarithm of zero")
    if not isinstance(expression, sp.Indexed):
        for part in expression.args:
            must_have_meaning(part, ranges)


def bound_indices(expression: sp.Basic) -> set[sp.Symbol]:
    """The indices over which sums and products inside an expression run."""
    return {limits[0] for part in expression.atoms(*OVER) for limits in part.limits}


# One form.


@cache
def _index(depth: int) -> sp.Symbol:
    return sp.Dummy(f"x{depth}", integer=True, positive=True)


def normal(expression: sp.Expr, ranges: Ranges = ()) -> sp.Expr:
    """Expanded, with sums and products from 1 on, last terms split off, constants in front.

    Σ_{k≤ℓ+1} f_k is written as Σ_{k≤ℓ} f_k + f_{ℓ+1}; so a step from ℓ to ℓ+1 is an identity.
    """
    return expanded(_normal(expression, ranges, 0))


def _normal(expression: sp.Expr, ranges: Ranges, depth: int) -> sp.Expr:
    if isinstance(expression, sp.Indexed | Opaque) or not expression.args:
        return expression
    if isinstance(expression, Descending):
        return _chain(expression, ranges)
    if not isinstance(expression, sp.Sum | sp.Product):
        parts = tuple(_normal(part, ranges, depth) for part in expression.args)
        return expression if parts == expression.args else expression.func(*parts)
    index, low, high = _limits(expression)
    count = sp.expand(high - low + 1)
    if not holds(count, ranges):
        raise RangeError(f"{expression} may run backwards")
    split = count.as_coeff_Add()[0]
    split = max(int(split), 0) if split.is_Integer else 0
    while split and not holds(count - split, ranges):
        split -= 1
    rest, new = count - split, _index(depth)
    last = [
        _normal(put(_body(expression), {index: low + rest + at}), ranges, depth)
        for at in range(split)
    ]
    total = isinstance(expression, sp.Sum)
    if rest != 0:
        body = put(_body(expression), {index: low - 1 + new})
        inner = (new, sp.S.One, rest)
        body = _normal(body, (*ranges, inner), depth + 1)
        last.insert(0, (_of_sum if total else _of_product)(body, inner))
    return (sp.Add if total else sp.Mul)(*last)


def _of_sum(body: sp.Expr, inner: tuple) -> sp.Expr:
    """Σ term by term, with what does not depend on the index outside."""
    index, _, count = inner
    parts = []
    for term in sp.Add.make_args(expanded(body)):
        known, rest = term.args_cnc()
        fixed = [x for x in known if not x.has(index)]
        moving = [x for x in known if x.has(index)]
        left, right = [], []
        while rest and not rest[0].has(index):
            left.append(rest.pop(0))
        while rest and not rest[-1].has(index):
            right.insert(0, rest.pop())
        inside = sp.Mul(*moving, *rest)
        total = count if inside == 1 else sp.Sum(inside, inner)
        parts.append(sp.Mul(*fixed, *left, total, *right))
    return sp.Add(*parts)


def _of_product(body: sp.Expr, inner: tuple) -> sp.Expr:
    index, _, count = inner
    parts = []
    for factor in sp.Mul.make_args(body):
        if isinstance(factor, sp.exp):
            parts.append(sp.exp(_of_sum(factor.args[0], inner)))
        elif not factor.has(index):
            parts.append(factor**count)
        elif isinstance(factor, sp.Pow) and factor.exp.is_Integer:
            parts.append(sp.Product(factor.base, inner) ** factor.exp)
        else:
            parts.append(sp.Product(expanded(factor), inner))
    return sp.Mul(*parts)


def _chain(chain: Descending, ranges: Ranges) -> sp.Expr:
    base, top, bottom = chain.args
    factors, count = [], sp.expand(top - bottom + 1)
    while count != 0 and holds(count - 1, ranges) and count.as_coeff_Add()[0] > 0:
        factors.append(base[top])
        top, count = top - 1, count - 1
    return sp.Mul(*factors, *([] if count == 0 else [Descending(base, top, bottom)]))
