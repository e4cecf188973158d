"""Broken theorems: each statement with one thing wrong, to see whether the proof notices.

A proof that accepts a wrong statement proves nothing. So every theorem is broken in many ways, and
each broken one must fail its own proof, or be violated by a network that the search finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.facts import TURNED, Fact
from qnotes.theorems.sums_over_layers import Descending
from qnotes.theorems.theorem import ProofError, Recursion, Result, Step


@dataclass(frozen=True)
class Mutant:
    """A broken theorem, and what was done to it."""

    original: Result
    change: str
    broken: Result

    def proof_error(self) -> ProofError | None:
        """Why its proof fails; None if the proof accepts it. Its premises are taken as checked."""
        known = set(self.original.premises) & set(self.broken.premises)
        for entry in self.broken.checked_steps(known):
            if entry.error:
                return entry.error
        return None


def mutants(theorem: Result) -> tuple[Mutant, ...]:
    """All ways of breaking one theorem, without repetitions and without the theorem itself."""
    found: dict[tuple, Mutant] = {}
    for change, broken in _all(theorem):
        signature = _content(broken)
        if signature != _content(theorem):
            found.setdefault(signature, Mutant(theorem, change, broken))
    return tuple(found.values())


def _all(theorem: Result) -> Iterator[tuple[str, Result]]:
    for change, rhs in _rewritten(theorem.statement.rhs):
        statement = theorem.statement.func(theorem.statement.lhs, rhs, evaluate=False)
        yield change, replace(theorem, statement=statement)
    for index, relation in enumerate(theorem.also):
        for change, rhs in _rewritten(relation.rhs):
            also = list(theorem.also)
            also[index] = relation.func(relation.lhs, rhs, evaluate=False)
            yield f"{change} (second relation)", replace(theorem, also=tuple(also))
    for symbol, meaning in theorem.definitions.items():
        for change, other in (*_means(symbol), *_rewritten(meaning)):
            definitions = {**theorem.definitions, symbol: other}
            yield f"{change}, in {symbol}", replace(theorem, definitions=definitions)
    if isinstance(theorem, Recursion):
        yield from _recursions(theorem)


# Everything else of which a theorem and its proof are made.


def altered(theorem: Result) -> Iterator[Mutant]:
    """The theorem with another left side, relation, hypothesis, premise, conclusion or step."""
    made = (*_sides(theorem), *_hypotheses(theorem), *_premises(theorem), *_steps(theorem))
    for change, broken in made:
        yield Mutant(theorem, change, broken)


def _sides(theorem: Result) -> Iterator[tuple[str, Result]]:
    """Left sides and relations, of the statement, of what else is stated, and of conclusions."""
    for name in ("statement", "also", "conclusion"):
        value = getattr(theorem, name)
        relations = value if isinstance(value, tuple) else (value,) * (value is not None)
        for at, relation in enumerate(relations):
            for change, other in _relations(relation, weaker_is_wrong=True):
                new = other
                if theorem.conclusion is relation or not change.endswith("strict"):
                    pass
                elif name == "statement" and theorem.conclusion is not None:
                    continue  # a stronger condition
                if isinstance(value, tuple):
                    new = (*value[:at], other, *value[at + 1 :])
                yield f"{name}: {change}", replace(theorem, **{name: new})


def _relations(relation: sp.Rel, *, weaker_is_wrong: bool) -> Iterator[tuple[str, sp.Rel]]:
    turned = {sp.Le: sp.Ge, sp.Ge: sp.Le}
    for kind, other in turned.items():
        if isinstance(relation, kind):
            yield "relation: turned round", other(*relation.args, evaluate=False)
    strict = {sp.Le: sp.Lt, sp.Ge: sp.Gt, sp.Eq: sp.Lt}
    for kind, other in strict.items():
        if isinstance(relation, kind):
            yield "relation: strict", other(*relation.args, evaluate=False)
    left, right = relation.args
    yield "left side: times a million", relation.func(10**6 * left, right, evaluate=False)
    if left.is_commutative:
        yield "left side: another", relation.func(left + 1, right, evaluate=False)


def _hypotheses(theorem: Result) -> Iterator[tuple[str, Result]]:
    """Each fact of each hypothesis dropped, weakened, turned round; and one that is not needed."""
    for at, hypothesis in enumerate(theorem.hypotheses):
        for name, fact in hypothesis.facts.items():
            others = {key: other for key, other in hypothesis.facts.items() if key != name}
            for change, facts in (
                ("dropped", others),
                *((change, {**others, name: new}) for change, new in _weaker(fact)),
            ):
                new = replace(hypothesis, facts=facts)
                changed = (*theorem.hypotheses[:at], new, *theorem.hypotheses[at + 1 :])
                broken = replace(theorem, hypotheses=changed)
                yield f"hypothesis: {change}: {name}", _with_proof(broken, theorem.proof)
    extra = {"nobody needs it": Fact(sy.D, "<=", sp.Integer(1))}
    first = replace(theorem.hypotheses[0], facts=extra) if theorem.hypotheses else None
    if first:
        more = (*theorem.hypotheses, first)
        yield (
            "hypothesis: one too many",
            _with_proof(replace(theorem, hypotheses=more), theorem.proof),
        )


def _weaker(fact: Fact) -> Iterator[tuple[str, Fact]]:
    yield "turned round", replace(fact, sign=TURNED[fact.sign] if fact.sign != "=" else ">=")
    larger = {"left": fact.left, "right": fact.right}
    side = "right" if fact.sign in ("<=", "<", "=") else "left"
    larger[side] = larger[side] + 1
    yield "weakened", replace(fact, **larger)
    if fact.each:
        (index, low, high), *rest = fact.each
        yield "for fewer", replace(fact, each=((index, low + 1, high), *rest))
    for side in ("left", "right"):
        slopes = getattr(fact, side).atoms(sp.Indexed)
        forgotten = {at: sp.S.One for at in slopes if at.base in (sy.kappa, sy.growth)}
        if forgotten:
            yield (
                "slope forgotten",
                replace(fact, **{side: getattr(fact, side).xreplace(forgotten)}),
            )


def _premises(theorem: Result) -> Iterator[tuple[str, Result]]:
    for at, premise in enumerate(theorem.premises):
        others = (*theorem.premises[:at], *theorem.premises[at + 1 :])
        yield f"premise: dropped: {premise.key}", _with_premises(theorem, others)
        unproved = replace(premise, prove=None)
        yield f"premise: unproved: {premise.key}", _swapped(theorem, premise, unproved)
        for change, other in _relations(premise.statement, weaker_is_wrong=True):
            wrong = replace(premise, statement=other)
            yield f"premise: {change}: {premise.key}", _swapped(theorem, premise, wrong)
    circular = replace(theorem)
    object.__setattr__(circular, "premises", (*theorem.premises, circular))
    yield "premise: the theorem itself", _with_proof(circular, theorem.proof)


def _with_premises(theorem: Result, premises) -> Result:
    return _with_proof(replace(theorem, premises=premises), theorem.proof)


def _swapped(theorem: Result, premise: Result, other: Result) -> Result:
    return replace(theorem, premises=tuple(other if p is premise else p for p in theorem.premises))


def _with_proof(theorem: Result, steps: tuple[Step, ...]) -> Result:
    new = replace(theorem)
    object.__setattr__(new, "premises", theorem.premises)
    object.__setattr__(new, "prove", lambda _: steps)
    return new


def _with_steps(theorem: Result, steps: tuple[Step, ...]) -> Result:
    """With another proof of the same statement; what it starts from is read once."""
    new = _with_proof(theorem, steps)
    theorem.definition_facts(), theorem.facts(), theorem.goals(), theorem._fixed
    for name in ("_definition_facts", "_facts", "_goals", "_fixed"):
        if name in vars(theorem):
            vars(new)[name] = vars(theorem)[name]
    return new


def _steps(theorem: Result) -> Iterator[tuple[str, Result]]:
    """Each step deleted, doubled, and with another fact, other uses or another range."""
    steps = theorem.proof
    for at, step in enumerate(steps):
        rest = (steps[:at], steps[at + 1 :])
        yield f"step: deleted: {step.name}", _with_steps(theorem, (*rest[0], *rest[1]))
        for change, other in _changed(step):
            changed = (*rest[0], other, *rest[1])
            yield f"step: {change}: {step.name}", _with_steps(theorem, changed)
    idle = replace(steps[0], name="an idle step")
    yield "step: idle", _with_steps(theorem, (*steps[:-1], idle, steps[-1]))
    for last in range(1, min(len(steps), 4) + 1):
        smaller = [_thousandth(step) for step in steps[-last:]]
        broken = _with_steps(theorem, (*steps[:-last], *smaller))
        statement = theorem.statement if theorem.conclusion is None else theorem.conclusion
        less = statement.func(statement.lhs, statement.rhs / 1000, evaluate=False)
        name = "conclusion" if theorem.conclusion is not None else "statement"
        if statement.rhs.is_commutative:
            consistent = _with_proof(replace(theorem, **{name: less}), broken.proof)
            yield f"consistent: last {last} steps and statement by 1000", consistent


def _thousandth(step: Step) -> Step:
    return replace(step, fact=replace(step.fact, right=step.fact.right / 1000))


def _changed(step: Step) -> Iterator[tuple[str, Step]]:
    fact = step.fact
    if fact.sign != "=":
        yield "turned round", replace(step, fact=replace(fact, sign=TURNED[fact.sign]))
    side = "left" if fact.sign in (">=", ">") else "right"
    if getattr(fact, side) != 0:
        yield (
            "right side by 1000",
            replace(step, fact=replace(fact, **{side: getattr(fact, side) / 1000})),
        )
    yield (
        "right side less 1",  # or less the identity
        replace(step, fact=replace(fact, **{side: getattr(fact, side) - 1})),
    )
    if fact.each and step.uses:  # axioms and suppositions hold for more indices as well
        (index, low, high), *rest = fact.each
        for change, wider in (("from earlier", (low - 1, high)), ("to later", (low, high + 1))):
            ranges = ((index, *wider), *rest)
            yield change, replace(step, fact=replace(fact, each=ranges))
    if fact.given:
        yield "supposes nothing", replace(step, fact=replace(fact, given=()))
    for use in range(len(step.uses)):
        uses = (*step.uses[:use], *step.uses[use + 1 :])
        yield f"without fact {use}", replace(step, uses=uses)


def _recursions(theorem: Recursion) -> Iterator[tuple[str, Recursion]]:
    for part in ("initial", "steps"):
        rules = getattr(theorem, part)
        for base, rule in rules.items():
            for change, other in _rewritten(rule):
                broken = replace(theorem, **{part: {**rules, base: other}})
                yield f"{change}, in {part} of {base}", broken


def _content(theorem: Result) -> tuple:
    parts = [theorem.statement, theorem.also, *theorem.definitions.values()]
    if isinstance(theorem, Recursion):
        parts += [*theorem.initial.values(), *theorem.steps.values()]
    return tuple(parts)


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
    sy.kappa: sp.Integer(1),
    sy.growth: sy.kappa,
    sy.at_zero: sy.S_vector_q,
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
