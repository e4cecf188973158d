"""GPTQ against the textbook: one column at a time, with an inverse of its own for each."""

import pytest
import torch

from qnotes.quantization.gptq import DAMPING, gptq
from qnotes.quantization.scheme import Scheme
from tests.random_roundings import draw


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
def test_textbook(groups, bits, scheme):
    for seed in range(5):
        drawn = draw(seed, groups=groups, bits=bits, scheme=scheme)
        torch.testing.assert_close(gptq(drawn.problem), textbook(drawn), rtol=1e-12, atol=1e-12)


def test_columns_that_depend_on_each_other_or_are_never_read():
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
