"""T15: forms enclose what they stand for, and keep what cancels."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.propagation import affine, certifying, intervals
from qnotes.propagation.affine import Budget, Form, added, layer
from qnotes.propagation.euclidean import Euclidean
from qnotes.propagation.intervals import Interval, Signed
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.regions import checked_region
from qnotes.propagation.walk import propagate
from tests.random_networks import ARCHITECTURES, drawn

DOUBLE = {"dtype": torch.float64}


def form(symbols: int, *shape: int, seed: int = 0) -> Form:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(symbols + 2, *shape, generator=generator, **DOUBLE)
    radius = numbers[1:2].abs()
    return Form(numbers[:1], numbers[2:], radius, torch.arange(symbols))


def dense(inputs: int, units: int, *, bits: int) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers and three outputs, with random weights, and its rounded copy."""
    torch.manual_seed(0)
    sizes = ((inputs, units), (units, units), (units, 3))
    layers = [module for size in sizes for module in (nn.Linear(*size), nn.ReLU())]
    folded = qn.fold(nn.Sequential(*layers[:-1]).eval())
    return folded, qn.quantize(folded, bits=bits).model


def points(value: Form, count: int = 200) -> torch.Tensor:
    """Corners of a form, some of each kind."""
    generator = torch.Generator().manual_seed(1)
    signs = torch.rand(count, len(value.symbols), generator=generator, **DOUBLE).sub(0.5).sign()
    own = torch.rand(count, *value.center.shape[1:], generator=generator, **DOUBLE).sub(0.5).sign()
    return value.center + torch.tensordot(signs, value.generators, 1) + own * value.radius


def test_an_interval_holds_the_corners():
    value = form(3, 4)
    assert (points(value) >= value.interval.low).all()
    assert (points(value) <= value.interval.high).all()
    assert (value.interval.high - value.center - value.reach).abs().max() < 1e-12


def test_what_comes_of_one_symbol_cancels():
    value = form(3, 4)._replace(radius=torch.zeros(1, 4, **DOUBLE))
    opposite = value._replace(center=-value.center, generators=-value.generators)
    nothing = added(value, opposite)
    assert nothing.reach.max() == 0
    assert 0 < nothing.slip < 1e-13  # what the additions may have lost


def test_a_sum_knows_symbols_of_both():
    one = form(2, 4)
    other = form(2, 4, seed=1)._replace(symbols=torch.tensor([1, 5]))
    total = added(one, other)
    assert total.symbols.tolist() == [0, 1, 5]
    assert torch.equal(total.generators[1], one.generators[1] + other.generators[0])


def test_a_slip_grows_with_the_spectral_norm():
    module = nn.Linear(4, 4).double()
    value = form(2, 4)._replace(slip=1e-3)
    after = layer(module, module.weight.detach(), 7.0, value)
    assert after.slip == pytest.approx(7e-3, rel=1e-9)
    assert after.interval.high.sub(after.center + after.reach).min() >= 7e-3 * (1 - 1e-12)


@pytest.mark.parametrize("most", [0, 1, 3, 10])
def test_whatever_gets_no_symbol_is_kept_in_the_interval(most):
    value, half = form(3, 4), torch.tensor([[0.5, 0.0, 2.0, 1e-20]], **DOUBLE)
    budget = Budget(most, used=3)
    wider = budget.with_symbols(value, half)
    assert len(wider.symbols) == min(most, 5)  # 1e-20 gets none
    assert budget.kept == (most >= 5)
    assert wider.slip >= 1e-20
    far = value.reach + half.masked_fill(half < 1e-12, 0.0)
    assert (wider.reach >= far).all()
    assert torch.allclose(wider.reach, far, rtol=1e-12)


@pytest.mark.parametrize("slope", [None, 0.0, 1e-9, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("cap", [math.inf, 6.0])
def test_the_line_and_the_rest_hold_the_activation(cap, slope):
    least = 5e-324  # half of it is 0 in float64, so fractions are compared
    ends = [-9.0, -7.0, -1.0, -1e-300, -least, 0.0, least, 1e-3, 2.0, 6.0, 8.0, 2.0**55 + 8]
    low, high = torch.tensor([(a, b) for a in ends for b in ends if a <= b], **DOUBLE).unbind(1)
    values = Interval(low, high)
    chord = affine._chord(values, cap)
    slope, rest = affine._beside(chord if slope is None else chord * 0 + slope, values, cap)
    for share in torch.linspace(0, 1, 11, **DOUBLE):
        x = (low + share * (high - low)).clamp(low, high)
        known = zip(x, x.clamp(0, cap), slope, rest.low, rest.high, strict=True)
        for value, after, line, below, above in (map(Fraction, map(float, one)) for one in known):
            assert below <= after - line * value <= above
    straight = (low >= 0) & (high <= cap) & (slope == 1)
    assert (rest.high - rest.low)[straight].abs().sum() == 0


def test_without_ends_the_rest_is_all_that_an_activation_can_give():
    values = Interval(*torch.tensor([[-math.inf], [math.inf]], **DOUBLE))
    slope, rest = affine._beside(affine._chord(values, 6.0), values, 6.0)
    assert slope.item() == 0
    assert (rest.low.item(), rest.high.item()) == (0, 6)


@pytest.mark.parametrize("cap", [math.inf, 6.0])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 20.0])
def test_whatever_the_slope_what_is_beside_it_holds_the_change(cap, scale):
    torch.manual_seed(0)
    middle, reach = 8 * torch.randn(2, 4000, **DOUBLE), torch.rand(2, 4000, **DOUBLE)
    ours = torch.randn(50, 4000, **DOUBLE) * reach[0] + middle[0]
    theirs = ours + scale * (torch.randn(50, 4000, **DOUBLE) * reach[1] + middle[1] / 8)
    error = ours - theirs
    before = Signed(*(Interval(v.amin(0), v.amax(0)) for v in (ours, theirs, error)))
    moved = ours.clamp(0, cap) - theirs.clamp(0, cap)
    after = Interval(moved.amin(0), moved.amax(0))
    change = affine._Change.of(before, after, cap)
    narrowest = change.beside(change.best)
    for share in (0.0, 1e-12, 0.2, 0.5, 0.7, 1 - 2**-53, 1.0):
        rest = change.beside(torch.full_like(middle[0], share))
        left = moved - share * error
        lost = 4e-16 * (moved.abs() + error.abs())  # by these two lines
        assert (left >= rest.low - lost).all() and (left <= rest.high + lost).all()
        if share in (0, 0.5, 1):
            assert ((narrowest.high - narrowest.low) <= (rest.high - rest.low)).all()
    assert torch.equal(change.beside(torch.ones_like(middle[0])).low, change.rising.low)


def test_a_gradient_goes_through_ends_that_are_rounded():
    ends = torch.tensor([-1.0, 0.0, 2.0, math.inf], **DOUBLE, requires_grad=True)
    rounded = intervals.outward(-ends, ends)
    assert (rounded.low < -ends)[:3].all() and (rounded.high > ends)[:3].all()
    assert (rounded.low[3], rounded.high[3]) == (-math.inf, math.inf)
    rounded.high[:3].sum().backward()
    assert ends.grad.tolist() == pytest.approx([1, 1, 1, 0], rel=1e-15)


def test_better_slopes_make_the_bound_smaller(monkeypatch, ticking):
    folded, quantized = dense(40, 30, bits=6)
    options = {"center": torch.rand(1, 40), "radius": 0.1, "method": "affine"}
    plain = qn.certify(folded, quantized, **options, seconds=0)
    moved = qn.certify(folded, quantized, **options, seconds=3)
    assert moved.largest < plain.largest - 0.005
    assert (moved.log10 <= plain.log10).all()
    inputs = options["center"].double() + 0.1 * (2 * torch.rand(5000, 40, **DOUBLE) - 1).sign()
    assert qn.output_errors(folded, quantized, inputs).max() <= moved.bound.max()
    inside = qn.certify(folded, quantized, **options | {"radius": 1e-9}, seconds=60)
    assert inside.seconds < 30  # no unit bends: nothing to be found
    monkeypatch.setattr(certifying, "SLOPE_BYTES", 10**9)  # no room for steps
    again = qn.certify(folded, quantized, **options, seconds=3)
    assert again.largest == plain.largest


def known(network: nn.Module, other: nn.Module, center: torch.Tensor, radius: float) -> Signed:
    """What T15 knows of S, S' and Δ at the output, as it comes."""
    region = checked_region(None, radius, center, None)
    pair = checked_pair(network, other, input_shape=tuple(center.shape), radius=1.0)
    norms = Euclidean(pair, region).norms
    return propagate(pair.operations, affine.Affine(pair, region, Budget(4096), norms)).signed


def test_what_is_known_of_the_difference_does_not_run_away():
    """It is never worse than what is known of both networks apart.

    With S = S' + Δ known by the difference alone each layer made it larger by decades here.
    """
    torch.manual_seed(0)
    layers = [module for _ in range(12) for module in (nn.Linear(24, 24), nn.ReLU())]
    with torch.no_grad():
        for layer in layers[::2]:
            layer.weight.mul_(4)
    folded = qn.fold(nn.Sequential(*layers[:-1]).eval())
    quantized = qn.quantize(folded, bits=8).model
    center = torch.rand(1, 24, **DOUBLE)
    for radius in (0.01, 0.1):
        found = known(folded, quantized, center, radius)
        ours, theirs = (known(net, net, center, radius).ours for net in (folded, quantized))
        assert (found.error.size <= 1.01 * ours.minus(theirs).size).all()
        assert (found.ours.high - found.ours.low <= 1.01 * (ours.high - ours.low)).all()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_more_symbols_are_never_worse(kind, monkeypatch):
    network, changed, shape, radius = drawn(kind, 0, "certify ")
    center = torch.zeros(1, *shape[1:], **DOUBLE)
    options = {"center": center, "radius": 0.1 * radius, "method": "affine"}
    many = qn.certify(network, changed, **options, seconds=5).largest
    monkeypatch.setattr(certifying, "SYMBOLS", 1)
    monkeypatch.setattr(certifying, "NUMBERS", 1)
    assert many <= qn.certify(network, changed, **options, seconds=0).largest + 1e-9


def test_a_small_network_has_all_the_symbols_it_wants_at_once(monkeypatch):
    folded, quantized = dense(784, 60, bits=8)
    options = {"center": torch.rand(1, 784), "radius": 0.02, "method": "affine"}
    monkeypatch.setattr(certifying, "SLOPE_BYTES", 10**9)  # symbols alone
    found = [qn.certify(folded, quantized, **options, seconds=s).largest for s in (0, 60)]
    assert found[0] == found[1]
    monkeypatch.setattr(certifying, "NUMBERS", 1)  # 256 symbols for 784 pixels
    assert found[0] < qn.certify(folded, quantized, **options, seconds=0).largest - 0.1


@pytest.mark.medium
def test_a_trained_network_around_an_image():
    """Intervals alone drown in rounding there: they say thirty times the error."""
    folded = qn.fold(qn.load("resnet20"))
    quantized = qn.quantize(folded, bits=8).model
    images = qn.digits("test")[0][:1].double()
    options = {"center": images, "radius": 0, "seconds": 0}
    found = {m: qn.certify(folded, quantized, method=m, **options) for m in ("affine", "intervals")}
    with torch.no_grad():
        error = (folded(images) - quantized(images)).abs().max().item()
    assert error <= found["affine"].bound.max() <= 2 * error
    assert found["intervals"].bound.max() > 20 * error
