"""T10 against exact rationals: at numbers from 5e-324 to 1e300, at ties, zeros and caps."""

import random
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from qnotes.propagation.intervals import Interval, Intervals, Signed

#: Sizes of values and of weights.
SIZES = (1.0, 1.0, 1e-160, 1e-310, 1e100), (1.0, 1.0, 1e30, 1e-30, 1e-150)


class Twins:
    """Two networks of dense layers, intervals of what they make, and exact values in them."""

    def __init__(self, seed: int) -> None:
        self.rng, self.domain = random.Random(seed), Intervals(None, None)
        self.size, self.weights = map(self.rng.choice, SIZES)
        self.width = self.rng.choice((1, 2, 5, 30))
        center = self.numbers(self.size, self.width)
        reach = self.numbers(self.size * self.rng.choice((0, 1e-12, 1e-3, 1)), self.width).abs()
        ends = Interval((center - reach)[None], (center + reach)[None])
        nothing = torch.zeros_like(ends.low)
        self.signed = Signed(ends, ends, Interval(nothing, nothing))
        points = [self.point(ends) for _ in range(6)]
        self.points = [(point, point) for point in points]

    def numbers(self, size: float, *shape: int) -> torch.Tensor:
        def number() -> float:
            kind, sign = self.rng.random(), self.rng.choice((-1, 1))
            if kind < 0.25:
                return self.rng.choice((0.0, sign * size, sign * 5e-324))
            return sign * self.rng.random() * size * self.rng.choice((1, 1, 1e-3, 1e-9))

        count = torch.Size(shape).numel()
        return torch.tensor([number() for _ in range(count)], dtype=torch.float64).view(shape)

    def point(self, ends: Interval) -> list[Fraction]:
        lows, highs = ([Fraction(end) for end in side[0].tolist()] for side in ends)
        shares = [Fraction(self.rng.choice((0, 1, self.rng.random()))) for _ in lows]
        return [a + (b - a) * t for a, b, t in zip(lows, highs, shares, strict=True)]

    def layer(self, width: int) -> None:
        modules = [nn.Linear(self.width, width, dtype=torch.float64) for _ in range(2)]
        gap = self.rng.choice((0, 1e-15, 1e-3, 1))
        sizes = {"weight": self.weights, "bias": self.size * self.weights}
        with torch.no_grad():
            for name, size in sizes.items():
                ours, theirs = (getattr(module, name) for module in modules)
                ours.copy_(self.numbers(size, *ours.shape))
                theirs.copy_(ours + self.numbers(size * gap, *ours.shape))
        operation = SimpleNamespace(name="layer", module=modules[0], quantized=modules[1])
        self.signed = self.domain.affine(operation, self.signed)
        self.points = [
            tuple(_image(module, values) for module, values in zip(modules, pair, strict=True))
            for pair in self.points
        ]
        self.width = width

    def join(self, other: tuple[Signed, list]) -> None:
        self.signed = self.domain.sum(None, self.signed, other[0])
        self.points = [
            tuple([a + b for a, b in zip(*both, strict=True)] for both in zip(*pairs, strict=True))
            for pairs in zip(self.points, other[1], strict=True)
        ]

    def activate(self) -> None:
        module = self.rng.choice((nn.ReLU(), nn.ReLU6()))
        self.signed = self.domain.activation(SimpleNamespace(module=module), self.signed)
        cap = Fraction(6) if isinstance(module, nn.ReLU6) else Fraction(10) ** 999
        self.points = [
            tuple([min(max(x, Fraction(0)), cap) for x in values] for values in pair)
            for pair in self.points
        ]

    def check(self) -> None:
        for ours, theirs in self.points:
            error = [a - b for a, b in zip(ours, theirs, strict=True)]
            for values, ends in zip((ours, theirs, error), self.signed, strict=True):
                for value, low, high in zip(values, *(e[0].tolist() for e in ends), strict=True):
                    assert Fraction(low) <= value <= Fraction(high)


def _image(module: nn.Linear, values: list[Fraction]) -> list[Fraction]:
    rows = zip(module.weight.tolist(), module.bias.tolist(), strict=True)
    return [
        sum((Fraction(w) * x for w, x in zip(row, values, strict=True)), Fraction(bias))
        for row, bias in rows
    ]


@pytest.mark.parametrize("seed", range(8))
def test_exact_values_lie_in_the_intervals(seed):
    for number in range(25):
        twins = Twins(1000 * seed + number)
        for _ in range(twins.rng.choice((1, 2, 3))):
            width = twins.width if twins.rng.random() < 0.7 else twins.rng.choice((1, 3))
            before = twins.signed, twins.points
            twins.layer(width)
            twins.check()
            if len(before[1][0][0]) == width:
                twins.join(before)
                twins.check()
            twins.activate()
            twins.check()


def ends(low: float, high: float) -> Interval:
    return Interval(*torch.tensor([[[low]], [[high]]], dtype=torch.float64))


def behind(weights: tuple[float, float], read: Signed) -> Signed:
    """Behind a layer of one unit without a bias, in both networks."""
    layers = [nn.Linear(1, 1, bias=False, dtype=torch.float64) for _ in weights]
    for layer, weight in zip(layers, weights, strict=True):
        nn.init.constant_(layer.weight, weight)
    operation = SimpleNamespace(name="layer", module=layers[0], quantized=layers[1])
    return Intervals(None, None).affine(operation, read)


def test_what_overflows_may_be_anything():
    signed = behind((1e200, 1.0), Signed(*[ends(1e200, 2e200)] * 3))
    assert signed.error.low.item() == signed.ours.low.item() == -torch.inf
    assert signed.error.high.item() == signed.ours.high.item() == torch.inf
    assert 0.999e200 < signed.theirs.low.item() <= 1e200 < signed.theirs.high.item() < 2.001e200


@pytest.mark.parametrize("low, high", [(1.0, 1.0), (0.85, 1.15)])
def test_a_difference_that_overflows_may_be_anything_and_the_values_stay(low, high):
    """S and S' have numbers in float64, and S - S' has none."""
    signed = behind((1.5e308, -1.6e308), Signed(ends(low, high), ends(low, high), ends(0, 0)))
    for value, found in zip((1.5e308, -1.6e308), signed, strict=False):
        assert found.low.item() <= value * low <= found.high.item()
        assert found.low.item() <= value * high <= found.high.item()
    assert signed.error.low.item() <= 1.79e308 and signed.error.high.item() == torch.inf


def test_an_interval_wider_than_the_largest_number_has_a_center():
    signed = behind((1e-300, 1.1e-300), Signed(*[ends(-1e308, 1e308)] * 2, ends(0, 0)))
    assert 1e7 <= signed.error.size.item() < 1.001e7


def test_relu6_of_two_values_near_the_cap():
    """S in [5, 7], S' in [6.5, 8]: σ(S') is 6, so Δ, in [-3, 0.5] before, is in [-1, 0]."""
    read = Signed(ends(5, 7), ends(6.5, 8), ends(-3, 0.5))
    found = Intervals(None, None).activation(SimpleNamespace(module=nn.ReLU6()), read)
    assert found.error.low.item() == pytest.approx(-1, rel=1e-15)
    assert found.error.high.item() == pytest.approx(0, abs=1e-15)
    assert found.theirs.low.item() == found.theirs.high.item() == 6


def test_relu6_where_float64_says_that_6_minus_a_small_number_is_6():
    small, large, exact = ends(1e-17, 1e-17), ends(20, 20), Fraction(6) - Fraction(1e-17)
    positive = Signed(large, small, ends(19, 20))
    negative = Signed(small, large, ends(-20, -19))
    for read, error in ((positive, exact), (negative, -exact)):
        found = Intervals(None, None).activation(SimpleNamespace(module=nn.ReLU6()), read).error
        assert Fraction(found.low.item()) <= error <= Fraction(found.high.item())
