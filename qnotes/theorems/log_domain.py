"""Values of SymPy expressions as logarithms: a bound of 10^(±10000) is a normal value here.

The one function, `log_value`, walks an expression of nonnegative quantities: a product becomes a
sum of logarithms, a sum becomes a log-sum-exp. `Sum` and `Product` over layers are evaluated as
array reductions, one axis for each index.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import sympy as sp

#: Logarithms of the quantities: a number for a symbol, an array from layer 1 on for an indexed one.
LogValues = Mapping[sp.Basic, np.ndarray]
#: Integer values of the indices and of L; arrays broadcast against each other.
Integers = Mapping[sp.Symbol, np.ndarray]


def log_value(expression: sp.Expr, logs: LogValues, integers: Integers) -> np.ndarray:
    """The natural logarithm of a SymPy expression of nonnegative quantities.

    It is built from `+`, `*`, integer powers, `Max`, `Sum` and `Product`. The result is float64,
    with one axis for each free index that is an array; `-inf` for zero.
    """
    with np.errstate(divide="ignore"):
        return _log(expression, logs, integers)


def _log(expression: sp.Expr, logs: LogValues, integers: Integers) -> np.ndarray:
    if expression in integers:
        return np.log(np.asarray(integers[expression], dtype=float))
    if expression in logs:
        return logs[expression]
    rule = _RULES.get(expression.func)
    if rule is None and expression.is_Rational:
        rule = _rational
    if rule is None:
        raise TypeError(f"no rule for {expression.func.__name__} in {expression}")
    return rule(expression, logs, integers)


def _rational(expression, logs, integers):
    return np.log(float(expression.p)) - np.log(float(expression.q))


def _indexed(expression, logs, integers):
    (index,) = expression.indices
    return logs[expression.base][integer_value(index, integers) - 1]


def _add(expression, logs, integers):
    negative = [term for term in expression.args if term.could_extract_minus_sign()]
    positive = [term for term in expression.args if term not in negative]
    total = reduce(np.logaddexp, [_log(term, logs, integers) for term in positive])
    if not negative:
        return total
    less = reduce(np.logaddexp, [_log(-term, logs, integers) for term in negative])
    if np.all(np.isneginf(total)):
        return total  # 0 - 0
    return total + np.log1p(-np.exp(less - total))


def _mul(expression, logs, integers):
    return sum(_log(factor, logs, integers) for factor in expression.args)


def _power(expression, logs, integers):
    exponent = integer_value(expression.exp, integers)
    if np.ndim(exponent) == 0 and exponent == 0:
        return np.float64(0.0)  # also for a base of 0, or one that depth 1 leaves undefined
    return exponent * _log(expression.base, logs, integers)


def _max(expression, logs, integers):
    return np.max(np.stack([_log(arg, logs, integers) for arg in expression.args]), axis=0)


def _sum(expression, logs, integers):
    terms, inside = _terms(expression, logs, integers)
    return np.logaddexp.reduce(np.where(inside, terms, -np.inf), axis=-1)


def _product(expression, logs, integers):
    terms, inside = _terms(expression, logs, integers)
    return np.sum(np.where(inside, terms, 0.0), axis=-1)


def _terms(expression, logs, integers):
    """Terms of a sum or product on a new last axis, and which of them its limits admit."""
    ((index, lower, upper),) = expression.limits
    lower, upper = (np.asarray(integer_value(limit, integers)) for limit in (lower, upper))
    new = np.arange(np.min(lower), max(np.max(upper), np.min(lower)) + 1)
    inside = (new >= lower[..., None]) & (new <= upper[..., None])
    outer = {symbol: np.asarray(value)[..., None] for symbol, value in integers.items()}
    # What `inside` masks is looked up at layer 1, which every chain has.
    terms = _log(expression.function, logs, {**outer, index: np.where(inside, new, 1)})
    return terms, inside


def integer_value(expression: sp.Expr, integers: Integers) -> np.ndarray:
    """The integer value of an index or exponent such as `k - 1`."""
    if expression in integers:
        return integers[expression]
    if expression.is_Integer:
        return int(expression)
    parts = [integer_value(part, integers) for part in expression.args]
    if expression.is_Add:
        return sum(parts[1:], start=parts[0])
    if expression.is_Mul:
        return np.prod(parts, axis=0)
    raise TypeError(f"{expression} is not an integer expression of {sorted(map(str, integers))}")


_RULES = {
    sp.Indexed: _indexed,
    sp.Add: _add,
    sp.Mul: _mul,
    sp.Pow: _power,
    sp.Max: _max,
    sp.Sum: _sum,
    sp.Product: _product,
}
