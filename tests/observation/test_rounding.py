"""Rounding inward: how far values of float64 are from exact ones, for each kind of operation."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.networks.activations import PLAIN, SLOPES
from qnotes.networks.operations import SLOPED_ACTIVATION, operations
from qnotes.networks.tracing import trace
from qnotes.observation.rounding import _Rounding
from qnotes.propagation.walk import propagate
from tests.random_networks import Net


def logistic(x):
    return 1 / (1 + mpmath.exp(-x))


def clamp(x, low, high):
    return min(max(x, low), high)


def gelu_tanh(x, module):
    inner = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)
    return x / 2 * (1 + mpmath.tanh(inner))


#: What each activation is, in exact arithmetic.
EXACT = {
    nn.LeakyReLU: lambda x, m: x if x > 0 else mpmath.mpf(m.negative_slope) * x,
    nn.PReLU: lambda x, m: x if x > 0 else mpmath.mpf(m.weight.item()) * x,
    nn.ELU: lambda x, m: x if x > 0 else mpmath.mpf(m.alpha) * mpmath.expm1(x),
    nn.Hardtanh: lambda x, m: clamp(x, mpmath.mpf(m.min_val), mpmath.mpf(m.max_val)),
    nn.Hardswish: lambda x, m: x * clamp(x + 3, 0, 6) / 6,
    nn.Hardsigmoid: lambda x, m: clamp(x + 3, 0, 6) / 6,
    nn.SiLU: lambda x, m: x * logistic(x),
    nn.Sigmoid: lambda x, m: logistic(x),
    nn.Tanh: lambda x, m: mpmath.tanh(x),
    nn.GELU: lambda x, m: (
        x * mpmath.ncdf(x) if m.approximate == "none" else gelu_tanh(x, m)
    ),
}
VARIANTS = [
    *(nn.LeakyReLU(), nn.LeakyReLU(-2.0), nn.PReLU(1, 0.3), nn.ELU(), nn.ELU(2.5)),
    *(nn.Hardtanh(), nn.Hardtanh(-3.3, 0.1), nn.Hardswish(), nn.Hardsigmoid(), nn.SiLU()),
    *(nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.GELU("tanh")),
]


def points() -> torch.Tensor:
    """From the least numbers to large ones, dense where activations bend."""
    torch.manual_seed(0)
    sizes = 10.0 ** torch.linspace(-320, 3, 109, dtype=torch.float64)
    return torch.cat([6 * torch.randn(150, dtype=torch.float64), sizes, -sizes])


def enclosed(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values, and how far they may be from the exact ones."""
    return propagate(operations(trace(network.double().eval())), _Rounding(x))


def test_every_sloped_activation_is_tried():
    assert {type(module) for module in VARIANTS} == set(SLOPES) - set(PLAIN) == set(EXACT)


@pytest.mark.parametrize("module", VARIANTS, ids=str)
@torch.no_grad()
def test_activations_are_off_by_no_more_than_their_bound(module):
    x = points().view(1, -1)
    found, off = enclosed(nn.Sequential(module), x)
    exact = EXACT[type(module)]
    with mpmath.workdps(60):
        for number, value, bound in zip(*(t[0].tolist() for t in (x, found, off)), strict=True):
            apart = abs(exact(mpmath.mpf(number), module) - mpmath.mpf(value))
            assert apart <= bound, (number, apart, bound)
    assert (off <= 1e-14 * (x.abs() + found.abs()) + 1e-300).all()  # and says something


@torch.no_grad()
def test_what_is_read_was_off_already():
    """An affine layer before: the exact value of both together."""
    torch.manual_seed(1)
    layer = nn.Linear(1, 1).double()
    x = points()[:150].view(-1, 1)
    weight, bias = layer.weight.item(), layer.bias.item()
    for module in (nn.SiLU(), nn.Hardswish(), nn.LeakyReLU(-3.0)):
        exact = EXACT[type(module)]
        found, off = enclosed(nn.Sequential(layer, module), x)
        with mpmath.workdps(60):
            for number, value, bound in zip(x, found, off, strict=True):
                read = mpmath.mpf(weight) * number.item() + bias
                assert abs(exact(read, module) - mpmath.mpf(value.item())) <= bound.item()


def shallow() -> tuple[nn.Module, nn.Module]:
    """Slopes, a concatenation, a shuffle, a mean, a gate, and a copy with weights moved."""

    def forward(s, x):
        both = torch.cat([nn.functional.leaky_relu(s.a(x)), s.clamp(s.b(x))], 1)
        image = both.view(-1, 2, 4, 2).transpose(1, 2).reshape(-1, 4, 2, 2)
        gate = nn.functional.hardsigmoid(image.mean((2, 3), keepdim=True))
        return s.c((image * gate).mean((2, 3)))

    torch.manual_seed(2)
    parts = {"a": nn.Linear(3, 8), "b": nn.Linear(3, 8), "c": nn.Linear(4, 2)}
    network = Net(forward, clamp=nn.Hardtanh(-0.7, 0.3), **parts).double().eval()
    return network, qn.quantize(qn.fold(network, input_shape=(1, 3)), bits=5).model


def fractions(values: torch.Tensor) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(values.detach().numpy())


def exactly(network: nn.Module, x: torch.Tensor) -> np.ndarray:
    """The same as `shallow`, in rational numbers."""

    def layer(name, x):
        module = network.get_submodule(name)
        return fractions(module.weight) @ x + fractions(module.bias)

    each = np.vectorize(lambda function, x: function(x), otypes=[object])
    leaky = each(lambda t: t if t > 0 else Fraction(0.01) * t, layer("a", fractions(x[0])))
    clamped = each(lambda t: clamp(t, Fraction(-0.7), Fraction(0.3)), layer("b", fractions(x[0])))
    both = np.concatenate([leaky, clamped])
    image = both.reshape(2, 4, 2).transpose(1, 0, 2).reshape(4, 2, 2)
    gate = each(lambda t: clamp(t + 3, 0, 6) / Fraction(6), image.sum((1, 2)) / Fraction(4))
    return layer("c", (image * gate[:, None, None]).sum((1, 2)) / Fraction(4))


def observed(*networks):
    return qn.observe(*networks, input_shape=(1, 3), samples=8, starts=2, steps=3, rounds=1)


def test_an_error_behind_all_kinds_is_there_and_proven():
    network, other = shallow()
    seen = observed(network, other)
    ours, theirs = exactly(network, seen.input), exactly(other, seen.input)
    error = max(abs(ours - theirs))
    assert seen.proven and (1 - Fraction(1, 1000)) * error <= Fraction(seen.error) <= error


@pytest.mark.parametrize(
    "kind", [SLOPED_ACTIVATION, "concatenation", "rearrangement", "mean", "gated"]
)
def test_without_its_rule_nothing_is_proven(kind, monkeypatch):
    monkeypatch.setattr(_Rounding, kind, None)
    assert not observed(*shallow()).proven
