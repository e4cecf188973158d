"""Sums and products over layers: written out for a given depth, or taken apart for any depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sympy as sp

from qnotes.theorems import notation as sy


class Descending(sp.Expr):
    """The ordered product of matrices base[top] ··· base[bottom]; the identity where it is empty.

    Matrices do not commute, and SymPy's own products run upwards.
    """

    is_commutative = False

    def written_out(self) -> sp.Expr:
        """The product for whole-number limits, factor by factor."""
        base, top, bottom = self.args
        return sp.Mul(*[base[index] for index in range(int(top), int(bottom) - 1, -1)])

    def _latex(self, printer) -> str:
        base, top, bottom = self.args
        return rf"{printer._print(base[top])} \cdots {printer._print(base[bottom])}"


def written_out(expression: sp.Expr, depth: int) -> sp.Expr:
    """An expression at L = depth, every sum and product over layers written term by term.

    Empty sums are 0 and empty products 1, also where SymPy's convention says otherwise.
    """
    return _write(expression.subs(sy.L, depth))


def _write(expression: sp.Expr) -> sp.Expr:
    if isinstance(expression, sp.Sum | sp.Product):
        ((index, lower, upper),) = expression.limits
        layers = range(int(lower), int(upper) + 1)
        terms = [_write(expression.function.subs(index, layer)) for layer in layers]
        return (sp.Add if isinstance(expression, sp.Sum) else sp.Mul)(*terms)
    if isinstance(expression, Descending):
        return expression.written_out()
    if isinstance(expression, sp.Indexed) or not expression.args:
        return expression
    if isinstance(expression, sp.Pow) and expression.exp == 0:
        return sp.Integer(1)
    return expression.func(*[_write(part) for part in expression.args])


def pulled_out(expression: sp.Expr) -> sp.Expr:
    """The same, with constants in front of each sum, and a sum of sums for a sum of terms."""
    return _bottom_up(expression, sp.Sum, _pull)


def _pull(total: sp.Sum) -> sp.Expr:
    ((index, lower, upper),) = total.limits
    parts = []
    for term in sp.Add.make_args(sp.expand(total.function)):
        constant, rest = term.as_independent(index, as_Add=False)
        parts.append(constant * _sum(rest, index, lower, upper))
    return sp.Add(*parts)


def _sum(term: sp.Expr, index, lower, upper) -> sp.Expr:
    return upper - lower + 1 if term == 1 else sp.Sum(term, (index, lower, upper))


def peeled(expression: sp.Expr, last: sp.Symbol) -> sp.Expr:
    """The same, with the term or factor of layer `last` split off each sum and product up to it.

    Σ_{k≤ℓ} f_k = Σ_{k≤ℓ-1} f_k + f_ℓ, and inside the first sum, where k ≤ ℓ-1,
    Π_{k<j≤ℓ} g_j = g_ℓ Π_{k<j≤ℓ-1} g_j. Only sums and products from 1, or from k+1, are split.
    """
    opened = _bottom_up(expression, sp.Sum, lambda total: _peel_sum(total, last))
    return pulled_out(_bottom_up(opened, sp.Product, lambda part: _peel_product(part, last)))


def _peel_sum(total: sp.Sum, last: sp.Symbol) -> sp.Expr:
    ((index, lower, upper),) = total.limits
    if (lower, upper) != (1, last):
        return total
    before = _bottom_up(total.function, sp.Product, lambda p: _peel_product(p, last, index))
    at_last = _bottom_up(total.function.subs(index, last), sp.Product, _without_empty)
    return sp.Sum(before, (index, 1, last - 1)) + at_last


def _peel_product(part: sp.Product, last: sp.Symbol, outer: sp.Symbol | None = None) -> sp.Expr:
    ((index, lower, upper),) = part.limits
    starts = (sp.Integer(1),) if outer is None else (sp.Integer(1), outer + 1)
    if upper != last or lower not in starts:
        return part
    return part.function.subs(index, last) * sp.Product(part.function, (index, lower, last - 1))


def _without_empty(part: sp.Product) -> sp.Expr:
    ((_, lower, upper),) = part.limits
    return sp.Integer(1) if upper - lower == -1 else part


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


def evaluated(expression: sp.Expr) -> sp.Expr:
    """The same, with sums and products over layers in closed form where SymPy knows one."""
    return expression.replace(
        lambda part: isinstance(part, sp.Sum | sp.Product), lambda part: part.doit()
    )


def _bottom_up(expression: sp.Basic, kind: type, rule: Callable[[sp.Basic], sp.Expr]) -> sp.Basic:
    if isinstance(expression, sp.Indexed) or not expression.args:
        return expression
    if isinstance(expression, sp.Sum | sp.Product):
        inside = _bottom_up(expression.function, kind, rule)
        expression = expression.func(inside, *expression.limits)
    elif not isinstance(expression, Descending):
        expression = expression.func(*[_bottom_up(part, kind, rule) for part in expression.args])
    return rule(expression) if isinstance(expression, kind) else expression
