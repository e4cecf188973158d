"""T16 as a formula, and the numbers that the package takes from scipy."""

from fractions import Fraction

import pytest
from scipy.stats import binom

import qnotes as qn
from qnotes.observation.promises import inputs_needed, promised_rank
from qnotes.theorems import notation as sy

T16 = qn.theorems()["T16"]
CASES = [
    (1, Fraction(1, 2), Fraction(1, 4)),
    (3, Fraction(1, 4), Fraction(1, 2)),
    (29, Fraction(9, 10), Fraction(19, 20)),
    (60, Fraction(4, 5), Fraction(9, 10)),
    (298, Fraction(99, 100), Fraction(19, 20)),
    (299, Fraction(99, 100), Fraction(19, 20)),
    (472, Fraction(99, 100), Fraction(19, 20)),
    (473, Fraction(99, 100), Fraction(19, 20)),
    (2000, Fraction(99, 100), Fraction(999, 1000)),
]


@pytest.mark.parametrize(("n", "fraction", "confidence"), CASES)
def test_ranks_are_those_of_the_formula_in_exact_arithmetic(n, fraction, confidence):
    rank = promised_rank(n, float(fraction), float(confidence))
    if rank:
        assert T16.confidence(n, rank, fraction) >= confidence
    if rank < n:
        assert T16.confidence(n, rank + 1, fraction) < confidence


@pytest.mark.parametrize(("n", "fraction", "confidence"), CASES)
def test_the_formula_is_the_binomial_tail(n, fraction, confidence):
    for rank in {1, min(2, n), max(1, n // 50)}:
        expected = binom.sf(rank - 1, n, 1 - float(fraction))
        assert float(T16.confidence(n, rank, fraction)) == pytest.approx(expected, rel=1e-10)


def test_inputs_needed_are_those_of_the_largest():
    for fraction, confidence in ((0.99, 0.95), (0.9, 0.5), (0.999, 0.99)):
        needed = inputs_needed(fraction, confidence)
        (largest,) = T16.also
        exact = [
            largest.rhs.subs({sy.draws: n, sy.fraction: fraction}) for n in (needed - 1, needed)
        ]
        assert exact[0] < confidence <= exact[1]
