"""What a theorem is here: a SymPy statement that prints, proves and evaluates itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.axioms import AXIOMS
from qnotes.theorems.facts import Fact, StepError, fact
from qnotes.theorems.log_domain import log_value
from qnotes.theorems.printing import fact_to_latex, lines, stacked, to_latex
from qnotes.theorems.rules import Apply, ByAxiom, Rule, Used, fact_symbols
from qnotes.theorems.sums_over_layers import Ranges, nonnegative, normal, positive

UNIT_ROUNDOFF = 2.0**-53


class ProofError(AssertionError):
    """A proof does not compose, or a step of it does not follow.

    Attributes:
        theorem: key of the theorem, such as ``T4 mean form``.
        step: name of the step, or ``statement``, ``hypotheses``, ``premises``.
        remaining: what should be zero, or nonnegative, and is not; in words or as an expression.
    """

    def __init__(self, theorem: str, step: str, remaining: object) -> None:
        super().__init__(f"{theorem}, step {step!r} does not hold; what remains: {remaining}")
        self.theorem, self.step, self.remaining = theorem, step, remaining


@dataclass(frozen=True)
class Hypothesis:
    """A condition: in words, why a profile fails it, and as facts by name."""

    text: str
    failure: Callable[[object], str | None] = lambda profile: None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    #: Symbols for any number of which it holds.
    anything: tuple[sp.Symbol, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of a proof: from which facts, by what rule, to which fact.

    Attributes:
        name: by which later steps use its fact.
        fact: what it yields.
        rule: from `qnotes.theorems.rules`.
        uses: names of hypotheses, definitions and earlier steps; a pair of a name and what stands
            for its indices where that is not themselves.
        reason: one sentence for the reader.
    """

    name: str
    fact: Fact
    rule: Rule
    uses: tuple = ()
    reason: str = field(default="", kw_only=True)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the facts used."""
        return tuple(use if isinstance(use, str) else use[0] for use in self.uses)

    def latex(self) -> str:
        """The fact that the step yields, as LaTeX without delimiters."""
        return fact_to_latex(self.fact)

    def verify(self, known: Mapping[str, Fact], fixed: frozenset) -> None:
        """Raise StepError unless the fact follows from known ones by the rule."""
        if self.name in known:
            raise StepError(f"{self.name!r} is the name of two facts")
        if missing := [name for name in self.names if name not in known]:
            raise StepError(f"nothing before is called {missing[0]!r}")
        if self.fact.says_nothing:
            raise StepError(f"{self.fact.left} on both sides: the step says nothing")
        self.fact.must_have_meaning()
        used = tuple(
            Used(known[use]) if isinstance(use, str) else Used(known[use[0]], use[1])
            for use in self.uses
        )
        self.rule.verify(self.fact, used, fixed)


@dataclass(frozen=True)
class Checked:
    """A step of a proof that was derived again, and how long that took."""

    step: Step
    seconds: float
    error: ProofError | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A statement in the notation of the book; not necessarily a number for a profile.

    Attributes:
        number: as the book counts, such as ``T5``.
        form: tells apart the bounds of one theorem; empty where there is only one.
        name: a few words.
        source: what is publicly known to be the paper's, what is earlier work, what is ours.
        statement: a SymPy relation: what is bounded, how, and by what; None where nothing is
            stated in symbols.
        hypotheses: conditions, in words and as facts.
        definitions: symbols that the statement uses, each defined by an expression.
        tight: whether, at every depth, networks come as close to it as one likes.
        premises: theorems that its proof uses.
        prove: makes the steps of the proof from the theorem; None where none is re-done here.
        also: further relations that belong to the statement.
        conclusion: what follows where the statement itself is a condition.
        whose: the source in a word or two.
    """

    number: str
    form: str = ""
    name: str
    source: str
    statement: sp.Rel | None
    hypotheses: tuple[Hypothesis, ...] = ()
    definitions: Mapping[sp.Basic, sp.Expr] = field(default_factory=dict)
    tight: bool = False
    premises: tuple[Result, ...] = ()
    prove: Callable[[Result], tuple[Step, ...]] | None = None
    also: tuple[sp.Rel, ...] = ()
    conclusion: sp.Rel | None = None
    whose: str = "ours"

    #: Whether a profile gives it a value; then it has `evaluate`, `assumptions` and `shares`.
    computable = False

    @property
    def key(self) -> str:
        """Number and form, such as ``T5 mean form``."""
        return f"{self.number} {self.form}".strip()

    @property
    def status(self) -> str:
        """``checked by machine``, or ``stated`` where no machine proof exists here."""
        return "checked by machine" if self.prove else "stated"

    @cached_property
    def proof(self) -> tuple[Step, ...]:
        """The steps, built from the statement, the definitions and the premises."""
        return tuple(self.prove(self)) if self.prove else ()

    # What a proof starts from, and where it has to end.

    def facts(self) -> dict[str, Fact]:
        """The hypotheses as facts, by name; with them the condition, where the statement is one."""
        return self._facts

    @cached_property
    def _facts(self) -> dict[str, Fact]:
        found = {name: fact for each in self.hypotheses for name, fact in each.facts.items()}
        return (
            {**found, "condition": as_fact(self.statement)}
            if self.conclusion is not None
            else found
        )

    def definition_facts(self) -> dict[str, Fact]:
        """The definitions as facts, by name, also those of premises."""
        return self._definition_facts

    @cached_property
    def _definition_facts(self) -> dict[str, Fact]:
        found: dict[str, Fact] = {}
        for premise in self.premises:
            found |= premise.definition_facts()
        for symbol, value in self._all_definitions().items():
            above, below = sp.fraction(sp.sympify(value))
            found[name_of(symbol)] = as_fact(sp.Eq(below * symbol, above, evaluate=False))
        return found

    def goals(self) -> tuple[Fact, ...]:
        """What the proof has to yield, exactly."""
        return self._goals

    @cached_property
    def _goals(self) -> tuple[Fact, ...]:
        ends = (self.statement, *self.also) if self.conclusion is None else (self.conclusion,)
        return tuple(as_fact(relation) for relation in ends)

    def applied(self, name: str, goal: int = 0) -> Step:
        """The step of another proof that takes over a goal, from the same hypotheses."""
        return Step(name, self.goals()[goal], Apply(self), tuple(self.facts()))

    def _all_definitions(self) -> dict[sp.Basic, sp.Expr]:
        return dict(self.definitions)

    # The check.

    def check(self, done: set | None = None) -> tuple[Checked, ...]:
        """Compose the proof again, from the hypotheses to the statement, premises included.

        Args:
            done: theorems that were checked already, for several checks in a row; grows.

        Returns:
            The steps with their times; empty for a result that is stated only.

        Raises:
            ProofError: names the theorem and the first step that fails, and what remains.
        """
        checked = tuple(self.checked_steps(done))
        for entry in checked:
            if entry.error:
                raise entry.error
        return checked

    def checked_steps(self, known_premises: set | None = None, path: tuple[Result, ...] = ()):
        """Each step derived again, one after the other; what fails carries its error.

        Args:
            known_premises: theorems that were checked already; grows.
            path: theorems that wait for this one.
        """
        done = set() if known_premises is None else known_premises
        if not self.prove:
            return
        if error := self._premise_error(done, (*path, self)):
            yield Checked(_whole("premises"), 0.0, error)
            return
        facts, definitions = self.facts(), self.definition_facts()
        known = facts | definitions
        fixed = self._fixed
        for step in self.proof:
            error, started = None, time.perf_counter()
            try:
                step.verify(known, fixed)
                _must_be_premise(step, self.premises)
            except StepError as failed:
                error = ProofError(self.key, step.name, failed.args[0])
            yield Checked(step, time.perf_counter() - started, error)
            if error:
                return
            known[step.name] = step.fact
        if problem := self._loose_end(facts):
            yield Checked(_whole(problem[0]), 0.0, ProofError(self.key, *problem))
            return
        done.add(self)

    @cached_property
    def _fixed(self) -> frozenset:
        """The symbols of which something is said that need not hold for other numbers."""
        said = (*self.definition_facts().values(), *self.goals())
        fixed = frozenset().union(*map(fact_symbols, said))
        for hypothesis in self.hypotheses:
            said = frozenset().union(*map(fact_symbols, hypothesis.facts.values()))
            fixed |= said - set(hypothesis.anything)
        return fixed | (
            fact_symbols(self.facts()["condition"]) if self.conclusion is not None else frozenset()
        )

    def _premise_error(self, done: set, path: tuple[Result, ...]) -> ProofError | None:
        for premise in self.premises:
            if premise in path:
                return ProofError(self.key, "premises", f"{premise.key} rests on {self.key}")
            if not premise.prove:
                return ProofError(self.key, "premises", f"{premise.key} has no proof")
            if premise not in done:
                for entry in premise.checked_steps(done, path):
                    if entry.error:
                        return entry.error
        own = self.definition_facts()
        for premise in self.premises:
            for name, meaning in premise.definition_facts().items():
                if own[name] != meaning:
                    return ProofError(self.key, "premises", f"{name} has two definitions")
        return None

    def _loose_end(self, facts: Mapping[str, Fact]) -> tuple[str, str] | None:
        """What the steps leave open: a goal, an idle step, something that was not used."""
        yielded = {step.fact: step for step in self.proof}
        ends = []
        for goal in self.goals():
            if goal not in yielded:
                return "statement", f"no step yields {goal.relation}"
            ends.append(yielded[goal].name)
        inherited = [x for premise in self.premises for x in premise.definition_facts()]
        own = {s: x for s, x in self._all_definitions().items() if name_of(s) not in inherited}
        signs, open_sign = _signs(self.proof, own)
        if open_sign is not None:
            return "definitions", f"the sign of {open_sign} was not shown"
        steps = {step.name: step for step in self.proof}
        needed, waiting = set(), [*ends, *signs.values()]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += steps[name].names if name in steps else ()
        if idle := [name for name in steps if name not in needed]:
            return idle[0], "the step is idle: nothing rests on it"
        if unused := [name for name in facts if name not in needed]:
            return "hypotheses", f"the hypothesis {unused[0]!r} is not used"
        for name in map(name_of, own):
            if name not in needed and name not in signs:
                return "definitions", f"the definition of {name} is not used"
        used = [step.rule.theorem for step in steps.values() if isinstance(step.rule, Apply)]
        if unused := [premise.key for premise in self.premises if premise not in used]:
            return "premises", f"the premise {unused[0]} is not used"
        return None

    def latex(self) -> str:
        """The statement, and the definitions that it uses, as LaTeX without delimiters."""
        if self.statement is None:
            return ""
        printed = lines(self.statement)
        if self.conclusion is not None:
            printed[-1] += r" \quad\Longrightarrow\quad " + to_latex(self.conclusion)
        meanings = (sp.Eq(*pair, evaluate=False) for pair in self.definitions.items())
        for relation in (*self.also, *meanings):
            printed += lines(relation)
        return stacked(*printed)

    def symbols(self) -> dict[sp.Basic, str]:
        """The symbols of the statement that a profile supplies, with their meanings."""
        return {
            symbol: sy.QUANTITIES[symbol].meaning for symbol in _quantities(self._expressions())
        }

    def _expressions(self) -> tuple[sp.Expr, ...]:
        return () if self.statement is None else (self.statement,)


def as_fact(relation: sp.Rel) -> Fact:
    """A relation as a fact for every layer and unit that it names."""
    return fact(relation, *ranges_of(relation))


def ranges_of(relation: sp.Basic) -> Ranges:
    """The ranges of the indices that are free in a relation: layers ℓ and k, units i, symbols g."""
    free = relation.free_symbols
    found = [(index, sp.S.One, sy.L) for index in (sy.ell, sy.k) if index in free]
    if sy.i in free:
        (layer,) = {at.indices[0] for at in relation.lhs.atoms(sp.Indexed) if len(at.indices) > 1}
        found.append((sy.i, sp.S.One, sy.N[layer]))
    if sy.g in free:
        found.append((sy.g, sp.S.One, sy.symbols_count))
    return tuple(found)


def name_of(symbol: sp.Basic) -> str:
    """The name of the fact that defines a symbol: ``s``, or ``s 0`` for its first value."""
    if not isinstance(symbol, sp.Indexed):
        return symbol.name
    return symbol.base.name.removesuffix("_layer") + (" 0" if symbol.indices[0] == 0 else "")


def _whole(what: str) -> Step:
    """Stands for the proof as a whole where no single step is at fault."""
    return Step(name=what, fact=Fact(sp.S.Zero, "=", sp.S.Zero), rule=Rule())


def _must_be_premise(step: Step, premises: tuple[Result, ...]) -> None:
    if isinstance(step.rule, Apply) and step.rule.theorem not in premises:
        raise StepError(f"{step.rule.theorem.key} is no premise")
    if isinstance(step.rule, ByAxiom) and step.rule.axiom not in AXIOMS:
        raise StepError(f"{step.rule.axiom.name} is no axiom")


def _signs(steps: tuple[Step, ...], definitions) -> tuple[dict[str, str], sp.Basic | None]:
    """Steps that show the signs that defined symbols have by declaration; a symbol without one.

    A nonnegative symbol equals above/below: above ≥ 0 has to be shown, of a positive one
    above ≥ below, where that is not plain from the signs of its parts.
    """
    shown: dict[str, str] = {}
    for symbol, value in definitions.items():
        above, below = sp.fraction(sp.sympify(value))
        plain = positive if symbol.is_positive else nonnegative
        if not nonnegative(below):
            return shown, symbol
        if plain(above) or not (symbol.is_nonnegative or symbol.is_positive):
            continue
        wanted = above - (below if symbol.is_positive else 0)
        found = [step.name for step in steps if _is_at_least_zero(step.fact, wanted)]
        if not found:
            return shown, symbol
        shown[name_of(symbol)] = found[0]
    return shown, None


def _is_at_least_zero(shown: Fact, wanted: sp.Expr) -> bool:
    plain = shown.sign in ("<=", ">=") and not shown.each and not shown.given
    return plain and normal(shown.gap - wanted) == 0


def proof_of(theorem: Result) -> Callable:
    """Decorate the function that makes the steps of a theorem's proof; it stands below the theorem.

    It takes the theorem, so that a copy with another statement has the proof of that statement.
    """

    def given(prove: Callable[[Result], tuple[Step, ...]]):
        object.__setattr__(theorem, "prove", prove)  # the last part of a frozen theorem
        return prove

    return given


@dataclass(frozen=True, eq=False, kw_only=True)
class Theorem(Result):
    """A bound (or gain) that a profile gives a value: the right side of the statement."""

    computable = True

    @cached_property
    def value(self) -> sp.Expr:
        """The right side of the statement with its definitions put in."""
        return self.statement.rhs.subs(self.definitions)

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

    def quantity(self, profile, symbol: sp.Basic) -> float | np.ndarray:
        """What a symbol of the theorem stands for, in a profile.

        Args:
            profile: from `qnotes.profile`, or read from JSON.
            symbol: from `qnotes.theorems.notation`: one that profiles supply, such as `r_joint`,
                or one that this theorem defines, such as the mean `r_joint_mean` of T5.

        Returns:
            A number, or an array over the layers; NaN for a mean over the others of one layer.
        """
        if symbol not in self.definitions:
            value = sy.QUANTITIES[symbol].value(profile)
            return np.array(value) if isinstance(value, list) else value
        with np.errstate(invalid="ignore"):
            logs, depths = self._logs(profile), {sy.L: profile.depth}
            return float(np.exp(log_value(self.definitions[symbol], logs, depths)))

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


@dataclass(frozen=True, eq=False, kw_only=True)
class Recursion(Theorem):
    """A bound on error that runs along the chain: e_ℓ = growth · e_{ℓ-1} + source.

    Attributes:
        initial: values before the first layer, for each running quantity.
        steps: the right side of each running quantity at layer ℓ, in the order of computation.
    """

    initial: Mapping[sp.IndexedBase, sp.Expr] = field(default_factory=dict)
    steps: Mapping[sp.IndexedBase, sp.Expr] = field(default_factory=dict)

    def _all_definitions(self):
        starts = {base[0]: start for base, start in self.initial.items()}
        return {**starts, **{base[sy.ell]: step for base, step in self.steps.items()}}

    def latex(self) -> str:
        """The recursion and the statement as LaTeX without delimiters."""
        starts = [to_latex(sp.Eq(base[0], value)) for base, value in self.initial.items()]
        steps = [
            to_latex(sp.Eq(base[sy.ell], value, evaluate=False))
            for base, value in self.steps.items()
        ]
        return stacked(r" ,\quad ".join(starts), *steps, to_latex(self.statement))

    def _expressions(self) -> tuple[sp.Expr, ...]:
        return (*self.initial.values(), *self.steps.values())

    def _log(self, logs, depth: int) -> float:
        return float(self._run(logs, depth)[sy.e][-1])

    def _log_terms(self, logs, depth: int) -> np.ndarray:
        # Unrolled: e_L = Σ_k (Π_{j>k} growth_j) · source_k, since the step is affine in e.
        growth, source = self._growth_and_source(sy.e, logs, self._run(logs, depth), depth)
        later = np.concatenate([np.cumsum(growth[:0:-1])[::-1], [0.0]])
        return later + source

    def _run(self, logs, depth: int) -> dict[sp.IndexedBase, np.ndarray]:
        """Logarithms of the running quantities, from before the first layer to after the last."""
        running: dict[sp.IndexedBase, np.ndarray] = {}
        for base, start in self.initial.items():
            growth, source = self._growth_and_source(base, logs, running, depth)
            values = [float(log_value(start, logs, {sy.L: depth}))]
            for factor, new in zip(growth, source, strict=True):
                values.append(np.logaddexp(factor + values[-1], new))
            running[base] = np.array(values)
        return running

    def _growth_and_source(self, base, logs, running, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms, a layer each, of the two parts of a step that is affine in its quantity."""
        layers = {sy.L: depth, sy.ell: np.arange(1, depth + 1)}
        # Position ℓ of the shifted arrays holds what earlier quantities were before layer ℓ.
        before = {other: values[:-1] for other, values in running.items()}
        return tuple(
            np.broadcast_to(log_value(part, {**logs, **before}, layers), depth)
            for part in self._parts[base]
        )

    @cached_property
    def _parts(self) -> dict[sp.IndexedBase, tuple[sp.Expr, sp.Expr]]:
        """For each running quantity: its growth, and what is added; earlier ones taken at ℓ."""
        at_previous = {other[sy.ell - 1]: other[sy.ell] for other in self.steps}
        parts = {}
        for base, step in self.steps.items():
            growth = step.coeff(base[sy.ell - 1])
            source = sp.expand(step - growth * base[sy.ell - 1]).subs(at_previous)
            parts[base] = (growth, source)
        return parts


def rounding_slack(logs: Mapping[sp.Basic, np.ndarray], depth: int) -> float:
    """What rounding can have taken from the logarithm of a bound; added so that it stays a bound.

    Let u be the unit roundoff, M the largest absolute logarithm of a quantity that enters, and
    Λ = M + log(L + 4) + 2, which also covers the constants. Assumed: an addition is off by at most
    u of its result, log and logaddexp by at most 2u (one unit in the last place), exp and log1p,
    whose results are below 1 here, by at most 8u.

    - A logarithm that enters is off by at most 2uM; partial results are at most (L+2)Λ.
    - A log-sum-exp moves by no more than its inputs do, so errors do not grow in it. Adding L terms
      of size (L+2)Λ one by one puts in at most 2uL(L+2)Λ.
    - Product forms: L logarithms, 2uLM, their additions, uL²Λ, and one such sum.
    - Mean forms: the sum of L norms is off by 2u(L+1)Λ. Taking away the smallest, at most 1/L of
      it, changes that by a factor of at most 3; with L-1 below, 2u(3L+9)Λ. Times L-1, and with the
      sum of fan-ins and the other factors, less than (6L² + 20L + 8)uΛ.
    - Recursion: layer ℓ adds at most 2uM + u(ℓ+2)Λ + 4u(ℓ+2)Λ to what was there; in sum less than
      3.5u(L²+5L)Λ.
    - Powers of one norm: the logarithm of W+1 is off by 4uΛ; times L.

    Each is below 8 (L+2)² Λ u, to first order in u and with room for the change to base 10.
    """
    finite = [np.abs(values[np.isfinite(values)]) for values in map(np.atleast_1d, logs.values())]
    largest = max((float(values.max()) for values in finite if values.size), default=0.0)
    return 8 * (depth + 2) ** 2 * (largest + math.log(depth + 4) + 2) * UNIT_ROUNDOFF


def _quantities(expressions) -> list[sp.Basic]:
    """The symbols of expressions that a profile supplies, in the order of the notation."""
    found = set()
    for expression in expressions:
        found |= expression.atoms(sp.Symbol, sp.IndexedBase)
    return [symbol for symbol in sy.QUANTITIES if symbol in found]
