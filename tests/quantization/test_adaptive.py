"""AdaRound: to the level below or above, by gradients that are the derivatives they claim to be."""

import pytest
import torch

from qnotes.quantization import adaptive as module
from qnotes.quantization.adaptive import adaptive
from qnotes.quantization.scheme import Scheme
from tests.random_roundings import draw


@pytest.mark.parametrize("clip", ["minmax", "mse"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_each_weight_goes_to_a_level_beside_it(clip, symmetric):
    drawn = draw(0, fan_in=20, scheme=Scheme(clip=clip, symmetric=symmetric))
    problem = drawn.problem
    steps = problem.weight / problem.scale
    choices = [
        side.clamp(problem.lowest, problem.highest) for side in (steps.floor(), steps.ceil())
    ]
    taken = (adaptive(problem) / problem.scale).round()
    up, down = taken == choices[1], taken == choices[0]
    assert (up | down).all() and up.any() and down.any()
    assert not torch.equal(taken, (drawn.nearest / problem.scale).round())


def test_a_weight_on_a_level_stays():
    drawn = draw(0)
    drawn.problem.weight.copy_(2 * drawn.problem.scale)
    assert torch.equal(adaptive(drawn.problem), drawn.problem.weight)


def test_better_than_nearest_on_average():
    drawn = [draw(seed, fan_in=20, rows=8) for seed in range(3)]
    ratios = [d.error(adaptive(d.problem)).sum() / d.error(d.nearest).sum() for d in drawn]
    assert torch.stack(ratios).mean() < 0.6


def test_slopes_are_derivatives():
    variable = torch.linspace(-4, 4, 41, dtype=torch.float64, requires_grad=True)
    share, slope = module._share(variable)
    (expected,) = torch.autograd.grad(share.sum(), variable)
    torch.testing.assert_close(slope, expected)
    share = torch.linspace(0.01, 0.99, 20, dtype=torch.float64, requires_grad=True)
    for power in (2.0, 7.3, 20.0):
        value = module.REGULARIZATION * (2 * share - 1).abs() ** power
        (expected,) = torch.autograd.grad(value.sum(), share)
        torch.testing.assert_close(module._regularizer_slope(share, power), expected)


def test_power_falls_from_first_to_last():
    powers = [
        module._power(step) for step in range(int(module.WARM_UP * module.STEPS), module.STEPS)
    ]
    assert powers[0] == module.FIRST_POWER
    assert powers == sorted(powers, reverse=True)
    assert module._power(module.STEPS) == module.LAST_POWER


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_units_do_not_matter(size):
    drawn, other = draw(0), draw(0)
    other.problem.gram.mul_(size)
    other.problem.drift.mul_(size)
    assert torch.equal(adaptive(drawn.problem), adaptive(other.problem))
