"""The slopes of the table: never too small, by intervals where they are no plain numbers."""

import itertools
import math

import pytest
import torch
from mpmath import iv
from torch import nn

from qnotes.networks.activations import GATES, GELU, GELU_TANH, SILU, SLOPES, Slope, slope_of

VARIANTS = [
    *(nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.GELU("tanh")),
    *(nn.Sigmoid(), nn.Hardsigmoid(), nn.Tanh()),
    *(nn.LeakyReLU(), nn.LeakyReLU(3.0), nn.LeakyReLU(-2.0)),
    *(nn.PReLU(), nn.PReLU(1, -1.5)),
    *(nn.ELU(), nn.ELU(2.5), nn.ELU(0.3), nn.ELU(-2.0)),
    *(nn.Hardtanh(), nn.Hardtanh(-3.0, 0.5), nn.Hardtanh(1.0, 2.0), nn.Hardtanh(-2.0, -1.0)),
]
#: Differences of values that are off by a rounding error each.
ROUNDING = 1e-14


def test_all_types_are_tried():
    assert {type(module) for module in VARIANTS} == set(SLOPES)


@pytest.mark.parametrize("module", VARIANTS, ids=str)
@torch.no_grad()
def test_no_slope_is_exceeded_and_each_is_reached(module):
    module = module.double()
    known = slope_of(module)
    x = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    y, zero = module(x), module(torch.zeros(1, dtype=torch.float64)).item()
    steps = y.diff().abs() / x.diff()
    assert known.slope * (1 - 1e-4) <= steps.max() <= known.slope + 1e-9
    assert abs(abs(zero) - known.offset) <= ROUNDING
    growth = ((y - zero).abs() / x.abs())[x.abs() > 1e-6]  # nearer, rounding is all there is
    assert growth.max() <= known.growth + 1e-9 and known.growth <= known.slope
    for many in (x, 1e6 * x):
        y = module(many)
        assert y.abs().max() <= known.ceiling and y.max() - y.min() <= known.span
        assert known.ceiling == math.inf or y.abs().max() >= 0.99 * known.ceiling
        assert (known.ceiling == math.inf) == (known.span == math.inf)


@pytest.mark.parametrize("module", VARIANTS, ids=str)
@torch.no_grad()
def test_far_apart_pairs(module):
    module, known = module.double(), slope_of(module)
    torch.manual_seed(0)
    x, y = 20 * torch.randn(2, 10_000, dtype=torch.float64)
    apart = (module(x) - module(y)).abs()
    assert (apart <= known.slope * (x - y).abs() * (1 + ROUNDING) + ROUNDING).all()


def test_gates_are_bounded():
    assert all(slope_of(gate()).ceiling == 1 for gate in GATES)
    assert Slope().plain and not Slope(offset=0.5).plain and not Slope(slope=1.1).plain


# -- proofs by interval arithmetic -----------------------------------------------------------------
#
# A derivative d is monotone where its own derivative, which has the sign of h, has no zero. Cells
# of [-END, END] are halved until h has one sign on each, or they are tiny; so the largest |d| is at
# an end or in a tiny cell. Beyond END an explicit bound that falls there is below the slope.

END, TINY = 12, 2.0**-44


def logistic(x):
    return 1 / (1 + iv.exp(-x))


def tanh(x):
    return 2 * logistic(2 * x) - 1


def silu(x):
    """d = s + x s (1 - s); d' = s (1 - s) (2 - x tanh(x/2))."""
    s = logistic(x)
    return s + x * s * (1 - s), 2 - x * tanh(x / 2)


def normal(x):
    return iv.exp(-x * x / 2) / iv.sqrt(2 * iv.pi)


def distribution(x):
    """Φ, from its series around 0, with alternating terms that fall from some place on."""
    total, term, k = x, x, 0
    while k < 400:
        k += 1
        term = -term * x * x / (2 * k)
        total += term / (2 * k + 1)
    last = abs(term) / 801
    rest = iv.mpf([-last.b, last.b])
    return iv.mpf(1) / 2 + (total + rest) / iv.sqrt(2 * iv.pi)


def gelu_tanh(x):
    """d and the sign of d' for u = c (x + a x³), c = √(2/π), a = 0.044715, t = tanh u."""
    a, c = iv.mpf("0.044715"), iv.sqrt(2 / iv.pi)
    t = tanh(c * (x + a * x**3))
    first, second = c * (1 + 3 * a * x * x), 6 * a * c * x
    d = (1 + t) / 2 + x / 2 * (1 - t * t) * first
    return d, first + x * second / 2 - x * t * first * first


def steepest(pair, end: float) -> float:
    """An upper bound of |d| on [-end, end]."""
    waiting, largest = [(-end, 0.0), (0.0, end)], 0.0
    while waiting:
        low, high = waiting.pop()
        d, h = pair(iv.mpf([low, high]))
        if 0 in h and high - low > TINY:
            middle = (low + high) / 2
            waiting += [(low, middle), (middle, high)]
            continue
        cells = [d] if 0 in h else [pair(iv.mpf(at))[0] for at in (low, high)]
        largest = max(largest, *(float(abs(cell).b) for cell in cells))
    return largest


@pytest.mark.medium
@pytest.mark.parametrize(
    ("pair", "slope", "tail"),
    [
        (silu, SILU, lambda x: 1 + x * iv.exp(-x)),
        (gelu_tanh, GELU_TANH, lambda x: 1 + 2 * x * (1 + x * x) * iv.exp(-1.5 * x)),
    ],
)
def test_slopes_by_intervals(pair, slope, tail):
    iv.prec = 90
    found = steepest(pair, END)
    assert found <= slope * (1 + 1e-15) and slope - found < 1e-9
    # |d| is at most this for |x| ≥ END, where it falls.
    assert float(tail(iv.mpf(END)).b) < slope
    # A slope that is smaller by what it was rounded up is refuted.
    d, _ = max(
        (pair(iv.mpf(x / 10_000)) for x in range(10_000, 30_000, 3)), key=lambda both: both[0].a
    )
    assert d.a > slope - 1e-6


def test_gelu_at_the_root_of_two():
    """d' = φ(x) (2 - x²): largest at √2, where d = Φ(√2) + √2 φ(√2); d(-x) = 1 - d(x)."""
    iv.prec = 200
    root = iv.sqrt(iv.mpf(2))
    exact = distribution(root) + root * normal(root)
    assert float(exact.b) <= GELU and GELU - float(exact.a) < 1e-9
    assert all(abs(one) <= GELU for one in (0, 1, 1 - GELU))  # limits, and the other end


def test_logistic_slopes():
    """s' = s (1 - s) ≤ 1/4 and tanh' = 1 - tanh² ≤ 1, at 0; the twelve others are piecewise."""
    for numerator, denominator in itertools.product(range(11), [10]):
        s = numerator / denominator
        assert s * (1 - s) <= slope_of(nn.Sigmoid()).slope
    assert slope_of(nn.Hardsigmoid()).slope >= 1 / 6 and slope_of(nn.Tanh()).slope == 1
