"""The value of a theorem as a function in JavaScript, for the explorers in the pages of the book.

As in `log_domain`, an expression of nonnegative quantities becomes its natural logarithm: a product
becomes a sum. Whole numbers (layers, limits, exponents) are printed by SymPy's own `jscode`. The
functions that the code calls are written by hand, in `book/_static/explorers.js`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import sympy as sp
from sympy import jscode

from qnotes.theorems import notation as sy
from qnotes.theorems.theorem import Recursion, Theorem

#: Symbols that are whole numbers in JavaScript, and no logarithms.
WHOLE = frozenset({sy.L, sy.ell, sy.k, sy.j})
_OVER = (sp.Sum, sp.Product)

#: What a function takes: the quantities, and the functions on logarithms that it calls.
_HEAD = "(q, {add, minus, power, sumOver, productOver}) => { const L = q.L"

Running = Collection[sp.IndexedBase]


def function_code(theorem: Theorem) -> str:
    """A function in JavaScript: the natural logarithm of what a theorem says, without rounding up.

    Its first argument has the depth ``L``, and for each symbol of the theorem, by its SymPy name,
    the natural logarithm of the quantity; for a quantity of each layer an array of them, that of
    layer 1 first. The second are the functions on logarithms of `explorers.js`.

    Raises:
        TypeError: for an operation without a rule.
    """
    if not isinstance(theorem, Recursion):
        return f"{_HEAD}; return {log_code(theorem.value)}; }}"
    running = tuple(theorem.steps)
    starts = (f"{base.name} = [{log_code(start)}]" for base, start in theorem.initial.items())
    steps = (
        f"{base.name}[ell] = {log_code(step, running)};" for base, step in theorem.steps.items()
    )
    return (
        f"{_HEAD}, {', '.join(starts)}; "
        f"for (let ell = 1; ell <= L; ell++) {{ {' '.join(steps)} }} "
        f"return {log_code(theorem.statement.rhs, running)}; }}"
    )


def log_code(expression: sp.Expr, running: Running = ()) -> str:
    """JavaScript for the natural logarithm of an expression of nonnegative quantities.

    Args:
        expression: built from ``+``, ``*``, whole powers, `Max`, `Sum` and `Product`.
        running: families that the code computes itself, in arrays that begin before layer 1.
    """
    if expression.free_symbols <= WHOLE and not expression.has(*_OVER):
        return f"Math.log({jscode(expression)})"
    if expression.is_Symbol:
        return f"q.{expression.name}"
    rule = _RULES.get(expression.func)
    if rule is None:
        raise TypeError(f"no rule for {expression.func.__name__} in {expression}")
    return rule(expression, running)


def _indexed(expression, running: Running) -> str:
    (index,) = expression.indices
    if expression.base in running:
        return f"{expression.base.name}[{jscode(index)}]"
    return f"q.{expression.base.name}[{jscode(index - 1)}]"


def _add(expression, running: Running) -> str:
    negative = [term for term in expression.args if term.could_extract_minus_sign()]
    positive = [term for term in expression.args if term not in negative]
    total = _call("add", positive, running)
    less = _call("add", [-term for term in negative], running)
    return f"minus({total}, {less})" if negative else total


def _mul(expression, running: Running) -> str:
    return " + ".join(log_code(factor, running) for factor in expression.args)


def _power(expression, running: Running) -> str:
    return f"power({jscode(expression.exp)}, {log_code(expression.base, running)})"


def _max(expression, running: Running) -> str:
    return _call("Math.max", expression.args, running)


def _over(expression, running: Running) -> str:
    ((index, low, high),) = expression.limits
    name = "sumOver" if isinstance(expression, sp.Sum) else "productOver"
    body = log_code(expression.function, running)
    return f"{name}({jscode(low)}, {jscode(high)}, ({jscode(index)}) => {body})"


def _call(name: str, parts: Iterable[sp.Expr], running: Running) -> str:
    codes = [log_code(part, running) for part in parts]
    return codes[0] if len(codes) == 1 else f"{name}({', '.join(codes)})"


_RULES = {
    sp.Indexed: _indexed,
    sp.Add: _add,
    sp.Mul: _mul,
    sp.Pow: _power,
    sp.Max: _max,
    sp.Sum: _over,
    sp.Product: _over,
}


def quantities(profile, theorems: Iterable[Theorem]) -> dict[str, int | float | list]:
    """What a profile supplies to theorems, by the names that `function_code` reads; no logarithms.

    Args:
        profile: from `qnotes.profile`, or read from JSON.
        theorems: whose symbols are wanted.
    """
    symbols = {symbol for theorem in theorems for symbol in theorem.symbols()} | {sy.L}
    values = {symbol.name: sy.QUANTITIES[symbol].value(profile) for symbol in symbols}
    return {name: np.asarray(value).tolist() for name, value in sorted(values.items())}
