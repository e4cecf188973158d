"""Expressions as LaTeX, with the letters of the book."""

from __future__ import annotations

import sympy as sp
from sympy.printing.latex import LatexPrinter

from qnotes.theory import symbols as sy


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


def to_latex(expression: sp.Basic) -> str:
    """A SymPy expression in the notation of the book, as LaTeX without delimiters."""
    return _Printer().doprint(expression)
