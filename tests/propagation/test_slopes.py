"""T17: slopes, gates, concatenations and rearrangements, between errors and what one layer less."""

import copy
import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import qnotes as qn
from qnotes.networks import activations
from qnotes.networks.activations import SLOPES, Slope
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.norms import graph_bound
from tests.random_networks import (
    Net,
    bound_values,
    change_weights,
    draw_weights,
    hard_inputs,
    largest_error,
)

pytestmark = pytest.mark.medium

SLACK = 1e-9
SHAPE = (1, 2, 4, 4)
ACTIVATIONS = {
    kind.__name__: (lambda kind=kind: kind()) for kind in SLOPES if kind is not nn.Hardtanh
} | {
    "LeakyReLU 2": lambda: nn.LeakyReLU(2.0),
    "PReLU per channel": lambda: nn.PReLU(4, 1.7),
    "ELU 3": lambda: nn.ELU(3.0),
    "Hardtanh 1 2": lambda: nn.Hardtanh(1.0, 2.0),
    "GELU tanh": lambda: nn.GELU("tanh"),
}


def conv(channels: int, out: int, kernel: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, **options)


def all_bounds(network, changed, shape, radius) -> dict[str, float]:
    """log10 of every bound that exists for this network."""
    domain = {"input_shape": shape, "radius": radius}
    found = {
        "T8": vector_bound(network, changed, **domain).max(),
        "T8 clipped": vector_bound(network, changed, **domain, clip_relu6=True).max(),
        "graph": graph_bound(network, changed, **domain).max(),
        "T10": qn.certify(network, changed, method="intervals", **domain).largest,
    }
    try:
        found |= bound_values(qn.profile(network, changed, **domain))
    except qn.UnsupportedOperation as error:
        assert "no layer of a chain" in str(error)
    return found


def assert_bounded(network: nn.Module, shape, *, seed: int, chain: bool = True) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network = network.double().eval()
    draw_weights(rng, network)
    changed = change_layers(rng, network)
    for radius in (0.1, 1.0, 3.0):
        found = all_bounds(network, changed, shape, radius)
        assert ("T2" in found) == chain
        error = largest_error(network, changed, hard_inputs(shape, radius, seed))
        violated = {k: v for k, v in found.items() if error and v < math.log10(error) - SLACK}
        assert not violated, (math.log10(error), violated)
        assert found["T8"] <= found["graph"] + SLACK
        assert not found["graph"] > found.get("T2", math.inf) + SLACK


def change_layers(rng, network: nn.Module) -> nn.Module:
    """Other weights, but the slopes of a PReLU are no weights of a layer."""
    changed = change_weights(rng, network)
    modules = dict(changed.named_modules())
    for name, module in network.named_modules():
        if isinstance(module, nn.PReLU):
            modules[name].weight = copy.deepcopy(module.weight)
    return changed


# -- slopes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_networks_with_slopes(name, seed):
    make = ACTIVATIONS[name]
    network = nn.Sequential(
        *(conv(2, 4, 3), make(), conv(4, 4), nn.AvgPool2d(2), make()),
        *(nn.Flatten(), nn.Linear(16, 2)),
    )
    assert_bounded(network, SHAPE, seed=seed)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_after_the_input_and_beside_a_skip(name):
    make = ACTIVATIONS[name] if "channel" not in name else lambda: nn.PReLU(1, 1.7)
    network = Net(
        lambda s, x: s.c(s.two(s.b(s.one(x)) + x)) + s.b(x),
        b=conv(2, 2, 3),
        c=conv(2, 2),
        one=make(),
        two=make(),
    )
    for seed in range(4):
        assert_bounded(network, SHAPE, seed=seed)


def around(module: nn.Module, at: float):
    """A layer before an activation whose argument stays near a number, and one that is moved."""
    network = nn.Sequential(nn.Linear(1, 1), module).double().eval()
    network[0].weight.data.fill_(1e-3)
    network[0].bias.data.fill_(at)
    moved = copy.deepcopy(network)
    moved[0].bias.data.add_(1e-4)
    return network, moved


STEEPEST = {
    nn.SiLU: 2.3994,
    nn.GELU: math.sqrt(2),
    nn.Hardswish: 2.99,
    nn.Sigmoid: 0.0,
    nn.Hardsigmoid: 0.0,
    nn.Tanh: 0.0,
}


@pytest.mark.parametrize("kind", STEEPEST)
def test_a_slope_is_reached(kind):
    """Errors come as close to T2 and T8 as they can; with a slope less they would be above."""
    network, moved = around(kind(), STEEPEST[kind])
    error = math.log10(largest_error(network, moved, hard_inputs((1, 1), 1.0)))
    found = all_bounds(network, moved, (1, 1), 1.0)
    # The error is a difference of numbers near 1, which rounding moves by 1e-11 of it.
    assert error - 1e-10 <= min(found["T2"], found["T8"]) <= error + 0.005


@pytest.mark.parametrize("kind", [nn.SiLU, nn.GELU, nn.Hardswish])
def test_with_the_slope_1_bounds_are_violated(kind, monkeypatch):
    network, moved = around(kind(), STEEPEST[kind])
    error = math.log10(largest_error(network, moved, hard_inputs((1, 1), 1.0)))
    monkeypatch.setitem(activations.SLOPES, kind, lambda module: Slope())
    found = all_bounds(network, moved, (1, 1), 1.0)
    assert found["T2"] < error - 0.01 and found["T8"] < error - 0.01


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Hardsigmoid])
def test_what_zero_becomes_counts(kind, monkeypatch):
    """σ(0) = 1/2 reaches the next layer although nothing else does."""
    network = nn.Sequential(nn.Linear(1, 1), kind(), nn.Linear(1, 1)).double().eval()
    for parameter in network.parameters():
        parameter.data.zero_()
    moved = copy.deepcopy(network)
    moved[2].weight.data.fill_(0.2)
    assert largest_error(network, moved, hard_inputs((1, 1), 1.0)) == pytest.approx(0.1)
    found = all_bounds(network, moved, (1, 1), 1.0)
    assert found["T2"] == pytest.approx(-1) and found["T8"] == pytest.approx(-1)
    honest = SLOPES[kind](kind())
    monkeypatch.setitem(
        activations.SLOPES, kind, lambda module: Slope(honest.slope, honest.growth, 0.0, 1.0, 1.0)
    )
    assert all_bounds(network, moved, (1, 1), 1.0)["T2"] < -2


def test_a_profile_has_the_numbers_of_the_scaled_layer():
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    steep = nn.Sequential(plain[0], nn.LeakyReLU(2.0), plain[2]).eval()
    offset = nn.Sequential(plain[0], nn.Hardtanh(1.0, 3.0), plain[2]).eval()
    profiles = [
        qn.profile(n, qn.quantize(n, bits=4, bias_bits=4).model, input_shape=(1, 3))
        for n in (plain, steep, offset)
    ]
    one, two, three = (profile.layers[0] for profile in profiles)
    assert (one.slope, two.slope, three.slope) == (1, 2, 1)
    for name in ("norm", "joint_norm", "gap", "gap_norm", "bias_norm", "bias_gap", "peak"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name), rel=1e-12)
        added = name in ("joint_norm", "bias_norm", "peak")
        assert getattr(three, name) == pytest.approx(getattr(one, name) + added, rel=1e-12)
    assert profiles[0].layers[1] == profiles[1].layers[1]
    assert qn.Profile.from_json(profiles[1].to_json()) == profiles[1]


def test_prelu_with_other_slopes_is_another_network():
    network = nn.Sequential(nn.Linear(2, 2), nn.PReLU()).eval()
    other = copy.deepcopy(network)
    other[1].weight.data.fill_(0.5)
    with pytest.raises(qn.QnotesError, match="1: the slopes of PReLU differ"):
        qn.profile(network, other, input_shape=(1, 2))


# -- gates -----------------------------------------------------------------------------------------


class Gated(nn.Module):
    """Squeeze and excitation: each channel times a number that the whole image decides."""

    def __init__(self, gate: nn.Module, *, swapped: bool = False) -> None:
        super().__init__()
        self.first, self.squeeze, self.excite = conv(2, 4, 3), conv(4, 2), conv(2, 4)
        self.relu, self.gate, self.last = nn.ReLU(), gate, conv(4, 2)
        self.swapped = swapped

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        g = self.gate(self.excite(self.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.last(g * x if self.swapped else x * g)


@pytest.mark.parametrize("gate", [nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.ReLU6, nn.Hardtanh])
def test_gates(gate):
    for seed in range(8):
        assert_bounded(Gated(gate(), swapped=seed % 2 == 0), SHAPE, seed=seed, chain=False)


def test_both_parts_of_a_gate_count():
    """Only the values move, or only the gate does: each error alone is reached by its term."""
    network = Net(lambda s, x: s.a(x) * torch.sigmoid(s.b(x)), a=conv(1, 1), b=conv(1, 1))
    network = network.double().eval()
    for parameter in network.parameters():
        parameter.data.zero_()
    network.a.bias.data.fill_(3.0)
    network.b.bias.data.fill_(40.0)  # a gate that is 1
    values, gate = copy.deepcopy(network), copy.deepcopy(network)
    values.a.bias.data.fill_(3.5)
    gate.b.bias.data.zero_()
    for moved, expected in ((values, 0.5), (gate, 1.5)):
        error = largest_error(network, moved, hard_inputs((1, 1, 1, 1), 1.0))
        assert error == pytest.approx(expected)
        bound = vector_bound(network, moved, input_shape=(1, 1, 1, 1)).max()
        assert math.log10(error) <= bound <= math.log10(error) + 0.31


def test_a_gate_that_overwrites_is_seen():
    def forward(s, x):
        y = s.a(x)
        z = y
        z *= torch.sigmoid(s.b(y))
        return z + y

    with pytest.raises(qn.UnsupportedOperation, match="overwritten"):
        vector_bound(*[Net(forward, a=conv(2, 2), b=conv(2, 2)).eval()] * 2, input_shape=SHAPE)


# -- concatenations, pieces, shuffles, means -------------------------------------------------------


def shuffled(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(batch, -1, height, width)


def dense_block(s, x):
    features = [s.a(x)]
    for layer in (s.b, s.c):
        features.append(layer(torch.relu(torch.cat(features, 1))))
    return s.d(torch.cat(features, 1).mean((2, 3), keepdim=True))


def shuffle_block(s, x):
    x = torch.relu(s.a(x))
    kept, worked = x.chunk(2, dim=1)
    return s.d(shuffled(torch.cat((kept, torch.relu(s.b(worked)), x[:, 1:3]), 1), 2))


BRANCHED = {
    "dense block": Net(dense_block, a=conv(2, 2), b=conv(2, 3, 3), c=conv(5, 2), d=conv(7, 2)),
    "shuffle": Net(shuffle_block, a=conv(2, 4, 3), b=conv(2, 2), d=conv(6, 2)),
    "inception": Net(
        lambda s, x: s.d(
            F.max_pool2d(torch.cat([s.a(x), torch.relu(s.b(F.gelu(s.c(x)))), x], 1), 2)
        ),
        a=conv(2, 2),
        b=conv(3, 2, 3),
        c=conv(2, 3),
        d=conv(6, 2),
    ),
    "cat of one": Net(lambda s, x: s.b(torch.cat([s.a(x)] * 2, 1)), a=conv(2, 2), b=conv(4, 2)),
    "mean of a vector": Net(
        lambda s, x: s.b(torch.tanh(s.a(x)).mean([2, 3])), a=conv(2, 3), b=nn.Linear(3, 2)
    ),
    "sum of cats": Net(
        lambda s, x: s.d(torch.cat([s.a(x), x], 1) + torch.cat([x, s.b(x)], 1)),
        a=conv(2, 2),
        b=conv(2, 2),
        d=conv(4, 2),
    ),
    "channels last": Net(
        lambda s, x: s.b(s.a(x).permute(0, 2, 3, 1)), a=conv(2, 3), b=nn.Conv2d(4, 2, 1)
    ),
}


@pytest.mark.parametrize("name", BRANCHED)
def test_branches(name):
    for seed in range(12):
        assert_bounded(copy.deepcopy(BRANCHED[name]), SHAPE, seed=seed)


def test_layers_side_by_side_are_one():
    network = BRANCHED["inception"].eval()
    profile = qn.profile(network, network, input_shape=SHAPE)
    assert [layer.name for layer in profile.layers] == ["c, a", "b", "d"]
    assert profile.layers[2].reads == 6 * 4 and profile.layers[2].fan_in == 6
    assert profile.layers[0].width == 3 * 16 + 2 * 4 + 2 * 4  # c, and a and x for later, pooled
    c, a = (network.get_submodule(n).weight.abs().flatten(1).sum(1).max().item() for n in "ca")
    assert profile.layers[0].norm == pytest.approx(max(activations.GELU * c, a, 1.0))
    assert profile.layers[0].slope == activations.GELU


def test_a_shuffle_keeps_channels_apart():
    """Channel by channel, as if the network had named its channels in this order."""
    torch.manual_seed(0)
    order = [0, 3, 1, 4, 2, 5]
    network = Net(lambda s, x: s.b(shuffled(s.a(x), 2)), a=conv(2, 6), b=conv(6, 2)).double().eval()
    plain = nn.Sequential(conv(2, 6), conv(6, 2)).double().eval()
    plain.load_state_dict(
        {
            "0.weight": network.a.weight[order],
            "0.bias": network.a.bias[order],
            "1.weight": network.b.weight,
            "1.bias": network.b.bias,
        }
    )
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    assert torch.allclose(network(x), plain(x))
    bounds = [
        vector_bound(n, qn.quantize(n, bits=4).model, input_shape=SHAPE) for n in (network, plain)
    ]
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-12)


def test_a_concatenation_is_a_maximum():
    """Two copies of a branch, of which each output reads one, have the bound of one."""
    torch.manual_seed(1)
    alone = nn.Sequential(conv(2, 3, 3), nn.ReLU(), conv(3, 2)).double().eval()
    double = Net(
        lambda s, x: torch.cat([s.b(torch.relu(s.a(x)))] * 2, 1), a=alone[0], b=alone[2]
    ).eval()
    values = [
        bound_values(qn.profile(n, qn.quantize(n, bits=4).model, input_shape=SHAPE))
        for n in (alone, double)
    ]
    assert values[0] == pytest.approx(values[1], nan_ok=True)
