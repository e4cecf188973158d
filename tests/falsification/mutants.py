"""Broken theorems: each statement with one thing wrong, to see whether the proof notices.

A proof that accepts a wrong statement proves nothing. So every theorem is broken in many ways, and
each broken one must fail its own proof, or be violated by a network that the search finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.proof_steps import ProofError
from qnotes.theorems.sums_over_layers import Descending
from qnotes.theorems.theorem import Recursion, Result


@dataclass(frozen=True)
class Mutant:
    """A broken theorem, and what was done to it."""

    original: Result
    change: str
    broken: Result

    def proof_error(self) -> ProofError | None:
        """Why its proof fails; None if the proof accepts it."""
        try:
            self.broken.check()
        except ProofError as error:
            return error
        return None


def mutants(theorem: Result) -> tuple[Mutant, ...]:
    """All ways of breaking one theorem, without repetitions and without the theorem itself."""
    found: dict[str, Mutant] = {}
    for change, broken in _all(theorem):
        signature = str(_content(broken))
        if signature != str(_content(theorem)):
            found.setdefault(signature, Mutant(theorem, change, broken))
    return tuple(found.values())


def _all(theorem: Result) -> Iterator[tuple[str, Result]]:
    for change, rhs in _rewritten(theorem.statement.rhs):
        statement = theorem.statement.func(theorem.statement.lhs, rhs, evaluate=False)
        yield change, replace(theorem, statement=statement)
    for index, relation in enumerate(theorem.also):
        for change, rhs in _rewritten(relation.rhs):
            also = list(theorem.also)
            also[index] = sp.Eq(relation.lhs, rhs, evaluate=False)
            yield f"{change} (second relation)", replace(theorem, also=tuple(also))
    for symbol, meaning in theorem.definitions.items():
        for change, other in (*_means(symbol), *_rewritten(meaning)):
            definitions = {**theorem.definitions, symbol: other}
            yield f"{change}, in {symbol}", replace(theorem, definitions=definitions)
    if isinstance(theorem, Recursion):
        yield from _recursions(theorem)


def _recursions(theorem: Recursion) -> Iterator[tuple[str, Recursion]]:
    for part in ("initial", "steps"):
        rules = getattr(theorem, part)
        for base, rule in rules.items():
            for change, other in _rewritten(rule):
                broken = replace(theorem, **{part: {**rules, base: other}})
                yield f"{change}, in {part} of {base}", broken


def _content(theorem: Result):
    parts = [theorem.statement, theorem.also, *theorem.definitions.values()]
    if isinstance(theorem, Recursion):
        parts += [*theorem.initial.values(), *theorem.steps.values()]
    return parts


# ------------------------------------------------------------------------------ ways to be wrong


def _rewritten(expression: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    """The expression with one thing changed, and what it was."""
    expression = sp.sympify(expression)
    yield "twice the value", 2 * expression
    yield from _factors(expression)
    for change, kind, rule in _RULES:
        for part in _parts(expression, kind):
            for other in rule(part):
                yield change, expression.xreplace({part: other})


def _parts(expression: sp.Expr, kind: type) -> list[sp.Basic]:
    return sorted(expression.atoms(kind), key=str)


def _factors(expression: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    """Products without one of their factors, sums without one of their terms."""
    for kind, what in ((sp.Mul, "factor"), (sp.Add, "term")):
        for part in _parts(expression, kind):
            for dropped in part.args:
                rest = kind(*[factor for factor in part.args if factor is not dropped])
                yield f"{what} {dropped} dropped", expression.xreplace({part: rest})


def _powers(part: sp.Pow) -> Iterator[sp.Expr]:
    if part.exp.has(sy.L, sy.draws) and not part.base.is_number:
        for shift in (1, -1):
            yield part.base ** (part.exp + shift)


def _limits(part) -> Iterator[sp.Expr]:
    ((index, lower, upper),) = part.limits
    for start, end in ((lower + 1, upper), (lower, upper - 1)):
        yield part.func(part.function, (index, start, end))


def _with_own_layer(part: sp.Product) -> Iterator[sp.Expr]:
    ((index, lower, upper),) = part.limits
    if lower == sy.k + 1:
        yield sp.Product(part.function, (index, sy.k, upper))
    if upper == sy.k - 1:
        yield sp.Product(part.function, (index, lower, sy.k))


def _maxima(part: sp.Max) -> Iterator[sp.Expr]:
    yield from part.args


def _chains(part: Descending) -> Iterator[sp.Expr]:
    base, top, bottom = part.args
    other = {sy.W_matrix: sy.W_matrix_q, sy.W_matrix_q: sy.W_matrix}[base]
    yield Descending(other, top, bottom)
    yield Descending(base, top - 1, bottom)
    yield Descending(base, top, bottom + 1)


def _other_symbol(part: sp.Basic) -> Iterator[sp.Basic]:
    if part in _CONFUSED:
        yield _CONFUSED[part]


def _other_family(part: sp.Indexed) -> Iterator[sp.Expr]:
    if part.base in _CONFUSED:
        new = _CONFUSED[part.base]
        yield new[part.indices] if isinstance(new, sp.IndexedBase) else new


def _other_index(part: sp.Indexed) -> Iterator[sp.Expr]:
    first, *rest = part.indices
    if first in (sy.L, sy.ell):
        yield part.base[(first - 1, *rest)]
    if first == sy.ell - 1:
        yield part.base[(sy.ell, *rest)]
    if len(rest) == 2:
        yield part.base[(first, *rest[::-1])]


#: Symbols that are easily taken for each other.
_CONFUSED = {
    sy.D: sp.Integer(1),
    sy.R: sy.r_max,
    sy.W: sy.n_mean,
    sy.r_max: sp.Integer(1),
    sy.r_joint_max: sy.r_max,
    sy.r_mean: sy.r_min,
    sy.r_joint_mean: sy.r_joint_min,
    sy.n: sp.Integer(1),
    sy.n_joint: sy.n,
    sy.eps_layer: sy.eps,
    sy.delta: sy.gamma,
    sy.gamma: sy.delta,
    sy.beta: sy.gamma,
    sy.r: sy.delta,
    sy.r_joint: sy.r,
    sy.W_matrix: sy.W_matrix_q,
    sy.W_matrix_q: sy.W_matrix,
    sy.S_vector: sy.S_vector_q,
    sy.S_vector_q: sy.S_vector,
    sy.b_vector: sy.b_vector_q,
    sy.C: sp.Integer(1),
    sy.largest: sy.tau,
    sy.tau: sy.largest,
    sy.A: sy.d,
    sy.v: sy.d,
}

Rule = Callable[[sp.Basic], Iterator[sp.Basic]]
_RULES: tuple[tuple[str, type, Rule], ...] = (
    ("another exponent", sp.Pow, _powers),
    ("another first or last layer", sp.Sum, _limits),
    ("another first or last layer", sp.Product, _limits),
    ("a layer counted with its own norm", sp.Product, _with_own_layer),
    ("a maximum dropped", sp.Max, _maxima),
    ("another chain of matrices", Descending, _chains),
    ("a symbol swapped", sp.Symbol, _other_symbol),
    ("a family swapped", sp.Indexed, _other_family),
    ("another index", sp.Indexed, _other_index),
)


def _means(symbol: sp.Basic) -> Iterator[tuple[str, sp.Expr]]:
    """What may be taken for the leave-one-out mean of norms, or for the mean fan-in."""
    norms = {sy.r_mean: (sy.r, sy.r_max), sy.r_joint_mean: (sy.r_joint, sy.r_joint_max)}
    if symbol not in norms:
        return
    norm, largest = norms[symbol]
    yield "plain mean", sp.Sum(norm[sy.j], (sy.j, 1, sy.L)) / sy.L
    yield "maximum for mean", largest
