"""GPFQ against its definition on the data, and the guarantee of a greedy step."""

from dataclasses import replace

import torch

from qnotes.quantization.gpfq import gpfq
from qnotes.quantization.scheme import Scheme
from tests.random_roundings import draw


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


def test_definition():
    for seed in range(6):
        for bits, groups, scheme in [
            (2, 1, Scheme()),
            (3, 3, Scheme(granularity="tensor", symmetric=False)),
            (4, 1, Scheme(granularity="group", group_size=4)),
        ]:
            drawn = draw(seed, bits=bits, groups=groups, scheme=scheme)
            torch.testing.assert_close(gpfq(drawn.problem), directly(drawn))


def test_a_column_that_is_never_read():
    drawn = draw(1)
    for moments in (drawn.problem.gram, drawn.problem.drift):
        moments[:, 2], moments[:, :, 2] = 0, 0
    assert torch.equal(gpfq(drawn.problem)[..., 2], drawn.nearest[..., 2])


def test_guarantee():
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
