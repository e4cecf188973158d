"""Profiles, bounds and searches against exact rational arithmetic: no hole in the rounding.

The networks join several layers, where biases and weights cancel, are denormal, or span forty
decades. Exact values come from Python's fractions and share no line with the package.
"""

import copy
import itertools
import math
import random
from fractions import Fraction

import mpmath
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.observation.domain import make_domain
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.norms import relu6_bounds

KINDS = {
    "plain": lambda rng: rng.uniform(-1, 1),
    "wide": lambda rng: rng.uniform(-1, 1) * 10.0 ** rng.randint(-20, 20),
    "denormal": lambda rng: rng.uniform(-1, 1) * 2.0 ** rng.randint(-1074, -1055),
    "cancelling": lambda rng: rng.choice([1e16, -1e16, 1.0, 0.0, 1e-16, 2.0**-1060]),
    "like quantized biases": lambda rng: rng.randint(-127, 127) * 0.0123,
}
CHANGES = (0.0, 1e-3, 1.0, 2.0**-1074, 1e-17)
ROWS = 2


class Join(nn.Module):
    """A sum of linear layers of the same input."""

    def __init__(self, rng: random.Random, draw) -> None:
        super().__init__()
        fan_in = rng.randint(1, 5)
        self.layers = nn.ModuleList(nn.Linear(fan_in, ROWS) for _ in range(rng.randint(1, 4)))
        self.double().eval()
        for number in _numbers(self):
            number.fill_(draw(rng))

    def forward(self, x):
        total = self.layers[0](x)
        for layer in self.layers[1:]:
            total = total + layer(x)
        return total


def _numbers(network: nn.Module):
    for parameter in network.parameters():
        yield from parameter.data.view(-1)


def pair(kind: str, seed: int) -> tuple[Join, Join]:
    rng = random.Random(f"{kind} {seed}")
    network = Join(rng, KINDS[kind])
    other = copy.deepcopy(network)
    for number in _numbers(other):
        if rng.random() < 0.7:
            number.add_(rng.choice(CHANGES) * rng.choice([-1, 1]))
    return network, other


def exact(values) -> list[Fraction]:
    return [Fraction(value) for value in values]


def row(network: Join, which: int) -> tuple[list[list[Fraction]], list[Fraction]]:
    """Weights of each layer, and biases."""
    weights = [exact(layer.weight[which].tolist()) for layer in network.layers]
    return weights, exact([layer.bias[which].item() for layer in network.layers])


def exact_numbers(network: Join, other: Join) -> dict[str, Fraction]:
    found = dict.fromkeys(("norm", "joint_norm", "gap_norm", "bias_norm", "bias_gap"), Fraction(0))

    def raise_to(key: str, value: Fraction) -> None:
        found[key] = max(found[key], value)

    for which in range(ROWS):
        rows = [row(net, which) for net in (network, other)]
        for weights, biases in rows:
            norm, bias = sum(abs(w) for layer in weights for w in layer), abs(sum(biases))
            raise_to("norm", norm)
            raise_to("joint_norm", norm + bias)
            raise_to("bias_norm", bias)
        (ours, mine), (theirs, its) = rows
        pairs = [
            two for layers in zip(ours, theirs, strict=True) for two in zip(*layers, strict=True)
        ]
        raise_to("gap_norm", sum(abs(w - v) for w, v in pairs))
        raise_to("bias_gap", abs(sum(mine) - sum(its)))
    return found


def exact_error(network: Join, other: Join, domain) -> Fraction:
    """The largest error on a box, at one of its corners, since the difference is affine."""
    largest = Fraction(0)
    for corner in itertools.product(*(exact(ends) for ends in domain)):
        for which in range(ROWS):
            outputs = []
            for weights, biases in (row(net, which) for net in (network, other)):
                products = (w * x for layer in weights for w, x in zip(layer, corner, strict=True))
                outputs.append(sum(products, sum(biases)))
            largest = max(largest, abs(outputs[0] - outputs[1]))
    return largest


def log10(value: Fraction) -> mpmath.mpf:
    with mpmath.workprec(400):
        return mpmath.log10(mpmath.mpf(value.numerator) / value.denominator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(25))
def test_upper_bounds_of_joins_are_not_below(kind, seed):
    network, other = pair(kind, seed)
    shape = (1, network.layers[0].in_features)
    profile = qn.profile(network, other, input_shape=shape)
    (layer,) = profile.layers
    for key, value in exact_numbers(network, other).items():
        assert Fraction(getattr(layer, key)) >= value, key
    error = exact_error(network, other, [(-1.0, 1.0)] * shape[1])
    if not error:
        return
    for bound in qn.bounds(profile).itertuples():
        assert math.isnan(bound.log10) or log10(error) <= bound.log10, bound.theorem
    assert log10(error) <= max(vector_bound(network, other, input_shape=shape))
    assert error <= Fraction(relu6_bounds(network, other, input_shape=shape)["e"].iloc[-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_an_observed_error_is_there(kind, seed):
    network, other = pair(kind, seed)
    shape = (1, network.layers[0].in_features)
    seen = qn.observe(network, other, input_shape=shape, samples=4, starts=2, steps=3, rounds=1)
    error = exact_error(network, other, [(-1.0, 1.0)] * shape[1])
    assert Fraction(seen.error) <= error
    if kind == "plain":  # and no rounding away of what is there
        assert seen.error >= 0.999 * float(error)


@pytest.mark.parametrize("seed", range(20))
def test_the_lower_bound_is_not_above_the_smallest_upper_bound(seed):
    torch.manual_seed(seed)
    network = qn.fold(nn.Sequential(nn.Linear(4, 3)).eval())
    other = qn.quantize(network, bits=16).model
    seen = qn.observe(network, other, input_shape=(1, 4), samples=8, steps=4)
    assert seen.proven and seen.rounding <= 1e-3 * seen.error
    bounds = qn.bounds(qn.profile(network, other, input_shape=(1, 4)))
    assert mpmath.log10(mpmath.mpf(seen.error)) <= bounds["log10"].min()


@pytest.mark.parametrize("seed", range(10))
def test_balls_do_not_reach_further_than_their_radius(seed):
    torch.manual_seed(seed)
    center = 3 * torch.randn(1, 200, dtype=torch.float64)
    radius = float(torch.rand(1, dtype=torch.float64)) * 10.0 ** -(seed % 9)
    ball = make_domain(None, radius, center, None)
    for low, middle, high in zip(
        *(exact(t[0].tolist()) for t in (ball.low, center, ball.high)), strict=True
    ):
        assert middle - low <= Fraction(radius) and high - middle <= Fraction(radius)
    boxed = make_domain(None, 1.0, 0 * center, (-0.1, 0.1))
    assert boxed.high.max().item() == 0.1 and boxed.low.min().item() == -0.1


def test_caps_of_relu6_where_a_pool_mixes_channels():
    """On an image without a batch dimension of its own, a pool takes channels for positions."""
    network = nn.Sequential(nn.Conv1d(1, 4, 1), nn.ReLU6(), nn.MaxPool2d(2)).double().eval()
    network[0].weight.data[:, 0, 0] = torch.tensor([1.0, 0.0, 0.0, 4.0])
    network[0].bias.data.zero_()
    other = copy.deepcopy(network)
    other[0].weight.data[3] = 2.0
    x = torch.ones(1, 1, 4, dtype=torch.float64)
    error = qn.output_errors(network, other, x).item()
    call = {"input_shape": (1, 1, 4)}
    assert error == 2
    assert relu6_bounds(network, other, **call)["e"].iloc[-1] >= error
    assert max(vector_bound(network, other, clip_relu6=True, **call)) >= math.log10(error)


def test_bounds_below_the_least_float():
    network = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(3))).double().eval()
    for layer in network:
        layer.weight.data.fill_(1e-120)
    other = copy.deepcopy(network)
    other[0].weight.data.fill_(2e-120)
    table = relu6_bounds(network, other, input_shape=(1, 1))
    assert table["e"].iloc[-1] > 0  # the error is 1e-360
