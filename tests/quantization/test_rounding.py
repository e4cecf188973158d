"""Rounding without data: directions, and that stochastic rounding has no bias."""

import math

import pytest
import torch
from torch import nn

import qnotes as qn
from tests.quantization.layers import normal, stored

GRIDS = [{}, {"symmetric": False}, {"convention": "full"}, {"granularity": "tensor"}]
FUNCTIONS = {"floor": torch.floor, "ceil": torch.ceil, "zero": torch.trunc, "nearest": torch.round}


@pytest.mark.parametrize("rounding", FUNCTIONS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_direction(rounding, grid, dtype):
    weight = normal(5, 60, dtype=dtype)
    layer = stored(weight, bits=4, rounding=rounding, **grid)
    scale = layer.scale.view(-1, 1)
    steps = FUNCTIONS[rounding](weight * (1 / scale)) + layer.zero_point.view(-1, 1)
    assert torch.equal(layer.codes.to(dtype), steps.clamp(layer.qmin, layer.qmax))
    most = 0.5 if rounding == "nearest" else 1.0
    inside = (steps >= layer.qmin) & (steps <= layer.qmax)
    assert ((weight - layer.weight).abs() <= most * scale * (1 + 1e-5))[inside].all()


def test_directions_by_sign():
    weight = torch.tensor([[7.0, -7.0, 2.3, -2.3, 0.9, -0.9]], dtype=torch.float64)
    found = {r: stored(weight, bits=4, rounding=r).codes[0, 2:].tolist() for r in FUNCTIONS}
    assert found == {
        "floor": [2, -3, 0, -1],
        "ceil": [3, -2, 1, 0],
        "zero": [2, -2, 0, 0],
        "nearest": [2, -2, 1, -1],
    }


def test_stochastic_rounding_is_unbiased():
    """The mean over many seeds and rows lies in a confidence interval of five standard errors.

    By Hoeffding's inequality a mean of n values in an interval of one step leaves five standard
    errors of 1/(2√n) with a probability below 2 exp(-2 · 2.5²), and the seeds are fixed.
    """
    weight = torch.tensor([[1.0, -1.0, 0.33, -0.71, 0.05, 0.5]], dtype=torch.float64)
    seeds, rows = 50, 40  # rows of one seed are drawn one after the other
    many = weight.expand(rows, -1)
    found = [stored(many, bits=3, rounding="stochastic", seed=s).weight for s in range(seeds)]
    found = torch.cat(found)
    mean, scale = found.mean(0), 1 / 3
    assert ((mean - weight).abs() <= scale * 2.5 / math.sqrt(seeds * rows)).all()
    # Both neighbours occur, and no other level.
    codes = (found / scale).round()
    for column in (2, 3, 4, 5):
        below = math.floor(weight[0, column] / scale)
        assert set(codes[:, column].tolist()) == {below, below + 1}
    assert set(codes[:, 0].tolist()) == {3.0}


def test_stochastic_rounding_has_a_generator_of_its_own():
    network = nn.Sequential(nn.Linear(30, 4)).eval()
    state = torch.random.get_rng_state()
    codes = [
        qn.quantize(network, bits=4, rounding="stochastic", seed=seed).layers["0"].codes
        for seed in (5, 5, 6)
    ]
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(codes[0], codes[1]) and not torch.equal(codes[0], codes[2])
