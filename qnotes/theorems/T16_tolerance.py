"""T16, a promise from data: what the k-th largest error of n draws says about a new input.

`PROMISE.confidence` is the right side of the statement as a number. `qnotes.tolerance` makes such
a promise for a network and its quantized copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.axioms import BINOMIAL
from qnotes.theorems.facts import Fact, eq, fact, le, supposed
from qnotes.theorems.notation import covered, draws, fraction, k, largest_covered
from qnotes.theorems.rules import Algebra, ByAxiom, Falling, Induction, Suppose
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

#: How many of the draws meet a set; the index of the binomial sum.
met = sp.Symbol("i", integer=True, nonnegative=True)
#: The probabilities that a draw meets a set, and that it misses it.
hit, miss = sp.symbols("s m", positive=True)


class P(sp.Function):
    """A probability."""

    nargs = 1

    def _latex(self, printer) -> str:
        return rf"\mathbb{{P}}({printer._print(self.args[0])})"


def exactly(count: sp.Expr, of: sp.Expr, hit: sp.Expr, miss: sp.Expr) -> sp.Expr:
    """The probability that so many of so many independent draws meet a set."""
    return sp.binomial(of, count) * hit**count * miss ** (of - count)


def _promise(promised: sp.Symbol, confidence: sp.Expr) -> sp.Ge:
    claim = P(sp.Ge(promised, fraction, evaluate=False))
    return sp.Ge(claim, confidence, evaluate=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Promise(Result):
    """T16 in numbers."""

    def goals(self) -> tuple[Fact, ...]:
        """The promise for every rank, and for the largest error."""
        return (fact(self.statement, _RANKS), *map(fact, self.also))

    def confidence(self, inputs: int, rank: int, fraction: float | Fraction) -> sp.Expr:
        """The right side: exact for a rational fraction, else in SymPy's floating point.

        Args:
            inputs: n, how many inputs were drawn.
            rank: k, at least 1 and at most n.
            fraction: p, the share of the distribution that the k-th largest error shall cover.
        """
        sizes = {draws: inputs, k: rank}
        return self.statement.rhs.subs(sizes).doit().subs(sy.fraction, sp.sympify(fraction))


#: A rank from 0 on, and the share of the distribution whose draws meet a set.
rank = sp.Symbol("c", integer=True, nonnegative=True)
share = sp.Symbol("share", nonnegative=True)
sy.LATEX[share] = "s_0"


def fewer(than: sp.Expr, hit: sp.Expr, miss: sp.Expr) -> sp.Expr:
    """The probability that fewer than so many of n independent draws meet a set."""
    return sp.Sum(exactly(met, draws, hit, miss), (met, 0, than - 1))


_STATEMENT = _promise(covered, 1 - fewer(k, 1 - fraction, fraction))
_LARGEST = _promise(largest_covered, 1 - fraction**draws)
_RANKS = (k, sp.S.One, draws)

PROMISE = Promise(
    number="T16",
    name="tolerance from data",
    source="Wilks (1941), tolerance limits from order statistics. The form for the k-th largest of "
    "draws that may be equal, and the proof, are written for this book.",
    whose="Wilks 1941",
    statement=_STATEMENT,
    also=(_LARGEST,),
    hypotheses=(
        Hypothesis(
            "n inputs, drawn independently of each other from one distribution; $M_k$ is the k-th "
            "largest of their errors, F(m) the share of the distribution whose error is at most m. "
            "So the promise fails exactly if fewer than k errors are at least t, the smallest "
            "number with F(t) ≥ p; the number of these errors has a binomial law",
            facts={
                "kept": eq(_STATEMENT.lhs, 1 - fewer(k, share, 1 - share), _RANKS),
                "kept by the largest": eq(_LARGEST.lhs, 1 - fewer(1, share, 1 - share)),
            },
        ),
        Hypothesis(
            "a draw has an error of at least t with a probability of at least 1 - p, ties or not",
            facts={"often enough": le(1 - fraction, share), "at most always": le(share, 1)},
        ),
        Hypothesis("p is at most 1", facts={"a share": le(fraction, 1)}),
        Hypothesis("network, rounding and k were chosen without looking at the draws"),
    ),
)


@proof_of(PROMISE)
def prove(theorem: Result) -> tuple[Step, ...]:
    """The more likely a set, the less likely it is that fewer than k draws meet it."""
    goal, largest = theorem.goals()
    few = fewer(rank, hit, miss)
    before = eq(_slope(fewer(rank - 1, hit, miss)), -_boundary(rank - 1))
    ranks = (rank, 1, draws)
    falls = (fewer(k, share, 1 - share), fewer(k, 1 - fraction, fraction))
    return (
        Step("slope before", supposed(before, ranks), Suppose()),
        Step(
            "neighbours",
            eq(
                rank * sp.binomial(draws, rank),
                (draws - rank + 1) * sp.binomial(draws, rank - 1),
                ranks,
            ),
            ByAxiom(BINOMIAL),
        ),
        Step(
            "slope after",
            eq(_slope(few), -_boundary(rank), ranks, given=(before,)),
            Algebra((1, hit ** (rank - 1) * miss ** (draws - rank))),
            uses=("slope before", "neighbours"),
            reason="As s grows, m = 1 - s falls as much; neighbouring terms cancel.",
        ),
        Step("no term", eq(_slope(few.subs(rank, 0)), 0), Algebra()),
        Step(
            "slope",
            eq(_slope(few), -_boundary(rank), (rank, 0, draws)),
            Induction(),
            uses=("no term", "slope after"),
        ),
        Step(
            "not rising",
            le(_slope(fewer(k, hit, miss)), 0, _RANKS),
            Algebra(gives_away=True),
            uses=(("slope", {rank: k}),),
            reason="What is left is not positive.",
        ),
        Step("no less than never", le(0, 1 - fraction), Algebra(), uses=("a share",)),
        Step(
            "the worst case",
            le(*falls, _RANKS),
            Falling(fewer(k, hit, miss), hit, miss),
            uses=("not rising", "no less than never", "often enough", "at most always"),
            reason="The more likely the set, the less likely it is that fewer than k meet it.",
        ),
        Step("statement", goal, Algebra((-1, 1)), uses=("kept", "the worst case")),
        Step(
            "the largest",
            largest,
            Algebra((-1, 1)),
            uses=("kept by the largest", ("the worst case", {k: 1})),
            reason="For k = 1 the sum has one term: all draws miss the set.",
        ),
    )


def _slope(expression: sp.Expr) -> sp.Expr:
    """The derivative as s grows and m = 1 - s falls."""
    return sp.diff(expression, hit) - sp.diff(expression, miss)


def _boundary(rank: sp.Expr) -> sp.Expr:
    """What is left where the sum over i < rank is cut off."""
    return rank * sp.binomial(draws, rank) * hit ** (rank - 1) * miss ** (draws - rank)
