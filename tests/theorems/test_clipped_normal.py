"""The mean of a clipped normal variable: derived again, and integrated by SymPy."""

import pytest
import sympy as sp

from qnotes.theorems import mean_of_clipped_normal as cn
from qnotes.theorems.proof_steps import StepError


@pytest.mark.parametrize("step", cn.proof(), ids=lambda step: step.title)
def test_every_step_is_derived_again(step):
    step.verify()
    assert step.latex() and step.reason.endswith(".")


@pytest.mark.parametrize("wrong", [cn.TAIL + cn.x, -cn.TAIL, cn.TAIL.subs(cn.sigma, 2 * cn.sigma)])
def test_another_antiderivative_is_refused(wrong, monkeypatch):
    monkeypatch.setattr(cn, "TAIL", wrong)
    with pytest.raises(StepError):
        for step in cn.proof():
            step.verify()


def test_sympy_integrates_to_the_same():
    by_sympy = sp.integrate(cn.x * cn.DENSITY, (cn.x, 0, sp.oo), conds="none")
    for at in ({cn.mu: 1, cn.sigma: 2}, {cn.mu: -3, cn.sigma: 1}):
        assert sp.N(by_sympy.subs(at) - cn.RELU_MEAN.subs(at), 30, chop=True) == 0
