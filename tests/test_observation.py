"""The worst input found: between sampling and every bound, and right where it is known."""

import math
import random

import pytest
import torch
from torch import nn

import qnotes as qn
from tests.random_networks import (
    ARCHITECTURES,
    assert_bounded,
    bound_values,
    change_weights,
    draw_weights,
)


def pair(family: str, seed: int):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network, shape = ARCHITECTURES[family](rng, True)
    folded = qn.fold(network.eval())
    draw_weights(rng, folded)
    return folded, change_weights(rng, folded), shape


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("seed", range(8))
def test_between_sampling_and_the_bounds(family, seed):
    network, changed, shape = pair(family, seed)
    radius = (0.3, 1.0, 2.5)[seed % 3]
    seen = qn.observe(network, changed, input_shape=shape, radius=radius, samples=16, steps=8)
    assert seen.sampled <= seen.error
    assert list(seen.history) == sorted(seen.history)
    assert (seen.history[0], seen.history[-1]) == (seen.sampled, seen.error)
    profile = qn.profile(network, changed, input_shape=shape, radius=radius)
    assert_bounded(seen.error, bound_values(profile))


def test_the_input_found_has_the_error_reported():
    network, changed, shape = pair("convolutional", 2)
    seen = qn.observe(network, changed, input_shape=shape, radius=0.5, samples=8, steps=5)
    assert seen.input.shape == shape
    assert seen.input.abs().max() <= 0.5
    again = qn.output_errors(network, changed, seen.input).item()
    assert again == pytest.approx(seen.error, rel=1e-12)


def test_seeds_give_the_same_answer_again():
    network, changed, shape = pair("residual", 1)
    first, again, other = (
        qn.observe(network, changed, input_shape=shape, samples=8, steps=5, seed=seed)
        for seed in (4, 4, 5)
    )
    assert first.history == again.history and torch.equal(first.input, again.input)
    assert first.sampled != other.sampled


def test_it_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    network, changed = nn.Sequential(nn.Linear(2, 1)), nn.Sequential(nn.Linear(2, 1))
    torch.manual_seed(0)
    qn.observe(network.eval(), changed.eval(), input_shape=(1, 2), samples=4, steps=2)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("radius", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("depth", [1, 3])
def test_linear_networks_worst_input_is_reached(radius, depth):
    """The error is |(A - B) x|, largest at the corner of the signs of one row."""
    torch.manual_seed(0)
    layers = [nn.Linear(12, 12, bias=False) for _ in range(depth)]
    network = qn.fold(nn.Sequential(*layers).eval())
    changed = qn.quantize(network, bits=3).model
    eye = torch.eye(12, dtype=torch.float64)
    worst = radius * (network(eye) - changed(eye)).abs().sum(0).max().item()
    seen = qn.observe(network, changed, input_shape=(1, 12), radius=radius)
    assert seen.error == pytest.approx(worst, rel=1e-9)


def test_ascent_finds_more_than_sampling():
    network, changed, shape = pair("convolutional", 5)
    seen = qn.observe(network, changed, input_shape=shape, samples=4)
    assert seen.error > 1.02 * seen.sampled


@pytest.mark.parametrize("seed", range(5))
def test_float32_rounding_is_not_counted(seed):
    """At 16 bits the error of one layer is close to its bound, and float32 noise is larger."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 8, bias=False)).eval()
    changed = qn.quantize(network, bits=16).model
    seen = qn.observe(network, changed, input_shape=(1, 64))
    profile = qn.profile(network, changed, input_shape=(1, 64))
    assert math.log10(seen.error) <= bound_values(profile)["T2"] + 1e-9


def test_networks_that_overwrite_their_input():
    network = qn.fold(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)).eval())
    changed = qn.quantize(network, bits=3).model
    inputs = -torch.ones(3, 2, dtype=torch.float64)
    kept = inputs.clone()
    qn.output_errors(network, changed, inputs)
    qn.accuracy(network, inputs, torch.zeros(3, dtype=torch.long))
    assert torch.equal(inputs, kept)
    seen = qn.observe(network, changed, input_shape=(1, 2), samples=4, steps=3)
    assert qn.output_errors(network, changed, seen.input).item() == seen.error


@pytest.mark.parametrize("radius", [0, -1, float("nan"), float("inf")])
def test_radius(radius):
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    with pytest.raises(qn.QnotesError, match="radius must be a positive finite number; got"):
        qn.observe(network, network, input_shape=(1, 2), radius=radius)


def test_random_inputs():
    inputs = qn.random_inputs((1, 2, 3), count=10, radius=2.0, seed=1)
    assert inputs.shape == (10, 2, 3) and inputs.dtype == torch.float64
    assert inputs[:5].abs().max() < 2 and (inputs[5:].abs() == 2).all()
    assert torch.equal(inputs, qn.random_inputs((7, 2, 3), count=10, radius=2.0, seed=1))
    assert not torch.equal(inputs, qn.random_inputs((1, 2, 3), count=10, radius=2.0, seed=2))


def test_accuracy():
    network = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False)).eval()
    network[1].weight.data.copy_(torch.eye(2))
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert qn.accuracy(network, inputs, torch.tensor([0, 1, 1, 1])) == 0.75


def test_output_errors_in_batches():
    network, changed, shape = pair("dense", 3)
    inputs = qn.random_inputs(shape, count=150)
    together = qn.output_errors(network, changed, inputs)
    alone = [qn.output_errors(network, changed, x[None]).item() for x in inputs]
    assert together.tolist() == pytest.approx(alone, rel=1e-9)
