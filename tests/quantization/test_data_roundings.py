"""Three roundings against their definitions, gradients and guarantees."""

from dataclasses import replace

import pytest
import torch

from qnotes.quantization import data_roundings as module
from qnotes.quantization.data_roundings import DAMPING, adaptive, gpfq, gptq
from qnotes.quantization.scheme import Scheme
from tests.random_roundings import draw

# -- AdaRound: gradients are the derivatives that they claim to be ---------------------------------


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


@pytest.mark.medium
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


# -- GPTQ: against the textbook, one column at a time, with an inverse of its own for each ---------


def textbook(drawn) -> torch.Tensor:
    """Round the first weight that is left; the others move by the solution of the least squares."""
    found = []
    problem = drawn.problem
    for group, reads in enumerate(drawn.reads_quantized):
        moments = reads.T @ reads
        moments += DAMPING * moments.diagonal().mean() * torch.eye(len(moments)).double()
        for row in range(problem.weight.shape[1]):
            weight, levels = problem.weight[group, row].clone(), []
            for column in range(len(weight)):
                scale, low, high = (
                    values[group, row, column]
                    for values in (problem.scale, problem.lowest, problem.highest)
                )
                levels.append(scale * (weight[column] / scale).round().clamp(low, high))
                error = levels[-1] - weight[column]
                # The best change of the others, given the error: M_RR e_R = - M_Rc error.
                rest = slice(column + 1, None)
                pulled = moments[rest, column] * error
                weight[rest] -= torch.linalg.solve(moments[rest, rest], pulled)
            found.append(torch.stack(levels))
    return torch.stack(found).view(problem.weight.shape)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize(
    "scheme",
    [
        Scheme(),
        Scheme(granularity="tensor", symmetric=False),
        Scheme(granularity="group", group_size=4, clip="mse"),
    ],
)
def test_gptq_by_the_textbook(groups, bits, scheme):
    for seed in range(5):
        drawn = draw(seed, groups=groups, bits=bits, scheme=scheme)
        torch.testing.assert_close(gptq(drawn.problem), textbook(drawn), rtol=1e-12, atol=1e-12)


def test_gptq_of_columns_that_depend_on_each_other_or_are_never_read():
    drawn = draw(0, fan_in=8)
    gram = drawn.problem.gram
    gram[:, 1], gram[:, :, 1] = gram[:, 0], gram[:, :, 0]
    gram[:, 1, 1] = gram[:, 0, 0]
    gram[:, 5], gram[:, :, 5] = 0, 0
    levels = gptq(drawn.problem)
    assert levels.isfinite().all()
    assert torch.equal(levels[..., 5], drawn.nearest[..., 5])


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e300])
def test_nothing_vanishes_or_overflows(size):
    drawn = draw(0)
    usual = gptq(drawn.problem)
    drawn.problem.gram.mul_(size / drawn.problem.gram.max())
    torch.testing.assert_close(gptq(drawn.problem), usual if size else drawn.nearest)


# -- GPFQ: against its definition on the data ------------------------------------------------------


def directly(drawn) -> torch.Tensor:
    """Try all levels for each weight; keep the one that ends nearest to the path."""
    found = []
    problem = drawn.problem
    for group, row in torch.cartesian_prod(*map(torch.arange, problem.weight.shape[:2])):
        path = torch.zeros(drawn.reads.shape[1]).double()
        for column, weight in enumerate(problem.weight[group, row]):
            scale, low, high = (
                values[group, row, column]
                for values in (problem.scale, problem.lowest, problem.highest)
            )
            levels = scale * torch.arange(low.item(), high.item() + 1).double()
            path = path + weight * drawn.reads[group, :, column]
            ends = path - levels[:, None] * drawn.reads_quantized[group, :, column]
            best = ends.square().sum(1).argmin()
            found.append(levels[best])
            path = ends[best]
    return torch.stack(found).view(problem.weight.shape)


def test_gpfq_by_its_definition():
    for seed in range(6):
        for bits, groups, scheme in [
            (2, 1, Scheme()),
            (3, 3, Scheme(granularity="tensor", symmetric=False)),
            (4, 1, Scheme(granularity="group", group_size=4)),
        ]:
            drawn = draw(seed, bits=bits, groups=groups, scheme=scheme)
            torch.testing.assert_close(gpfq(drawn.problem), directly(drawn))


def test_gpfq_of_a_column_that_is_never_read():
    drawn = draw(1)
    for moments in (drawn.problem.gram, drawn.problem.drift):
        moments[:, 2], moments[:, :, 2] = 0, 0
    assert torch.equal(gpfq(drawn.problem)[..., 2], drawn.nearest[..., 2])


def test_guarantee_of_a_greedy_step():
    """At most s²/4 Σ ‖X_t‖² where no vertex lies outside the grid; nearest goes far beyond."""
    for seed in range(20):
        drawn = draw(seed, same=True, fan_in=30)
        endless = torch.full_like(drawn.problem.weight, 1e6)
        problem = replace(drawn.problem, lowest=-endless, highest=endless)
        squares = drawn.reads.square().sum(1)[:, None]
        bound = (problem.scale.square() / 4 * squares).sum(2)
        assert (drawn.error(gpfq(problem)) <= bound * (1 + 1e-12)).all()
    steps = torch.full_like(problem.weight, 0.4) * problem.scale
    problem = replace(problem, weight=steps)
    ones = replace(drawn, problem=replace(problem, gram=torch.ones_like(problem.gram)))
    ones = replace(ones, reads=torch.ones(1, 1, 30).double())
    ones = replace(ones, reads_quantized=ones.reads)
    bound = (problem.scale.square() / 4).sum(2)
    assert (ones.error(gpfq(ones.problem)) <= bound).all()
    assert (ones.error(torch.zeros_like(steps)) > 10 * bound).all()
