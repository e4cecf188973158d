"""The mean of a clipped normal variable: composed again, and integrated by SymPy."""

import sympy as sp

from qnotes.theorems import LEMMAS
from qnotes.theorems import mean_of_clipped_normal as cn


def test_it_is_among_the_lemmas_that_prove_runs():
    assert cn.CLIPPED in LEMMAS and cn.CLIPPED.check()


def test_the_antiderivative_vanishes_at_infinity():
    assert sp.limit(cn.TAIL, cn.x, sp.oo) == 0


def test_sympy_integrates_to_the_same():
    by_sympy = sp.integrate(cn.x * cn.DENSITY, (cn.x, 0, sp.oo), conds="none")
    for at in ({cn.mu: 1, cn.sigma: 2}, {cn.mu: -3, cn.sigma: 1}):
        assert sp.N(by_sympy.subs(at) - cn.RELU_MEAN.subs(at), 30, chop=True) == 0
