"""What a theorem is here: a SymPy statement that prints and evaluates itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import sympy as sp
from sympy.printing.latex import LatexPrinter

from qnotes.theory import symbols as sy
from qnotes.theory.logdomain import log_value

UNIT_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class Hypothesis:
    """A condition of a theorem, and why a profile fails it (None where it holds)."""

    text: str
    failure: Callable[[object], str | None] = lambda profile: None


@dataclass(frozen=True, eq=False)
class Theorem:
    """A bound (or gain) in the notation of the book.

    Attributes:
        number: as the book counts, such as ``T5``.
        form: tells apart the bounds of one theorem; empty where there is only one.
        name: a few words.
        source: what is publicly known to be the paper's, what is earlier work, what is ours.
        statement: a SymPy relation; its right side is the value.
        definitions: symbols that the statement uses, each defined by an expression.
        hypotheses: conditions; a profile that fails one has no value.
        tight: whether a network reaches the bound.
    """

    number: str
    form: str
    name: str
    source: str
    statement: sp.Rel
    hypotheses: tuple[Hypothesis, ...]
    definitions: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)
    tight: bool = False

    @property
    def key(self) -> str:
        """Number and form, such as ``T5 mean form``."""
        return f"{self.number} {self.form}".strip()

    @cached_property
    def value(self) -> sp.Expr:
        """The right side of the statement with its definitions put in."""
        return self.statement.rhs.subs(self.definitions)

    def latex(self) -> str:
        """The statement, and the definitions that it uses, as LaTeX without delimiters."""
        lines = [to_latex(self.statement)]
        lines += [to_latex(sp.Eq(*pair, evaluate=False)) for pair in self.definitions.items()]
        return r" ,\qquad ".join(lines)

    def symbols(self) -> dict[sp.Basic, str]:
        """The symbols of the statement that a profile supplies, with their meanings."""
        return {
            symbol: sy.QUANTITIES[symbol].meaning
            for symbol in _quantities(self._expressions())
        }

    def assumptions(self, profile) -> list[str]:
        """Why the hypotheses do not hold for this profile; empty where they all hold."""
        failures = (hypothesis.failure(profile) for hypothesis in self.hypotheses)
        return [failure for failure in failures if failure]

    def evaluate(self, profile) -> float:
        """log10 of the value for a profile, rounded up; NaN where a hypothesis fails."""
        if self.assumptions(profile):
            return math.nan
        logs = self._logs(profile)
        natural = self._log(logs, profile.depth)
        return (natural + rounding_slack(logs, profile.depth)) / math.log(10)

    def shares(self, profile) -> np.ndarray | None:
        """Each layer's part of the bound, in sum 1; None where the bound does not name layers."""
        if self.assumptions(profile):
            return None
        logs = self._log_terms(self._logs(profile), profile.depth)
        if logs is None or not np.isfinite(np.max(logs)):
            return None
        parts = np.exp(logs - np.max(logs))
        return parts / parts.sum()

    def _expressions(self) -> tuple[sp.Expr, ...]:
        return (self.value,)

    def _logs(self, profile) -> dict[sp.Basic, np.ndarray]:
        """Logarithms of what a profile supplies to the theorem."""
        with np.errstate(divide="ignore"):
            return {
                symbol: np.log(np.asarray(sy.QUANTITIES[symbol].value(profile), dtype=float))
                for symbol in _quantities(self._expressions())
                if symbol != sy.L
            }

    def _log(self, logs, depth: int) -> float:
        return float(log_value(self.value, logs, {sy.L: depth}))

    def _log_terms(self, logs, depth: int) -> np.ndarray | None:
        """The logarithm of each layer's term in the sum over layers, up to a common constant."""
        sums = [part for part in sp.Mul.make_args(self.statement.rhs) if isinstance(part, sp.Sum)]
        if not sums:
            return None
        layers = {sy.L: depth, sums[0].variables[0]: np.arange(1, depth + 1)}
        return log_value(sums[0].function, logs, layers)


@dataclass(frozen=True, eq=False)
class Recursion(Theorem):
    """A bound on error that runs along the chain: e_ℓ = growth · e_{ℓ-1} + source.

    Attributes:
        initial: values before the first layer, for each running quantity.
        steps: the right side of each running quantity at layer ℓ, in the order of computation.
    """

    initial: Mapping[sp.IndexedBase, sp.Expr] = field(default_factory=dict)
    steps: Mapping[sp.IndexedBase, sp.Expr] = field(default_factory=dict)

    def latex(self) -> str:
        """The recursion and the statement as LaTeX without delimiters."""
        starts = [to_latex(sp.Eq(base[0], value)) for base, value in self.initial.items()]
        steps = [
            to_latex(sp.Eq(base[sy.ell], value, evaluate=False))
            for base, value in self.steps.items()
        ]
        return r" ,\quad ".join([*starts, *steps, to_latex(self.statement)])

    def _expressions(self) -> tuple[sp.Expr, ...]:
        return (*self.initial.values(), *self.steps.values())

    def _log(self, logs, depth: int) -> float:
        return float(self._run(logs, depth)[sy.e][-1])

    def _log_terms(self, logs, depth: int) -> np.ndarray:
        # Unrolled: e_L = Σ_k (Π_{j>k} growth_j) · source_k, since the step is affine in e.
        step = self.steps[sy.e]
        growth = step.coeff(sy.e[sy.ell - 1])
        source = step - growth * sy.e[sy.ell - 1]
        running = self._run(logs, depth)
        before = {base: values[:-1] for base, values in running.items()}
        at_previous = {base[sy.ell - 1]: base[sy.ell] for base in running}
        layers = {sy.L: depth, sy.ell: np.arange(1, depth + 1)}
        factors = log_value(growth, logs, layers)
        later = np.concatenate([np.cumsum(factors[:0:-1])[::-1], [0.0]])
        return later + log_value(source.subs(at_previous), {**logs, **before}, layers)

    def _run(self, logs, depth: int) -> dict[sp.IndexedBase, np.ndarray]:
        """Logarithms of the running quantities, from before the first layer to after the last."""
        running = {
            base: [log_value(value, logs, {sy.L: depth})] for base, value in self.initial.items()
        }
        for layer in range(1, depth + 1):
            here = {sy.L: depth, sy.ell: layer}
            known = {base[sy.ell - 1]: values[-1] for base, values in running.items()}
            for base, value in self.steps.items():
                running[base].append(log_value(value, {**logs, **known}, here))
        return {base: np.array(values, dtype=float) for base, values in running.items()}


def rounding_slack(logs: Mapping[sp.Basic, np.ndarray], depth: int) -> float:
    """What rounding can have taken from the logarithm of a bound; added so that it stays a bound.

    Let M be the largest absolute logarithm of a quantity that enters. No intermediate logarithm
    exceeds (L+2)(M+2), and a bound adds fewer than 4(L+2) of them in sequence. Each addition is off
    by at most a unit roundoff of its result.
    """
    finite = [np.abs(values[np.isfinite(values)]) for values in map(np.atleast_1d, logs.values())]
    largest = max((float(values.max()) for values in finite if values.size), default=0.0)
    return 4 * (depth + 2) ** 2 * (largest + 2) * UNIT_ROUNDOFF


def _quantities(expressions) -> list[sp.Basic]:
    """The symbols of expressions that a profile supplies, in the order of the notation."""
    found = set()
    for expression in expressions:
        found |= expression.atoms(sp.Symbol, sp.IndexedBase)
    return [symbol for symbol in sy.QUANTITIES if symbol in found]


class _Printer(LatexPrinter):
    """LaTeX with the letters of the book."""

    def _print_Symbol(self, expr):
        return sy.LATEX.get(expr) or super()._print_Symbol(expr)

    def _print_IndexedBase(self, expr):
        return sy.LATEX.get(expr) or super()._print_IndexedBase(expr)

    def _print_Indexed(self, expr):
        indices = ",".join(self._print(index) for index in expr.indices)
        return f"{self._print(expr.base)}_{{{indices}}}"


def to_latex(expression: sp.Basic) -> str:
    """A SymPy expression in the notation of the book, as LaTeX without delimiters."""
    return _Printer().doprint(expression)
