"""Values of SymPy expressions in plain arithmetic: exact on fractions, many networks on arrays.

The log domain (`qnotes.theorems.log_domain`) is what a deep network needs. This second evaluator
shares no line with it. With Python's fractions it gives the exact value of a bound; with arrays or
tensors, one entry for each network, the values for many small networks at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

import numpy as np
import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.theorem import Recursion, Theorem


@dataclass(frozen=True)
class Arithmetic:
    """What differs between kinds of numbers: constants, and the larger of two."""

    constant: Callable[[int, int], object]
    larger: Callable[[object, object], object]


FRACTIONS = Arithmetic(Fraction, max)
FLOATS = Arithmetic(operator.truediv, np.maximum)


def direct(
    theorem: Theorem,
    values: Mapping[sp.Basic, object],
    depth: int,
    numbers: Arithmetic = FLOATS,
):
    """The value of a theorem: exact for fractions, a batch for arrays.

    Args:
        theorem: one that a profile gives a value, or a broken one.
        values: a number for each symbol, a sequence over layers for each indexed one.
        depth: L.
        numbers: `FRACTIONS`, `FLOATS`, or another arithmetic.
    """
    if isinstance(theorem, Recursion):
        return _last_of_recursion(theorem, values, depth, numbers)
    return direct_value(theorem.value, values, {sy.L: depth}, numbers)


def _last_of_recursion(theorem: Recursion, values, depth: int, numbers: Arithmetic):
    none: dict[sp.Symbol, int] = {}
    running = {
        base: [direct_value(start, values, none, numbers)]
        for base, start in theorem.initial.items()
    }
    for layer in range(1, depth + 1):
        known = {base[sy.ell - 1]: found[-1] for base, found in running.items()}
        here = {**values, **known}
        for base, step in theorem.steps.items():
            running[base].append(direct_value(step, here, {sy.ell: layer}, numbers))
    after = {base: found[1:] for base, found in running.items()}
    return direct_value(theorem.statement.rhs, {**values, **after}, {sy.L: depth}, numbers)


def direct_value(
    expression: sp.Expr,
    values: Mapping[sp.Basic, object],
    integers: Mapping[sp.Symbol, int],
    numbers: Arithmetic = FLOATS,
):
    """The value of an expression of `+`, `*`, integer powers, `Max`, `Sum` and `Product`.

    Args:
        expression: from a theorem.
        values: a number for each symbol, a sequence (layer 1 first) for each indexed one.
        integers: values of L and of free indices.
        numbers: `FRACTIONS`, `FLOATS`, or another arithmetic.
    """

    def value(part: sp.Expr):
        return direct_value(part, values, integers, numbers)

    if expression in integers:
        return integers[expression]
    if expression in values:
        return values[expression]
    if isinstance(expression, sp.Indexed):
        return _of_layer(values[expression.base], _whole(expression.indices[0], integers))
    if expression.is_Rational:
        return numbers.constant(int(expression.p), int(expression.q))
    if isinstance(expression, sp.Sum | sp.Product):
        return _over_layers(expression, values, integers, numbers)
    if isinstance(expression, sp.Pow):
        exponent = _whole(expression.exp, integers)
        # The mean over no layers, for depth 1, is 0/0; its power 0 is 1.
        return numbers.constant(1, 1) if exponent == 0 else value(expression.base) ** exponent
    if isinstance(expression, sp.Max):
        return reduce(numbers.larger, map(value, expression.args))
    if isinstance(expression, sp.Add | sp.Mul):
        combine = operator.add if isinstance(expression, sp.Add) else operator.mul
        return reduce(combine, map(value, expression.args))
    raise TypeError(f"no rule for {expression.func.__name__} in {expression}")


def _of_layer(values, layer: int):
    if layer < 1:
        raise IndexError(f"layers count from 1; got {layer}")
    return values[layer - 1]


def _over_layers(expression, values, integers, numbers):
    ((index, lower, upper),) = expression.limits
    add = isinstance(expression, sp.Sum)
    total = numbers.constant(0 if add else 1, 1)
    for layer in range(_whole(lower, integers), _whole(upper, integers) + 1):
        term = direct_value(expression.function, values, {**integers, index: layer}, numbers)
        total = total + term if add else total * term
    return total


def _whole(expression: sp.Expr, integers: Mapping[sp.Symbol, int]) -> int:
    return int(expression.subs(integers))
