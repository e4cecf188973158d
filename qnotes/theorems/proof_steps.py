"""Steps of a proof: each prints what it claims and derives it again with SymPy.

A proof is a function of its theorem. It builds its steps from the theorem's own statement,
definitions and recursion, and its last step is an equality with the right side of the statement.
So a statement with another exponent, index or factor no longer follows, even if it is still true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.printing import lines, stacked, to_latex
from qnotes.theorems.sums_over_layers import peeled, pulled_out, replaced, written_out

#: Depths at which a recursion is written out and compared with its closed form.
DEPTHS = range(1, 7)


class ProofError(AssertionError):
    """A step of a proof does not hold.

    Attributes:
        theorem: key of the theorem, such as ``T4 mean form``.
        step: title of the step.
        remaining: what should be zero, or nonnegative, and is not; in words or as an expression.
    """

    def __init__(self, theorem: str, step: str, remaining: object) -> None:
        super().__init__(f"{theorem}, step {step!r} does not hold; what remains: {remaining}")
        self.theorem, self.step, self.remaining = theorem, step, remaining


class StepError(AssertionError):
    """Raised by a step, which does not know its theorem; `ProofError` adds the name."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a proof.

    Attributes:
        title: a few words.
        reason: one sentence for the reader.
        printed: what is printed in place of the claims, where SymPy would show two sides alike.
    """

    title: str
    reason: str
    printed: tuple[sp.Basic, ...] = ()

    @property
    def formulae(self) -> tuple[sp.Basic, ...]:
        """What the step claims, to be printed."""
        return self.printed or self._claims()

    def _claims(self) -> tuple[sp.Basic, ...]:
        raise NotImplementedError

    def verify(self) -> None:
        """Derive the claim again; raise StepError if that fails."""
        raise NotImplementedError

    def latex(self) -> list[str]:
        """The formulae as LaTeX without delimiters."""
        return [stacked(*lines(formula)) for formula in self.formulae]


@dataclass(frozen=True, kw_only=True)
class Identity(Step):
    """Two expressions are equal: their difference expands to zero."""

    left: sp.Expr
    right: sp.Expr

    def _claims(self):
        return (equation(self.left, self.right),)

    def verify(self):
        must_vanish(self.left - self.right)


@dataclass(frozen=True, kw_only=True)
class Cases(Step):
    """The same identity in several cases, each expanded; only the first few are printed."""

    pairs: tuple[tuple[sp.Expr, sp.Expr], ...]

    def _claims(self):
        return tuple(equation(*pair) for pair in self.pairs[:2])

    def verify(self):
        if not self.pairs:
            raise StepError("no case was given")
        for left, right in self.pairs:
            must_vanish(left - right)


@dataclass(frozen=True, kw_only=True)
class Nonnegative(Step):
    """larger - smaller equals a certificate, a sum of terms that are nonnegative one by one.

    Attributes:
        given: how the hypotheses enter: r = 1 + t with t ≥ 0 says that r ≥ 1.
    """

    larger: sp.Expr
    smaller: sp.Expr
    certificate: sp.Expr
    given: Mapping[sp.Basic, sp.Expr] = field(default_factory=dict)

    def _claims(self):
        used = tuple(equation(old, new) for old, new in self.given.items())
        difference = sp.Add(self.larger, -self.smaller, evaluate=False)
        return (*used, equation(difference, self.certificate))

    def verify(self):
        must_vanish((self.larger - self.smaller).subs(self.given) - self.certificate)
        must_be_nonnegative(self.certificate)


@dataclass(frozen=True, kw_only=True)
class Monotone(Step):
    """An expression never falls when one of its variables grows: derivatives are nonnegative."""

    expression: sp.Expr
    variables: tuple[sp.Expr, ...]

    def _claims(self):
        return tuple(
            sp.Ge(sp.Derivative(self.expression, v), sp.S.Zero, evaluate=False)
            for v in map(_plain, self.variables)
        )

    def verify(self):
        plain = {variable: _plain(variable) for variable in self.expression.atoms(sp.Indexed)}
        expression = self.expression.subs(plain)
        for variable in self.variables:
            must_be_nonnegative(sp.diff(expression, plain.get(variable, variable)))


@dataclass(frozen=True, kw_only=True)
class Convex(Step):
    """A convex function that touches zero with a level tangent is nowhere negative."""

    expression: sp.Expr
    variable: sp.Symbol
    touches: sp.Expr

    def _claims(self):
        slope = sp.Derivative(self.expression, self.variable)
        at = sp.Subs(slope, self.variable, self.touches)
        curvature = sp.diff(self.expression, self.variable, 2)
        return (equation(at, sp.S.Zero), sp.Ge(curvature, sp.S.Zero, evaluate=False))

    def verify(self):
        slope = sp.diff(self.expression, self.variable)
        must_vanish(self.expression.subs(self.variable, self.touches))
        must_vanish(slope.subs(self.variable, self.touches))
        must_be_nonnegative(sp.factor(sp.diff(slope, self.variable)))


@dataclass(frozen=True, kw_only=True)
class Induction(Step):
    """A recursion has a closed form: base case, and the step from ℓ-1 to ℓ with symbols for all.

    Attributes:
        initial: values before the first layer.
        steps: values after layer ℓ from those after layer ℓ-1.
        closed: the claim, an expression in ℓ for each running quantity.
    """

    initial: Mapping[sp.IndexedBase, sp.Expr]
    steps: Mapping[sp.IndexedBase, sp.Expr]
    closed: Mapping[sp.IndexedBase, sp.Expr]

    def _claims(self):
        return tuple(equation(base[sy.ell], claim) for base, claim in self.closed.items())

    def verify(self):
        before = {base: claim.subs(sy.ell, sy.ell - 1) for base, claim in self.closed.items()}
        for base, claim in self.closed.items():
            at_start = written_out(claim.subs(sy.ell, 0), 0)  # empty sums are 0, products 1
            must_vanish(at_start - self.initial[base])
            after = replaced(self.steps[base], {b: _at_previous(v) for b, v in before.items()})
            must_vanish(peeled(claim, sy.ell) - pulled_out(sp.expand(after)))


@dataclass(frozen=True, kw_only=True)
class Unrolled(Step):
    """A recursion written out for depths 1 to 6 gives what the closed form says."""

    initial: Mapping[sp.IndexedBase, sp.Expr]
    steps: Mapping[sp.IndexedBase, sp.Expr]
    quantity: sp.IndexedBase
    closed: sp.Expr
    title: str = "written out"
    reason: str = "For depths 1 to 6 the recursion is written out and compared term by term."

    def _claims(self):
        values = unroll(self.initial, self.steps, 2)[self.quantity]
        return tuple(equation(self.quantity[depth], values[depth], expand=True) for depth in (1, 2))

    def verify(self):
        values = unroll(self.initial, self.steps, max(DEPTHS))[self.quantity]
        for depth in DEPTHS:
            must_vanish(written_out(self.closed, depth) - values[depth])


@dataclass(frozen=True, kw_only=True)
class ClosedSum(Step):
    """A sum over layers in closed form, found by SymPy's symbolic summation."""

    total: sp.Sum
    closed: sp.Expr

    def _claims(self):
        return (equation(self.total, self.closed),)

    def verify(self):
        must_vanish(self.total.doit() - self.closed)


@dataclass(frozen=True, kw_only=True)
class Verified(Step):
    """A finite check that is none of the kinds above; a function raises where it fails."""

    checked: Callable[[], None]

    def verify(self):
        self.checked()


def unroll(initial, steps, depth: int) -> dict[sp.IndexedBase, list[sp.Expr]]:
    """Expressions of the running quantities after 0, 1, …, depth layers."""
    values = {base: [sp.sympify(start)] for base, start in initial.items()}
    for layer in range(1, depth + 1):
        before = {base[layer - 1]: found[-1] for base, found in values.items()}
        for base, step in steps.items():
            values[base].append(step.subs(sy.ell, layer).xreplace(before))
    return values


def equation(left: sp.Expr, right: sp.Expr, *, expand: bool = False) -> sp.Eq:
    """An equation that SymPy leaves as it is."""
    return sp.Eq(left, sp.expand(right) if expand else right, evaluate=False)


def must_vanish(difference: sp.Expr) -> None:
    """Raise StepError unless SymPy brings the difference to zero."""
    remaining = _remaining(difference)
    if remaining != 0:
        raise StepError(remaining)


def must_be_nonnegative(expression: sp.Expr) -> None:
    """Raise StepError unless each term is nonnegative by the assumptions on its symbols."""
    for term in sp.Add.make_args(expression):
        if not term.is_nonnegative:
            raise StepError(f"the sign of {term} is not known")


def _remaining(difference: sp.Expr) -> sp.Expr:
    """What is left of a difference; zero exactly if SymPy shows that it vanishes."""
    found = sp.expand(pulled_out(sp.expand(difference)))
    if found == 0 or not found.is_commutative or _differs_at_a_point(found):
        return found
    for simplify in (sp.powsimp, sp.factor, sp.simplify):
        if simplify(found) == 0:
            return sp.S.Zero
    return found


def _differs_at_a_point(difference: sp.Expr) -> bool:
    """Whether whole numbers for all symbols already show that it is not zero: a quick way out."""
    try:
        at_point = written_out(difference.subs(_POINT, simultaneous=True), int(_POINT[sy.L]))
        indexed = sorted(at_point.atoms(sp.Indexed), key=str)
        at_point = at_point.xreplace(_primes(indexed))
        value = at_point.subs(_primes(sorted(at_point.free_symbols, key=str)))
    except (TypeError, ValueError):  # limits that stay symbolic
        return False
    return bool(value.is_number and value.is_finite and abs(sp.N(value, 30)) > sp.Float("1e-9"))


#: Layers for the quick way out.
_POINT = {sy.L: sp.Integer(4), sy.ell: sp.Integer(3), sy.k: sp.Integer(2)}


def _primes(symbols: list[sp.Basic]) -> dict[sp.Basic, sp.Integer]:
    return {symbol: sp.Integer(sp.prime(at + 4)) for at, symbol in enumerate(symbols)}


def _at_previous(claim: sp.Expr) -> Callable[[sp.Expr], sp.Expr]:
    def value(index):
        if index != sy.ell - 1:
            raise StepError(f"a step may use layer ℓ-1 only, not {index}")
        return claim

    return value


def _plain(variable: sp.Expr) -> sp.Symbol:
    """A symbol with the sign of an indexed quantity; SymPy differentiates those more simply."""
    if not isinstance(variable, sp.Indexed):
        return variable
    return sp.Symbol(to_latex(variable), nonnegative=True)
