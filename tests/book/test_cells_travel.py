"""Errors layer by layer: T1 holds on random networks, and T2 bounds what is measured."""

import math
import random

import pytest
import torch
from torch import nn

import qnotes as qn
from tests.book.cells import definitions
from tests.random_networks import Net, basic_block, convolutional, dense, projection_block

BITS = 4
cells = definitions("travel", "layer_errors", "recursion")
layer_errors, recursion = cells.layer_errors, cells.recursion


def blocks(rng: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    parts = [basic_block(rng, 2, True), projection_block(rng, 2, True), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(27, 2)), (1, 2, 6, 6)


def pair(build, seed: int):
    torch.manual_seed(seed)
    rng = random.Random(seed)
    network, shape = build(rng, True) if build is not blocks else build(rng)
    network = network.double().eval()
    return network, qn.quantize(network, bits=BITS).model, shape


def below(values, bound) -> bool:
    """No value exceeds its bound by more than rounding."""
    return bool((values <= bound * (1 + 1e-9) + 1e-13).all())


@pytest.mark.parametrize("build", [dense, convolutional, blocks])
@pytest.mark.parametrize("seed", range(5))
def test_sides_of_the_decomposition_agree_and_the_recursion_bounds_them(build, seed):
    network, quantized, shape = pair(build, seed)
    inputs = qn.random_inputs(shape, count=8, seed=seed)
    seen = layer_errors(network, quantized, inputs, precision=torch.float64)
    bound = recursion(qn.profile(network, quantized, input_shape=shape))
    assert len(seen) == len(bound)
    assert seen["residue"].max() < 1e-12 * seen["activation"].max()
    assert below(seen["activation"], bound["s"])
    assert below(seen["error"], bound["e"])
    assert (seen["carried"] <= seen["carried_sizes"] * (1 + 1e-12) + 1e-15).iloc[1:].all()
    assert (seen["made"] <= seen["made_sizes"] * (1 + 1e-12) + 1e-15).iloc[1:].all()


def test_last_error_is_the_error_of_the_output():
    network, quantized, shape = pair(convolutional, 1)
    inputs = qn.random_inputs(shape, count=70)  # more than a batch
    seen = layer_errors(network, quantized, inputs, precision=torch.float64)
    outputs = qn.output_errors(network, quantized, inputs).max().item()
    assert seen["error"].iloc[-1] == pytest.approx(outputs, rel=1e-12)


def test_numbers_of_a_small_network_by_hand():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    quantized = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    for net, weights in ((network, (2.0, -3.0)), (quantized, (2.5, -2.5))):
        for layer, weight in zip((net[0], net[2]), weights, strict=True):
            nn.init.constant_(layer.weight, weight)
        net.eval()
    seen = layer_errors(network, quantized, torch.ones(1, 1))
    assert list(seen["activation"]) == [1, 2.5, 6.25]
    assert list(seen["error"]) == [0, 0.5, 0.25]  # -6 and -6.25
    assert list(seen["carried"])[1:] == [0, 1.5]  # -3 (2 - 2.5)
    assert list(seen["made"])[1:] == [0.5, 1.25]  # (-3 + 2.5) 2.5


def test_carried_coordinates_count_where_they_pass():
    def forward(net, x):
        return net.last(torch.relu(net.first(x))) + x

    layers = {"first": nn.Linear(1, 1, bias=False), "last": nn.Linear(1, 1, bias=False)}
    network = Net(forward, **layers).eval()
    nn.init.constant_(network.first.weight, 0.1)
    nn.init.constant_(network.last.weight, 0.1)
    seen = layer_errors(network, network, 4 * torch.ones(1, 1))
    assert list(seen["activation"]) == pytest.approx([4, 4, 4.04])  # x passes the first layer by
    assert list(seen["name"]) == ["input", "first", "last"]


def test_networks_are_not_changed():
    network, quantized, shape = pair(dense, 3)
    before = [weight.clone() for weight in network.parameters()]
    layer_errors(network, quantized, qn.random_inputs(shape, count=2))
    for old, new in zip(before, network.parameters(), strict=True):
        assert old.dtype == new.dtype
        assert torch.equal(old, new)


# -- the recursion ---------------------------------------------------------------------------------


def test_last_bound_is_the_theorem():
    network, quantized, shape = pair(convolutional, 2)
    profile = qn.profile(network, quantized, input_shape=shape)
    theorem = {entry.key: entry for entry in qn.theorems()}["T2"]
    last = recursion(profile)["e"].iloc[-1]
    assert math.log10(last) == pytest.approx(theorem.evaluate(profile))


def test_measured_numbers_take_the_place_of_bounds():
    network, quantized, shape = pair(dense, 4)
    inputs = qn.random_inputs(shape, count=8)
    profile = qn.profile(network, quantized, input_shape=shape)
    seen = layer_errors(network, quantized, inputs, precision=torch.float64)
    plain = recursion(profile)["e"]
    one = recursion(profile, activations=seen["activation"])["e"]
    both = recursion(profile, activations=seen["activation"], errors=seen["error"])["e"]
    assert plain[0] == 0
    assert below(seen["error"], both)
    assert (both <= one * (1 + 1e-9)).all()
    assert (one <= plain * (1 + 1e-9)).all()


def test_biases_that_the_reference_does_not_have():
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    network = network.double().eval()
    inputs = qn.random_inputs((1, 2), count=8)
    corrected = qn.correct_bias(network, qn.quantize(network, bits=2).model, inputs=inputs).model
    seen = layer_errors(network, corrected, inputs, precision=torch.float64)
    bound = recursion(qn.profile(network, corrected, input_shape=(1, 2)))
    assert seen["residue"].max() < 1e-12
    assert below(seen["error"], bound["e"])
