"""The mean of a clipped normal variable: derived, integrated, and drawn."""

import mpmath
import pytest
import sympy as sp
import torch

from qnotes.theory import clipped_normal as cn
from qnotes.theory.proof import StepError

POINTS = [(0.0, 1.0), (1.5, 0.3), (-2.0, 1.0), (-20.0, 1.0), (5.0, 4.0), (6.0, 0.01), (40.0, 30.0)]


def integral(mean: float, std: float, top: float) -> mpmath.mpf:
    """The mean of the clipped variable by numerical integration of 50 digits."""
    with mpmath.workdps(50):
        mean, std = mpmath.mpf(mean), mpmath.mpf(std)
        limits = sorted(
            {mpmath.mpf(0), max(mean, 0), max(mean - 9 * std, 0), mean + 9 * std, 60 * std}
        )
        limits = [limit for limit in limits if 0 <= limit < top] + [top]
        below = mpmath.quad(lambda x: x * mpmath.npdf(x, mean, std), limits)
        return below + (top * (1 - mpmath.ncdf(top, mean, std)) if top < mpmath.inf else 0)


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


@pytest.mark.parametrize("mean, std", POINTS)
def test_values_are_the_integrals(mean, std):
    at = torch.tensor([mean], dtype=torch.float64), torch.tensor([std], dtype=torch.float64)
    assert cn.relu_mean(*at).item() == pytest.approx(
        float(integral(mean, std, mpmath.inf)), rel=1e-11
    )
    assert cn.relu6_mean(*at).item() == pytest.approx(float(integral(mean, std, 6)), rel=1e-11)


def test_a_constant_variable():
    mean = torch.tensor([-1.0, 0.0, 2.0, 8.0]).double()
    assert cn.relu_mean(mean, torch.zeros(4).double()).tolist() == [0, 0, 2, 8]
    assert cn.relu6_mean(mean, torch.zeros(4).double()).tolist() == [0, 0, 2, 6]
    tiny = torch.full((4,), 1e-300).double()
    assert cn.relu_mean(mean, tiny).tolist() == pytest.approx([0, 0, 2, 8], abs=1e-299)


def test_drawn_numbers_have_this_mean():
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([-1.0, 0.5, 5.0]).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    drawn = mean + std * torch.randn(400_000, 3, generator=generator, dtype=torch.float64)
    for values, expected in (
        (drawn.clamp_min(0), cn.relu_mean(mean, std)),
        (drawn.clamp(0, 6), cn.relu6_mean(mean, std)),
    ):
        room = 5 * values.std(0) / len(values) ** 0.5
        assert ((values.mean(0) - expected).abs() < room).all()
