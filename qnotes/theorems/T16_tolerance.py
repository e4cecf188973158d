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
from qnotes.theorems.facts import Fact, eq, ge, le, supposed
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

    def confidence(self, inputs: int, rank: int, fraction: float | Fraction) -> sp.Expr:
        """The right side: exact for a rational fraction, else in SymPy's floating point.

        Args:
            inputs: n, how many inputs were drawn.
            rank: k, at least 1 and at most n.
            fraction: p, the share of the distribution that the k-th largest error shall cover.
        """
        sizes = {draws: inputs, k: rank}
        return self.statement.rhs.subs(sizes).doit().subs(sy.fraction, sp.sympify(fraction))


#: Fewer draws than n, and a count from 0 on.
some = sp.Symbol("m", integer=True, nonnegative=True)
count = sp.Symbol("c", integer=True, nonnegative=True)
#: The law of the number of draws that meet a set, and the share of a draw that meets it.
law = sp.IndexedBase("law", nonnegative=True)
share = sp.Symbol("share", nonnegative=True)
sy.LATEX[law], sy.LATEX[share] = r"\pi", "s_0"
#: That fewer than k of n draws meet the set, by its probability, and as a polynomial.
_KEPT = P(sp.Ge(covered, fraction, evaluate=False))


def fewer(rank: sp.Expr, hit: sp.Expr, miss: sp.Expr) -> sp.Sum:
    """The probability that fewer than so many of n draws meet a set."""
    return sp.Sum(exactly(met, draws, hit, miss), (met, 0, rank - 1))

PROMISE = Promise(
    number="T16",
    name="tolerance from data",
    source="Wilks (1941), tolerance limits from order statistics. The form for the k-th largest of "
    "draws that may be equal, and the proof, are written for this book.",
    whose="Wilks 1941",
    statement=_promise(
        covered, 1 - sp.Sum(exactly(met, draws, 1 - fraction, fraction), (met, 0, k - 1))
    ),
    also=(_promise(largest_covered, 1 - fraction**draws),),
    hypotheses=(
        Hypothesis("n inputs, drawn independently of each other from one distribution"),
        Hypothesis(
            "M_k is the k-th largest of their errors, F(m) the share of the distribution whose "
            "error is at most m"
        ),
        Hypothesis("network, rounding and k were chosen without looking at the draws"),
    ),
)


@proof_of(PROMISE)
def prove(theorem: Result) -> tuple[Step, ...]:
    """The promise fails only if fewer than k draws meet a set that is met often enough."""
    return (
        Verified(
            title="when the promise fails",
            reason="Let t be the smallest number with $F(t) \\ge p$. The promise fails exactly if "
            "$M_k < t$: if fewer than k errors are at least t. A draw has such an error with "
            "probability $1 - F(t-) \\ge 1 - p$, ties or not. Every outcome of up to three draws "
            "from small distributions with ties is counted.",
            printed=(_threshold(),),
            checked=lambda: _check_all_outcomes(theorem),
        ),
        *_counts(),
        *_more_likely(),
        Cases(
            title="statement",
            reason="With $s = 1 - p$: the probability that k or more of the draws meet the set, "
            "found draw by draw, for up to six draws.",
            pairs=tuple(
                (theorem.statement.rhs.subs({draws: n, k: rank}).doit(), 1 - few)
                for (n, rank), few in _fewer(6, 1 - fraction, fraction).items()
            ),
            printed=(theorem.statement,),
        ),
        Identity(
            title="the largest",
            reason="For k = 1 the sum has one term: all draws miss the set.",
            left=theorem.statement.rhs.subs(k, 1).doit(),
            right=theorem.also[0].rhs,
            printed=theorem.also,
        ),
    )


def _threshold() -> sp.Rel:
    """P(error ≥ t) = 1 - F(t-) ≥ 1 - p, to be printed."""
    event = sp.Symbol(r"\mathrm{error} \ge t")
    return sp.Ge(P(event), 1 - fraction, evaluate=False)


# How many draws meet a set.


def _counts() -> tuple[Step, ...]:
    whole = exactly(met, draws, hit, miss)
    one_less = exactly(met - 1, draws - 1, hit, miss), exactly(met, draws - 1, hit, miss)
    (meets, misses) = (sp.combsimp(part / whole) for part in one_less)
    return (
        Identity(
            title="one more draw",
            reason="Exactly i of n: the last draw meets the set, which has probability s, and i-1 "
            "others do; or it misses it, $m = 1 - s$, and i others do. Both sides are divided by "
            "the left one.",
            left=sp.Integer(1),
            right=hit * meets + miss * misses,
            printed=(equation(whole, hit * one_less[0] + miss * one_less[1]),),
        ),
        Cases(
            title="nothing is forgotten",
            reason="The probabilities of all counts add up to 1, for one to six draws.",
            pairs=tuple(
                (sum(exactly(i, n, hit, 1 - hit) for i in range(n + 1)), sp.Integer(1))
                for n in range(1, 7)
            ),
            printed=(equation(sp.Sum(whole, (met, 0, draws)), (hit + miss) ** draws),),
        ),
    )


def _more_likely() -> tuple[Step, ...]:
    """The more likely the set, the less likely it is that fewer than k draws meet it."""
    whole = exactly(met, draws, hit, miss)
    slope = _slope(whole)
    parts = (_boundary(met), _boundary(met + 1))
    few = sp.Symbol(r"\mathbb{P}(\text{fewer than } k)")
    return (
        Identity(
            title="a more likely set",
            reason="As s grows, m falls as much. The derivative of each term is a difference of "
            "two neighbours. Both sides are divided by the term.",
            left=sp.expand(slope / whole),
            right=sp.combsimp(parts[0] / whole) - sp.combsimp(parts[1] / whole),
            printed=(equation(sp.Derivative(whole, hit), sp.Add(parts[0], -parts[1])),),
        ),
        Cases(
            title="neighbours cancel",
            reason="In the sum over i < k only its end is left. Written out for k up to 3.",
            pairs=tuple(
                (
                    _slope(sum(exactly(i, draws, hit, miss) for i in range(rank))),
                    -_boundary(sp.Integer(rank)),
                )
                for rank in (1, 2, 3)
            ),
            printed=(equation(sp.Derivative(few, hit), -_boundary(k)),),
        ),
        Nonnegative(
            title="the worst case",
            reason="So the more likely the set, the less likely it is that fewer than k draws meet "
            "it: $s = 1 - p$ is the worst case.",
            larger=_boundary(k),
            smaller=sp.Integer(0),
            certificate=_boundary(k),
            printed=(sp.Le(-_boundary(k), sp.Integer(0), evaluate=False),),
        ),
    )


def _slope(expression: sp.Expr) -> sp.Expr:
    """The derivative as s grows and m = 1 - s falls."""
    return sp.diff(expression, hit) - sp.diff(expression, miss)


def _boundary(rank: sp.Expr) -> sp.Expr:
    """What is left where the sum over i < rank is cut off."""
    return rank * sp.binomial(draws, rank) * hit ** (rank - 1) * miss ** (draws - rank)


def _fewer(most: int, hit: sp.Expr, miss: sp.Expr) -> dict[tuple[int, int], sp.Expr]:
    """The probability that fewer than k of n draws meet a set, draw by draw, by (n, k)."""
    few = {(0, rank): sp.S.One for rank in range(1, most + 1)}
    for n in range(1, most + 1):
        few[n, 0] = few[n - 1, 0] = sp.S.Zero  # fewer than none
        for rank in range(1, most + 1):
            few[n, rank] = hit * few[n - 1, rank - 1] + miss * few[n - 1, rank]
    return {(n, rank): few[n, rank] for n in range(1, most + 1) for rank in range(1, n + 1)}


# The promise itself, outcome by outcome.

#: Probabilities of the errors 1, 2 and 3, in quarters.
WEIGHTS = tuple(w for w in product(range(5), repeat=3) if sum(w) == 4)
FRACTIONS = (Fraction(1, 4), Fraction(3, 5), Fraction(3, 4), Fraction(9, 10))


def _check_all_outcomes(theorem: Result) -> None:
    for n, rank in ((1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)):
        confidence = theorem.statement.rhs.subs({draws: n, k: rank}).doit()
        for wanted in FRACTIONS:
            least = confidence.subs(fraction, sp.Rational(wanted.numerator, wanted.denominator))
            for kept in _kept(n, rank, wanted):
                if not kept >= least:
                    raise StepError(f"n = {n}, k = {rank}, p = {wanted}: kept with {kept}")


def _kept(n: int, rank: int, wanted: Fraction) -> Iterator[Fraction]:
    """For each distribution the exact probability that the promise is kept."""
    for weights in WEIGHTS:
        chances = [Fraction(weight, 4) for weight in weights]
        below = [sum(chances[: error + 1]) for error in range(3)]  # F at 1, 2 and 3
        kept = Fraction(0)
        for outcome in product(range(3), repeat=n):
            if below[sorted(outcome)[-rank]] >= wanted:
                kept += prod(chances[error] for error in outcome)
        yield kept
