"""Both networks at one input in rational numbers: equal to float64 where float64 is right."""

import math

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.errors import NotVerified, UnsupportedOperation
from qnotes.propagation import rationals
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.rationals import exact, rational
from qnotes.propagation.regions import checked_region

BODIES = {
    "groups, strides, dilation": (
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), (4, 7, 6)
    ),
    "same": (nn.Conv2d(2, 3, 4, padding="same", bias=False), (2, 5, 6)),
    "valid": (nn.Conv1d(2, 3, 3, padding="valid"), (2, 7)),
    "three axes": (nn.Conv3d(2, 2, 2, padding=1), (2, 3, 4, 2)),
    "ReLU6": (nn.Sequential(nn.Conv1d(1, 3, 1), nn.ReLU6()), (1, 9)),
    "max": (nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(3, 2, 1)), (1, 6, 7)),
    "means of windows": (
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.AvgPool2d(3, 2, 1, ceil_mode=True)), (1, 6, 7)
    ),
    "means without zeros": (
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)), (1, 6, 5)
    ),
    "adaptive": (nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d((3, 2))), (1, 7, 5)),
    "padding": (nn.Sequential(nn.ZeroPad2d((1, 0, 2, 0)), nn.Conv2d(1, 2, 2)), (1, 3, 3)),
}  # fmt: skip


class Joined(nn.Module):
    """A concatenation, a mean over positions, and units that have no common divisor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 3, 1), nn.Linear(5, 2)
        self.pool = nn.AvgPool2d(3, 1)

    def forward(self, x):
        joined = torch.cat([torch.relu(self.first(x)), self.pool(self.second(x))], 1)
        return self.last(joined.mean((2, 3)))


BODIES["joined"] = (Joined(), (1, 5, 5))


@pytest.mark.parametrize("name", BODIES)
def test_is_what_float64_computes(name):
    body, shape = BODIES[name]
    torch.manual_seed(0)
    network = nn.Sequential(body).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    changed = qn.quantize(network, bits=3).model.double()
    images = 3 * torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        expected = (network(images) - changed(images)).abs()
        found = told(network, changed, images)
    assert found == pytest.approx(expected.numpy(), rel=1e-9, abs=1e-13)


def told(network, changed, images):
    region = checked_region(None, 0, images, None)
    pair = checked_pair(network, changed, input_shape=tuple(images.shape), radius=region.radii)
    (known,) = exact(pair, region).values()
    return known.peaks.exp().numpy()


def test_nothing_is_rounded():
    """10^16 + 1 - 10^16 is 1, and float64 says 0; and 2^-1074 times itself is not 0."""
    network = nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    for layer, row in zip(network, ([1e16, 1.0, -1e16], [1.0]), strict=True):
        layer.weight.data = torch.tensor([row], dtype=torch.float64)
    changed = nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    for layer in changed:
        layer.weight.data.zero_()
    ones = torch.ones(1, 3, dtype=torch.float64)
    assert told(network.eval(), changed.eval(), ones) == pytest.approx(1.0, rel=1e-12)
    for layer, row in zip(network, ([2.0**-1074, 0.0, 0.0], [2.0**-1074]), strict=True):
        layer.weight.data = torch.tensor([row], dtype=torch.float64)
    region = checked_region(None, 0, ones, None)
    pair = checked_pair(network, changed, input_shape=(1, 3), radius=region.radii)
    (known,) = exact(pair, region).values()
    assert known.peaks.item() == pytest.approx(-2148 * math.log(2), rel=1e-12)


def test_a_number_keeps_all_its_digits():
    values = torch.tensor([0.1, -(2.0**-1074), 0.0, 1e300], dtype=torch.float64)
    found = rational(values)
    assert [float(number * found.unit) for number in found.integers] == values.tolist()


@pytest.mark.medium
def test_best_is_exact_at_radius_0_where_networks_are_deep():
    """There the intervals of T10 know nothing any more: rounding alone fills them."""
    network = qn.fold(qn.load("resnet32"))
    changed = qn.quantize(network, bits=8).model
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    found = qn.certify(network, changed, center=image, radius=0)
    with torch.no_grad():
        error = (network.double()(image) - changed.double()(image)).abs().numpy()
    assert found.bound == pytest.approx(error, rel=1e-9)
    assert found.said["exact"] < found.said["intervals"] - 1
    assert set(found.said) == {"channels", "intervals", "euclidean", "exact"}
    around = qn.certify(network, changed, center=image, radius=1e-9, method="euclidean")
    assert around.largest >= found.largest


def test_what_leaves_the_rational_numbers_or_takes_too_long_is_left_out(monkeypatch):
    network = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()).double().eval()
    changed = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()).double().eval()
    image = torch.ones(1, 2, dtype=torch.float64)
    with pytest.raises(UnsupportedOperation, match="Rationals has no rule for Sigmoid"):
        told(network, changed, image)
    found = qn.certify(network, changed, center=image, radius=0, seconds=0)
    assert "no rule" in found.left_out["exact"] and "intervals" in found.said
    monkeypatch.setattr(rationals, "MOST_PRODUCTS", 7)
    with pytest.raises(NotVerified, match=r"at most 7.0e\+00 products .* takes 8.0e\+00"):
        told(network, changed, image)
