"""Expressions as LaTeX, with the letters of the book and the order in which people write them."""

from __future__ import annotations

import re

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter

from qnotes.theorems import notation as sy
from qnotes.theorems.sums_over_layers import Opaque

# Factors stand in this order; what is not listed stands before the sums.
_FIRST = (sy.D, sy.W, sy.W_chain, sy.R)
_SLOPES = (sy.kappa, sy.growth)
_LAST = (sp.Product, sp.Sum)
# Of terms, those stand first that carry the error on, then those that carry activations.
_ERRORS, _ACTIVATIONS = {sy.e, sy.u, sy.S_vector}, {sy.s, sy.v, sy.S_vector_q}


class _Printer(LatexPrinter):
    """LaTeX with the letters of the book."""

    def _print_Symbol(self, expr):
        return sy.LATEX.get(expr) or super()._print_Symbol(expr)

    def _print_IndexedBase(self, expr):
        return sy.LATEX.get(expr) or super()._print_IndexedBase(expr)

    def _print_Indexed(self, expr):
        indices = ",".join(self._print(index) for index in expr.indices)
        base, prime = self._print(expr.base), ""
        if base.endswith("'"):
            base, prime = base[:-1], "'"
        return f"{base}{prime}_{{{indices}}}"

    def _print_Max(self, expr, exp=None):
        arguments = sorted(expr.args, key=lambda argument: argument.is_number)
        if len(arguments) == 2 and sum(arguments) == 0 and isinstance(expr, sp.Max):
            (inside, *_) = sorted(arguments, key=lambda x: x.could_extract_minus_sign())
            return rf"\left|{self._print(inside)}\right|"
        name = r"\max(" if isinstance(expr, sp.Max) else r"\min("
        printed = name + ", ".join(map(self._print, arguments)) + ")"
        return printed if exp is None else f"{printed}^{{{exp}}}"

    _print_Min = _print_Max

    def _print_Add(self, expr, order=None):
        terms = sorted(expr.args, key=_term_rank)
        return super()._print_Add(sp.Add(*terms, evaluate=False), order="none")

    def _print_Mul(self, expr):
        if (argument := _binary_logarithm(expr)) is not None:
            return rf"\log_{{2}} \left({self._print(argument)}\right)"
        if not expr.is_commutative or expr.could_extract_minus_sign():
            return super()._print_Mul(expr)
        number, factors = _without_numbers(sp.Mul.make_args(expr))
        below = [1 / factor for factor in factors if _divides(factor)]
        factors = [factor for factor in factors if not _divides(factor)]
        counts = [factor for factor in factors if _counts_layers(factor)]
        factors = [factor for factor in factors if factor not in counts]
        above = [factor for factor in factors if below and not _stands_alone(factor)]
        alone = sorted((f for f in factors if f not in above), key=_factor_rank)
        if counts or not below:  # the number counts layers, or stands in front
            front = self._fraction(number.p, counts, number.q)
            groups = [front, self._fraction(1, above, 1, below)]
        else:
            groups = [self._fraction(number.p, above, number.q, below)]
        split = sum(_factor_rank(factor)[0] < 2 for factor in alone) if counts else 0
        printed = [self._factor(factor) for factor in alone]
        return " ".join(part for part in [*printed[:split], *groups, *printed[split:]] if part)

    def _fraction(self, number_above, above, number_below, below=()) -> str:
        over = [str(number_above)] if number_above != 1 else []
        over += [self._factor(factor, alone=len(above) == 1 and not over) for factor in above]
        under = [str(number_below)] if number_below != 1 else []
        under += [self._factor(factor, alone=len(below) == 1 and not under) for factor in below]
        if under:
            return rf"\frac{{{' '.join(over) or '1'}}}{{{' '.join(under)}}}"
        if len(over) == 1 and above and above[0].is_Add:
            return self._factor(above[0])
        return " ".join(over)

    def _factor(self, factor, *, alone: bool = False) -> str:
        printed = self._print(factor)
        return rf"\left({printed}\right)" if factor.is_Add and not alone else printed


def _binary_logarithm(expr: sp.Mul) -> sp.Expr | None:
    """x where the product is log(x)/log(2), as SymPy writes the logarithm to base 2."""
    rest = sp.Mul(expr, sp.log(2))
    return rest.args[0] if isinstance(rest, sp.log) else None


def _without_numbers(given: tuple[sp.Expr, ...]) -> tuple[sp.Rational, list[sp.Expr]]:
    """The rational number in front, also that hidden in a sum such as L/2 + 3/2; other factors."""
    number, factors = sp.S.One, []
    for factor in given:
        content, rest = factor.as_content_primitive() if factor.is_Add else (sp.S.One, factor)
        if factor.is_Rational:
            content, rest = factor, sp.S.One
        number *= content
        factors += [] if rest == 1 else [rest]
    return number, factors


def _divides(factor: sp.Expr) -> bool:
    return factor.is_Pow and factor.exp.is_number and factor.exp.is_negative


def _counts_layers(factor: sp.Expr) -> bool:
    """Whether a factor is L itself or a polynomial in it."""
    return factor.free_symbols == {sy.L} and factor.is_polynomial(sy.L)


def _stands_alone(factor: sp.Expr) -> bool:
    return isinstance(factor, sp.Max) or (factor.is_Pow and not factor.exp.is_number)


def _factor_rank(factor: sp.Expr) -> tuple[int, str]:
    if isinstance(factor, sp.Max | sp.binomial):
        return (0, "")
    if factor in _FIRST:
        return (1, str(_FIRST.index(factor)))
    if factor.is_Indexed and factor.base in _SLOPES:
        return (1, str(len(_FIRST)))
    if _stands_alone(factor):
        return (2, "")
    if isinstance(factor, _LAST):
        return (6 + _LAST.index(type(factor)), sp.default_sort_key(factor))
    if isinstance(factor, AppliedUndef):
        return (4, str(factor))
    if factor.is_Indexed:
        return (5 if factor.base in (sy.s, sy.e) else 4, str(factor))
    if isinstance(factor, Opaque):  # a matrix, then what it acts on
        return (3, f"{sy.S_vector_q in _bases(factor)} {factor}")
    return (3, str(factor))


def _term_rank(term: sp.Expr) -> tuple:
    """Positive terms first, carried quantities before new ones, numbers last."""
    bases = _bases(term)
    carried = 0 if bases & _ERRORS else 1 if bases & _ACTIVATIONS else 2
    return (term.could_extract_minus_sign(), term.is_number, carried, sp.default_sort_key(term))


def _bases(expression: sp.Expr) -> set[sp.IndexedBase]:
    return {indexed.base for indexed in expression.atoms(sp.Indexed)}


def to_latex(expression: sp.Basic) -> str:
    """A SymPy expression in the notation of the book, as LaTeX without delimiters."""
    return _Printer().doprint(expression)


def lines(relation: sp.Basic) -> list[str]:
    """A relation as LaTeX: on one line, or on two where one is too long for a narrow page."""
    whole = to_latex(relation)
    sign = _RELATIONS.get(type(relation))
    fits = sign is None or "matrix" in whole or _width(whole) <= WIDEST
    if fits or _width(to_latex(relation.lhs)) <= WIDEST // 4:
        return [whole]
    return [to_latex(relation.lhs), rf"\quad {sign} {to_latex(relation.rhs)}"]


_RELATIONS = {sp.Eq: "=", sp.Le: r"\le", sp.Ge: r"\ge"}
#: Letters and signs that a line of a column of text holds; on a phone a few of them scroll.
WIDEST = 40


def _width(latex: str) -> int:
    """About how many letters and signs are printed beside each other."""
    return len(re.sub(r"\\(left|right|tilde|mathrm|begin|end)|\\\\|[{}_^\s]|(?<=\\)\w+", "", latex))


def stacked(*lines: str) -> str:
    """Several formulae below each other, so that they fit a narrow page."""
    if len(lines) == 1:
        return lines[0]
    return r"\begin{gathered} " + r" \\[0.4em] ".join(lines) + r" \end{gathered}"


_SIGNS = {"=": "=", "<=": r"\le", ">=": r"\ge", "<": "<", ">": ">"}


def fact_to_latex(fact) -> str:
    """A fact as LaTeX: the relation, for which indices, and what is supposed."""
    printed = [f"{to_latex(fact.left)} {_SIGNS[fact.sign]} {to_latex(fact.right)}"]
    if _width(printed[0]) > WIDEST and _width(to_latex(fact.left)) > WIDEST // 4:
        printed = [to_latex(fact.left), rf"\quad {_SIGNS[fact.sign]} {to_latex(fact.right)}"]
    if fact.each:
        printed.append(rf"({', '.join(map(_range, fact.each))})")
    printed += [rf"\text{{if }} {fact_to_latex(given)}" for given in fact.given]
    return stacked(*printed)


def _range(limits) -> str:
    index, low, high = map(to_latex, limits)
    return rf"{low} \le {index} \le {high}"
