"""Bounds with the caps of ReLU6: true on hard inputs, never above T2, and exact on small nets."""

import math
import random

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.propagation.norms import relu6_bounds
from tests.random_networks import Residual, convolutional, dense, projection_block
from tests.sizes import read_sizes

CAPS = [(False, False), (True, False), (False, True), (True, True)]


def with_relu6(module: nn.Module) -> nn.Module:
    """The same network with ReLU6 for every ReLU, and weights so large that it saturates."""
    for name, child in module.named_children():
        setattr(module, name, nn.ReLU6() if isinstance(child, nn.ReLU) else with_relu6(child))
    for parameter in module.parameters(recurse=False):
        parameter.data *= 4
    return module


def inverted(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 6, 1),
        nn.ReLU6(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.ReLU6(),
        nn.Conv2d(6, channels, 1),
    )


def mobile(rng: random.Random, bias: bool) -> tuple[nn.Module, tuple[int, ...]]:
    skips = [Residual(inverted(2), nn.Identity(), nn.Identity()) for _ in range(2)]
    joined = [projection_block(rng, 2, bias), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*skips, *joined, nn.Linear(3, 2)), (1, 2, 6, 6)


def pair(build, seed: int, bits: int = 3):
    torch.manual_seed(seed)
    network, shape = build(random.Random(seed), True)
    network = with_relu6(network).double().eval()
    return network, qn.quantize(network, bits=bits).model, shape


def log10(table, column: str = "e") -> float:
    value = table[column].iloc[-1]
    return math.log10(value) if value else -math.inf


@pytest.mark.parametrize("build", [dense, convolutional, mobile])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("caps", CAPS)
def test_nothing_that_is_measured_exceeds_it(build, seed, caps):
    network, quantized, shape = pair(build, seed)
    inputs = qn.random_inputs(shape, count=16, radius=3.0, seed=seed)
    seen = read_sizes(network, quantized, inputs)
    options = dict(zip(("cap_activations", "cap_errors"), caps, strict=True))
    bound = relu6_bounds(network, quantized, input_shape=shape, radius=3.0, **options)
    assert list(seen["name"]) == list(bound["name"])
    for column in ("s", "e"):
        assert (seen[column] <= bound[column] * (1 + 1e-12) + 1e-12).all()


@pytest.mark.parametrize("build", [dense, convolutional, mobile])
@pytest.mark.parametrize("seed", range(3))
def test_each_cap_helps_or_changes_nothing_and_none_is_above_the_recursion(build, seed):
    network, quantized, shape = pair(build, seed)
    values = {
        caps: log10(
            relu6_bounds(
                network, quantized, input_shape=shape, cap_activations=caps[0], cap_errors=caps[1]
            )
        )
        for caps in CAPS
    }
    ladder = qn.bounds(qn.profile(network, quantized, input_shape=shape)).set_index("theorem")
    assert values[False, False] <= ladder.loc["T2", "log10"] + 1e-12
    assert values[True, True] <= min(values[True, False], values[False, True])
    assert max(values[True, False], values[False, True]) <= values[False, False]


def test_without_relu6_and_skips_it_is_the_recursion():
    """Where each layer has one row: the recursion takes three maxima over rows, not one."""
    layers = [nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)]
    network = nn.Sequential(*layers).double().eval()
    for seed, parameter in enumerate(network.parameters()):
        parameter.data.fill_(seed - 2.5)
    quantized = qn.quantize(network, bits=3).model
    for number, weight in ((0, 2.0), (2, -1.0), (4, 0.25)):
        quantized.get_submodule(str(number)).weight.data.fill_(weight)
    found = relu6_bounds(network, quantized, input_shape=(1, 1))
    ladder = qn.bounds(qn.profile(network, quantized, input_shape=(1, 1))).set_index("theorem")
    assert log10(found) == pytest.approx(ladder.loc["T2", "log10"], abs=1e-12)


def one_by_one(*weights: float) -> nn.Sequential:
    """One number through layers without biases, with ReLU6 between them."""
    network = nn.Sequential()
    for number, weight in enumerate(weights):
        if number:
            network.append(nn.ReLU6())
        linear = nn.Linear(1, 1, bias=False)
        linear.weight = nn.Parameter(torch.tensor([[weight]], dtype=torch.float64))
        network.append(linear)
    return network.double().eval()


@pytest.mark.parametrize(
    ("caps", "s", "e"),
    [
        ((False, False), [1, 10, 30, 60], [0, 9, 3 * 9 + 2 * 10, 2 * 47 + 1 * 30]),
        ((True, False), [1, 6, 6, 12], [0, 9, 3 * 9 + 2 * 6, 2 * 39 + 1 * 6]),
        ((True, True), [1, 6, 6, 12], [0, 6, 6, 2 * 6 + 1 * 6]),
    ],
)
def test_by_hand(caps, s, e):
    options = dict(zip(("cap_activations", "cap_errors"), caps, strict=True))
    found = relu6_bounds(
        one_by_one(10.0, 3.0, 2.0), one_by_one(1.0, 1.0, 1.0), input_shape=(1, 1), **options
    )
    assert found["s"].tolist() == pytest.approx(s, rel=1e-12)
    assert found["e"].tolist() == pytest.approx(e, rel=1e-12)


def test_both_caps_are_reached():
    """A pair for which s = 6 and e = 6 are the truth: one network saturates, the other is 0."""
    ours, theirs = one_by_one(10.0, 1.0), one_by_one(-10.0, 1.0)
    seen = read_sizes(ours, theirs, torch.ones(1, 1))
    found = relu6_bounds(ours, theirs, input_shape=(1, 1))
    assert seen["e"].tolist() == [0.0, 6.0, 6.0]
    assert found["e"].tolist() == pytest.approx([0.0, 6.0, 6.0], rel=1e-12)


def test_a_skip_connection_is_not_capped():
    """The skip carries 100 past the ReLU6 of the body, and an error of 50."""

    def network(first: float) -> nn.Sequential:
        body = nn.Sequential(*one_by_one(1.0, 1.0))
        start = one_by_one(first)[0]
        return nn.Sequential(start, Residual(body, nn.Identity(), nn.Identity())).double().eval()

    ours, theirs = network(100.0), network(50.0)
    seen = read_sizes(ours, theirs, torch.ones(1, 1))
    found = relu6_bounds(ours, theirs, input_shape=(1, 1))
    assert seen["e"].iloc[-1] == 50.0
    assert found["s"].iloc[-1] == pytest.approx(106.0, rel=1e-12)
    assert found["e"].iloc[-1] == pytest.approx(56.0, rel=1e-12)


def test_projection_joins_row_by_row():
    """Rows 1 and 9 with rows 9 and 1 add up to 10 and not to 18."""
    body, skip = nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False)
    body.weight = nn.Parameter(torch.tensor([[1.0], [9.0]]))
    skip.weight = nn.Parameter(torch.tensor([[9.0], [1.0]]))
    network = Residual(body, skip, nn.Identity()).double().eval()
    found = relu6_bounds(network, network, input_shape=(1, 1))
    assert found["s"].iloc[-1] == pytest.approx(10.0, rel=1e-12)
    assert found["e"].iloc[-1] == 0.0


@pytest.mark.parametrize("radius", [0, -1.0, math.inf, "1"])
def test_radius_is_checked(radius):
    network = one_by_one(1.0)
    with pytest.raises(qn.QnotesError, match="radius must be a positive finite number"):
        relu6_bounds(network, network, input_shape=(1, 1), radius=radius)


def test_networks_must_match():
    with pytest.raises(qn.QnotesError, match="does not match"):
        relu6_bounds(one_by_one(1.0), one_by_one(1.0, 1.0), input_shape=(1, 1))


def test_refuses_what_float64_cannot_hold():
    network = one_by_one(1e200, 1e200, 1e200)
    options = {"input_shape": (1, 1), "cap_activations": False}
    with pytest.raises(qn.QnotesError, match="4: a bound is too large"):
        relu6_bounds(network, network, **options)


def test_networks_are_left_alone():
    network, quantized, shape = pair(mobile, 0)
    before = [p.clone() for net in (network, quantized) for p in net.parameters()]
    relu6_bounds(network, quantized, input_shape=shape)
    read_sizes(network, quantized, torch.ones(2, *shape[1:]))
    after = [p for net in (network, quantized) for p in net.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
