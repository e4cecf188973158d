"""`certify` in every domain: above all errors that occur, and exact where nothing can be lost."""

from __future__ import annotations

import copy
import itertools
import math
import random
import re
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import qnotes as qn
from qnotes.networks.activations import slope_of
from qnotes.propagation import certifying, spectral
from qnotes.propagation.centers import Point
from qnotes.propagation.euclidean import Euclidean, Lengths
from qnotes.propagation.intervals import rises
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.regions import checked_region
from qnotes.propagation.values import Values
from qnotes.propagation.walk import walk
from tests.random_networks import (
    ARCHITECTURES,
    drawn,
    hard_inputs,
)

pytestmark = pytest.mark.medium

NETWORKS = 4  # of each kind; make falsify tries many more
SLACK = 1e-9


def certify(*networks, **options) -> qn.Certificate:
    """Little time for diagonals: any are sound."""
    return qn.certify(*networks, **{"seconds": 0.1, **options})


def log10_errors(network, changed, inputs) -> np.ndarray:
    """Of each output, the largest over inputs."""
    with torch.no_grad():
        errors = (network(inputs.clone()) - changed(inputs.clone())).abs().amax(0)
    return errors.log10().numpy()


@pytest.mark.parametrize("method", certifying.METHODS)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_no_error_exceeds_it(kind, method):
    for seed in range(NETWORKS):
        network, changed, shape, radius = drawn(kind, seed, "certify ")
        found = certify(network, changed, input_shape=shape, radius=radius, method=method)
        errors = log10_errors(network, changed, hard_inputs(shape, radius, seed))
        assert (errors <= found.log10 + SLACK).all(), (kind, seed, errors, found.log10)


@pytest.mark.parametrize("method", certifying.METHODS)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_no_error_in_a_ball_exceeds_it(kind, method):
    for seed in range(NETWORKS):
        network, changed, shape, radius = drawn(kind, seed, "certify ")
        center = torch.randn(2, *shape[1:], dtype=torch.float64)
        radius = 0.01 * radius
        found = certify(network, changed, center=center, radius=radius, method=method)
        for image, bound in zip(center, found.log10, strict=True):
            inputs = image + hard_inputs(shape, radius, seed)
            errors = log10_errors(network, changed, inputs)
            assert (errors <= bound + SLACK).all(), (kind, seed, errors, bound)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_best_is_never_worse_than_a_part(kind, ticking):
    """Where each has as many steps of descent, however busy the machine is."""
    for seed in range(NETWORKS):
        network, changed, shape, radius = drawn(kind, seed, "certify ")
        options = {"input_shape": shape, "radius": radius}
        best = certify(network, changed, **options).log10
        for method in certifying.METHODS[1:]:
            part = certify(network, changed, **options, method=method).log10
            assert (best <= part + SLACK).all(), (seed, method)


@pytest.mark.parametrize("method", ["intervals", "best"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_radius_0_is_the_error_itself(kind, method):
    for seed in range(NETWORKS):
        network, changed, shape, _ = drawn(kind, seed, "certify ")
        center = torch.randn(3, *shape[1:], dtype=torch.float64)
        found = certify(network, changed, center=center, radius=0, method=method).bound
        with torch.no_grad():
            errors = (network(center.clone()) - changed(center.clone())).abs().numpy()
            scale = network(center.clone()).abs().max().item()
        assert found == pytest.approx(errors, rel=1e-9, abs=1e-12 * max(scale, 1))


def test_a_batch_is_its_images():
    network, changed, shape, _ = drawn("residual", 1, "certify ")
    center = torch.randn(3, *shape[1:], dtype=torch.float64)
    for method in ("intervals", "euclidean"):
        options = {"radius": 0.01, "method": method}
        together = certify(network, changed, center=center, **options).log10
        alone = [certify(network, changed, center=x[None], **options).log10[0] for x in center]
        assert together == pytest.approx(np.array(alone), abs=1e-9)


def test_inputs_outside_of_what_there_is_do_not_count():
    network = nn.Sequential(nn.Linear(1, 1, bias=False)).double().eval()
    changed = nn.Sequential(nn.Linear(1, 1, bias=False)).double().eval()
    network[0].weight.data.fill_(1.0)
    changed[0].weight.data.fill_(2.0)
    center = torch.tensor([[0.75]], dtype=torch.float64)
    found = certify(network, changed, center=center, radius=0.5, within=(0, 1))
    assert found.bound == pytest.approx(np.array([[1.0]]))
    whole = certify(network, changed, center=center, radius=0.5)
    assert whole.bound == pytest.approx(np.array([[1.25]]))


@pytest.mark.parametrize(
    ("first", "pool", "shape"),
    [
        (nn.Conv1d, nn.AvgPool2d((3, 6), 1, (1, 0), count_include_pad=False), (1, 2, 6)),
        (nn.Conv1d, nn.AvgPool2d(3, 1, 1), (1, 2, 6)),
        (nn.Conv1d, nn.AdaptiveAvgPool2d((2, 1)), (1, 2, 6)),
        (nn.Conv1d, nn.MaxPool2d((2, 6), 1), (1, 2, 6)),
        (nn.Conv2d, nn.AvgPool3d((3, 5, 5), 1, (1, 0, 0), count_include_pad=False), (1, 2, 5, 5)),
        (nn.Conv2d, nn.MaxPool3d(3, 1, 1), (1, 2, 5, 5)),
    ],
)
def test_a_pool_that_takes_channels_for_positions(first, pool, shape):
    torch.manual_seed(1)
    network = nn.Sequential(first(2, 4, 3, padding=1), pool).double().eval()
    network[0].weight.data[0] *= 1e3
    changed = copy.deepcopy(network)
    rows = network[0].weight.data.flatten(1).abs().amax(1)  # errors of channels differ by far
    changed[0].weight.data += 0.1 * rows.view(-1, *[1] * (len(shape) - 1))
    inputs = torch.cat([hard_inputs(shape, 1.0, seed) for seed in range(3)])
    errors = (network(inputs) - changed(inputs)).abs().amax(0).detach().numpy()
    for method in certifying.METHODS:
        try:
            found = certify(network, changed, input_shape=shape, method=method, seconds=0).bound
        except qn.UnsupportedOperation as error:
            assert method == "ellipsoids" and "pooling over channels" in str(error)
        else:
            assert (errors <= found * (1 + SLACK)).all(), method


@pytest.mark.parametrize("radius", [1e-170, 1e-160, 1e-150])
@pytest.mark.parametrize("weights", [(1e100, 1.0), (1e60, 1.0), (1e38, 1e38), (1.0, 1e100)])
def test_a_radius_whose_square_is_no_number(radius, weights):
    network = nn.Sequential(*[nn.Conv2d(1, 1, 1, bias=False) for _ in weights]).double().eval()
    for layer, weight in zip(network, weights, strict=True):
        layer.weight.data.fill_(weight)
    changed = copy.deepcopy(network)
    changed[0].weight.data *= 1.01
    error = radius * (changed[0].weight.item() - weights[0]) * weights[1]
    for method in certifying.METHODS:
        options = {"input_shape": (1, 1, 1, 1), "radius": radius, "seconds": 0}
        assert certify(network, changed, **options, method=method).bound.max() >= error, method


@pytest.mark.parametrize("method", certifying.METHODS)
def test_padding_of_some_axes_only(method):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3, padding=1), nn.ZeroPad1d((2, 1)), nn.ReLU(), nn.Conv2d(2, 2, 3)
    network = nn.Sequential(*layers).double().eval()
    changed = copy.deepcopy(network)
    changed[0].weight.data += 0.01
    inputs = torch.cat([hard_inputs((1, 1, 4, 5), 1.0, seed) for seed in range(3)])
    errors = (network(inputs) - changed(inputs)).abs().amax(0).detach().numpy()
    found = certify(network, changed, input_shape=(1, 1, 4, 5), method=method).bound
    assert (errors <= found * (1 + SLACK)).all()
    assert errors.max() > 0.01 * found.max()


@pytest.mark.parametrize("method", certifying.METHODS)
def test_channels_with_radius_0(method):
    """Where all are 0, the region is the image; where some are, larger ones contain it."""
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 1, 2)
    network = qn.fold(nn.Sequential(*layers).double().eval())
    quantized = qn.quantize(network, bits=3).model
    options = {"center": torch.rand(2, 2, 4, 4, dtype=torch.float64), "method": method}
    options |= {"seconds": 0}
    nothing, point = (qn.certify(network, quantized, radius=r, **options) for r in ([0.0, 0], 0))
    assert (nothing.bound == point.bound).all()
    some, more = (qn.certify(network, quantized, radius=r, **options) for r in ([0, 0.1], 0.1))
    slack = 1.1 if method == "ellipsoids" else 1 + 1e-9  # its diagonals were not looked for
    assert (some.bound <= more.bound * slack).all()


def test_what_is_wrong_with_the_second_network_is_said_of_it():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)).double().eval()
    options = {"input_shape": (1, 1, 3, 3), "method": "channels"}
    training = copy.deepcopy(network).append(nn.Dropout()).train()
    unfolded = copy.deepcopy(network).append(nn.BatchNorm2d(2)).eval()
    infinite = copy.deepcopy(network)
    infinite[1].bias.data[1] = math.inf
    for other, message in (
        (training, "quantized: the network is in training mode"),
        (unfolded, "quantized: 2: BatchNorm2d .* Fold it"),
        (infinite, "quantized: 1: 1 of 2 values of its bias"),
    ):
        with pytest.raises(qn.QnotesError, match=f"^{message}"):
            qn.certify(network, other, **options)


def test_prints_in_one_line():
    network = nn.Sequential(nn.Linear(2, 1)).double().eval()
    changed = copy.deepcopy(network)
    changed[0].weight.data.add_(50.0)
    found = certify(network, changed, input_shape=(1, 2), method="channels")
    said = r"Certificate\(method='channels', largest bound about 100 \(log10 2\.0000\), .* s\)"
    assert re.fullmatch(said, repr(found))
    same = certify(network, network, input_shape=(1, 2), method="channels")
    assert "about 0 (log10 -inf)" in repr(same)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (1, 2), "method": "T15"}, r"euclidean \(T11\), .*; got 'T15'"),
        ({"input_shape": (1, 2), "method": "magic"}, "method must be one of"),
        ({}, "input_shape is needed"),
        ({"input_shape": (1, 2), "radius": -1}, "radius must be"),
        ({"center": torch.full((1, 2), math.nan)}, "finite images.*; image 0 has values that are"),
        ({"center": np.zeros((1, 2))}, "finite images.*; got ndarray"),
        ({"center": torch.zeros(1, 2), "input_shape": (1, 3)}, "input_shape says"),
        (
            {"center": torch.full((1, 2), 3.0), "within": (0, 1)},
            "^center has values from 3 to 3",
        ),
        ({"input_shape": (1, 2), "within": (5, 6)}, "^the middle of the box, 0, has values"),
        ({"center": torch.zeros(0, 2)}, r"finite images.*; got the shape \(0, 2\)"),
        ({"center": torch.ones(1, 2) * 1j}, "dense tensor of real numbers"),
        ({"center": torch.zeros(1, 2), "radius": np.ones(2)}, r"ndarray .*; pass its .tolist\(\)"),
        ({"center": torch.zeros(1, 2), "radius": -1}, "radius must be 0 or a positive .*; got -1"),
        ({"center": torch.zeros(1, 2), "radius": [0, "1"]}, "radius must be .*; got the str '1'"),
        (
            {"input_shape": (1, 2), "radius": [0, 1]},
            "must be a positive finite number; got 0",
        ),
        ({"input_shape": (1, 2), "radius": 10**400}, "which no float holds"),
        *(({"input_shape": (1, 2), "within": w}, "two numbers") for w in (1, (1,), (1, 0), "01")),
        *(({"input_shape": (1, 2), "seconds": s}, "seconds must") for s in (None, "1", -1)),
        ({"input_shape": (1, 2), "method": np.array(["a", "b"])}, "method must be one of"),
        ({"input_shape": (1, 2), "diagonals": "found"}, "those of a certificate; got str$"),
        ({"input_shape": (1, 2), "provenance": 5}, "a mapping; got int"),
    ],
)
def test_refuses_a_call_that_makes_no_sense(options, message):
    network = nn.Sequential(nn.Linear(2, 1)).double().eval()
    with pytest.raises(qn.QnotesError, match=message):
        certify(network, network, **options)


# ---------------------------------------------------------------- spectral norms


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e200, 1.7e308])
def test_spectral_norms_of_the_smallest_and_the_largest_weights(size):
    module = nn.Linear(1, 2, bias=False)
    found = spectral.spectral_norm(module, torch.full((2, 1), size, dtype=torch.float64))
    assert math.sqrt(2) * size <= found <= math.sqrt(2) * size * (1 + 1e-9) + 1e-323


def as_matrix(module: nn.Module, side: int, axes: int = 2) -> torch.Tensor:
    inputs = torch.eye(module.in_channels * side**axes, dtype=torch.float64)
    with torch.no_grad():
        return module(inputs.view(-1, module.in_channels, *[side] * axes)).flatten(1).T


CONVOLUTIONS = [
    {"kernel_size": k, "stride": s, "padding": p, "dilation": d, "groups": g}
    for k, s, p, d, g in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2), (1, 2))
    if d * (k - 1) < 7
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_spectral_norms_are_above_those_of_the_matrix(options):
    torch.manual_seed(0)
    module = nn.Conv2d(2, 4, bias=False, **options).double()
    matrix = as_matrix(module, 7)
    made = [(7 + 2 * options["padding"] - options["dilation"] * (options["kernel_size"] - 1) - 1)
            // options["stride"] + 1] * 2  # fmt: skip
    found = spectral.spectral_norm(module, module.weight.detach(), (7, 7), made)
    true = torch.linalg.matrix_norm(matrix, 2).item()
    assert true <= found * (1 + 1e-12)
    if options["stride"] == 1:
        assert found <= 1.8 * true


def test_a_guess_that_is_too_small_is_refused(monkeypatch):
    matrix = torch.diag(torch.tensor([1.0, 2.0], dtype=torch.complex128))[None]
    assert spectral.largest_eigenvalue(matrix, torch.zeros(1)) == pytest.approx(2, rel=1e-9)
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda m: torch.tensor([[0.5, 1.9]]).double())
    with pytest.raises(qn.QnotesError, match="could not be verified"):
        spectral.largest_eigenvalue(matrix, torch.zeros(1))


def test_an_indefinite_matrix_is_never_verified():
    good = torch.eye(3, dtype=torch.complex128)[None]
    bad = torch.diag(torch.tensor([1.0, 1.0, -1e-14], dtype=torch.complex128))[None]
    assert spectral.verified_definite(good, torch.zeros(1))
    assert not spectral.verified_definite(bad, torch.zeros(1))
    assert not spectral.verified_definite(good, torch.ones(1))  # the margin counts
    assert not spectral.verified_definite(math.nan * good, torch.zeros(1))


def test_tiny_weights_do_not_vanish():
    module = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    module.weight.data.fill_(1e-200)
    found = spectral.spectral_norm(module, module.weight.detach(), (5, 5), (5, 5))
    assert found >= torch.linalg.matrix_norm(as_matrix(module, 5) * 1e200, 2).item() * 1e-200


def test_the_best_leaves_out_what_has_no_rule():
    """Ellipsoids have none for SiLU, and say so; the rest still has a bound."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.SiLU()).double().eval()
    quantized = qn.quantize(network, bits=4).model
    shape = (1, 2, 3, 3)
    with pytest.raises(qn.UnsupportedOperation, match="Ellipsoids has no rule for SiLU: its slope"):
        qn.certify(network, quantized, input_shape=shape, method="ellipsoids")
    best = qn.certify(network, quantized, input_shape=shape, seconds=0)
    channels = qn.certify(network, quantized, input_shape=shape, method="channels")
    assert best.largest <= channels.largest + 1e-9
    assert best.left_out == {
        "ellipsoids": "1: Ellipsoids has no rule for SiLU: its slopes leave [0, 1]"
    }


class Ended(nn.Module):
    """A convolution, an activation, whatever makes a vector of images of 6 × 6, and a layer."""

    def __init__(self, end, activation=None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(2, 3, 3), nn.Linear(3, 2)
        self.activation, self.end = activation or nn.ReLU(), end

    def forward(self, values):
        return self.last(self.end(self.activation(self.first(values))))


ENDS = {
    "mean": lambda x: x.mean((2, 3)),
    "mean, kept": lambda x: x.mean((3, 2), keepdim=True).flatten(1),
    "view": lambda x: F.adaptive_avg_pool2d(x, 1).view(x.shape[0], -1),
    "size": lambda x: F.adaptive_avg_pool2d(x, 1).view(x.size(0), 3),
    "reshape": lambda x: F.adaptive_avg_pool2d(x, 1).reshape(x.size()[0], -1),
    "no stride": lambda x: F.avg_pool2d(x, 6).flatten(1),
    "nothing cut": lambda x: F.avg_pool2d(x, 6, ceil_mode=True).flatten(1),
    "one number": lambda x: F.avg_pool2d(x, [6]).flatten(1),
    "twice": lambda x: F.avg_pool2d(F.avg_pool2d(x, (3,), ceil_mode=True), 2).flatten(1),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_mean_of_images_is_known_however_it_is_written(end):
    """With a view of it, or as a pool with no stride, too."""

    def said(end):
        network = qn.fold(Ended(end).double().eval())
        options = {"input_shape": (1, 2, 8, 8), "seconds": 0}
        found = qn.certify(network, qn.quantize(network, bits=4).model, **options)
        assert not found.left_out
        return found.said

    plain = said(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1))
    assert set(plain) == {"channels", "intervals", "euclidean", "ellipsoids", "affine"}
    found = said(ENDS[end])
    if end == "twice":  # a strided pool costs a little
        assert all(found[method] < plain[method] + 0.5 for method in plain)
    else:
        assert found == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize(
    "activation",
    [
        nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.2), nn.ELU(), nn.Hardtanh(-0.5, 0.7), nn.GELU(),
        nn.PReLU(3, 0.3), nn.Hardsigmoid(), nn.Hardswish(), nn.LeakyReLU(-0.5), nn.ELU(2.0),
    ],
    ids=repr,
)  # fmt: skip
def test_norms_and_ellipsoids_know_other_activations(activation):
    """T11 with κ; T14 where slopes are in [0, 1]."""
    network = qn.fold(Ended(ENDS["mean"], activation).double().eval())
    quantized = qn.quantize(network, bits=3).model
    center = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    steep = not (rises(activation) and slope_of(activation).slope <= 1)
    assert steep == any(what in repr(activation) for what in ("GELU", "swish", "=-0.5)", "=2.0)"))
    methods = ["euclidean"] if steep else ["euclidean", "ellipsoids"]
    for radius in (0, 0.1, 2.0):
        away = torch.rand(300, 1, *center.shape[1:], dtype=torch.float64).mul(2).sub(1).mul(radius)
        away = torch.cat([away, radius * away.sign(), 0 * away[:1]])
        inputs = (center + away).flatten(0, 1)
        with torch.no_grad():
            tried = (network(inputs) - quantized(inputs)).abs().view(len(away), 2, 2).amax(0)
        for method in methods:
            options = {"center": center, "radius": radius, "method": method, "seconds": 0.2}
            bound = torch.from_numpy(qn.certify(network, quantized, **options).bound)
            assert (tried <= bound * (1 + 1e-12)).all(), method
            assert radius or method == "ellipsoids" or (bound <= tried * (1 + 1e-6)).all()
    if steep:
        with pytest.raises(qn.UnsupportedOperation, match=type(activation).__name__):
            qn.certify(network, quantized, center=center, radius=1.0, method="ellipsoids")


@pytest.mark.parametrize("method", ["best", "intervals", "euclidean", "ellipsoids", "affine"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_slopes_are_read_in_whatever_precision_they_are(precision, method):
    """Values are float64, and the slopes of a PReLU may be of fewer digits."""
    network = nn.Sequential(nn.Linear(2, 3), nn.PReLU(3), nn.Linear(3, 1)).to(precision).eval()
    network[1].weight.data = torch.tensor([0.3, 0.1, 0.9], dtype=precision)
    changed = copy.deepcopy(network)
    changed[0].weight.data.add_(0.1)
    options = {"input_shape": (1, 2), "method": method, "seconds": 0}
    found = qn.certify(network, changed, **options).log10
    assert network[1].weight.dtype == precision
    assert (found == qn.certify(network.double(), changed.double(), **options).log10).all()


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (nn.PReLU(2, math.nan), "1: 2 of 2 values of its weight are NaN or infinite"),
        (nn.LeakyReLU(math.nan), "1: has negative_slope=nan; give a finite one"),
        (nn.ELU(math.inf), "1: has alpha=inf; give a finite one"),
    ],
)
def test_slopes_without_a_value_are_refused(activation, message):
    network = nn.Sequential(nn.Linear(2, 2), activation).eval()
    for other in (network, copy.deepcopy(network)):
        with pytest.raises(qn.QnotesError, match=message):
            qn.certify(network, other, input_shape=(1, 2))


@pytest.mark.parametrize("pool", [nn.MaxPool1d(2), nn.AvgPool1d(2), nn.AdaptiveMaxPool1d(3)])
def test_ellipsoids_refuse_to_pool_channels(pool):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), pool).double().eval()
    options = {"input_shape": (1, 1, 4, 4), "seconds": 0}
    with pytest.raises(qn.UnsupportedOperation, match="2: pooling over channels"):
        qn.certify(network, network, **options, method="ellipsoids")
    assert qn.certify(network, network, **options).left_out["ellipsoids"]


AVERAGES = [
    nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=counted)
    for kernel, stride, padding in ((1, 2, 0), (2, 1, 1), (2, 2, 0), (3, 1, 1), (3, 2, 1))
    for ceil, counted in itertools.product((False, True), repeat=2)
]
POOLS = [
    *AVERAGES, nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(2), nn.AvgPool2d(1),
    nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(2, 1, 1), nn.MaxPool2d(1, 2), nn.AdaptiveMaxPool2d(2),
]  # fmt: skip


@pytest.mark.parametrize("pool", POOLS, ids=repr)
@pytest.mark.parametrize("layer", [1, 3])
def test_what_a_pool_does_to_a_small_image(layer, pool):
    """The other network gives 0. The few pixels that a box and a ball share show what is wrong."""
    tried = 0
    for image in ((1, 1), (1, 2), (2, 2), (1, 3), (3, 3)):
        first = nn.Conv2d(1, 1, layer, padding=layer // 2, bias=False)
        first.weight.data.zero_()[..., layer // 2, layer // 2] = 1.0
        network = nn.Sequential(first, pool).double().eval()
        changed = nn.Sequential(nn.Conv2d(1, 1, layer, padding=layer // 2, bias=False), pool)
        changed.double().eval()[0].weight.data.zero_()
        ones = torch.ones(1, 1, *image, dtype=torch.float64)
        try:
            exact = network(ones).detach()  # each is a mean, or the largest, of entries of 1 and 0
        except RuntimeError:  # too small for the pool
            continue
        for method in ("intervals", "euclidean", "ellipsoids"):
            options = {"input_shape": ones.shape, "method": method, "seconds": 0}
            found = torch.from_numpy(qn.certify(network, changed, **options).bound)
            assert (found >= exact[0] * (1 - 1e-12)).all(), (method, image)
            assert method != "intervals" or (found <= exact[0] * (1 + 1e-9)).all()
        tried += 1
    assert tried


class Beside(nn.Module):
    """Four values side by side, of which one is the input and one comes twice; or one layer."""

    def __init__(self, stride: int, flat: bool) -> None:
        super().__init__()
        self.whole, self.flat = False, flat
        self.first, self.second = (nn.Conv2d(2, 2, 3, padding=1, bias=False) for _ in range(2))
        self.all = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.early, self.late = (nn.Conv2d(c, 2, 1, stride, bias=False) for c in (2, 8))

    def forward(self, x):
        early = self.early(x)  # alive on a coarser torus
        if self.whole:
            made = self.all(x)
        else:
            first = self.first(x)
            parts = [first, x, self.second(x), first]
            made = torch.cat([p.flatten(1) for p in parts] if self.flat else parts, 1)
        return made.flatten(1) if self.flat else torch.relu(self.late(made) + early)

    def stacked(self) -> Beside:
        """As one layer."""
        other = copy.deepcopy(self)
        other.whole, same = True, torch.zeros(2, 2, 3, 3)
        same[[0, 1], [0, 1], 1, 1] = 1
        parts = [self.first.weight, same, self.second.weight, self.first.weight]
        other.all.weight.data = torch.cat(parts).detach()
        return other


@pytest.mark.parametrize(("stride", "flat"), [(1, False), (2, False), (3, False), (1, True)])
def test_values_beside_each_other_are_one_layer(stride, flat):
    """T14 says the same of both, on whatever torus; T11 adds up what each part may do."""
    torch.manual_seed(stride)
    network = Beside(stride, flat).double().eval()
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    shape, stacks = (1, 2, 6, 6), (network.stacked(), changed.stacked())
    for method, close in (("ellipsoids", 1e-5), ("euclidean", 0.5)):
        options = {"input_shape": shape, "method": method, "seconds": 0}
        found = qn.certify(network, changed, **options)
        expected = qn.certify(*stacks, **options)
        assert found.bound == pytest.approx(expected.bound, rel=close, abs=1e-9)
        assert method == "ellipsoids" or (found.log10 >= expected.log10 - 1e-9).all()
    center = torch.randn(1, *shape[1:], dtype=torch.float64)
    for radius in (0, 0.3):
        away = radius * torch.randn(500, *shape[1:], dtype=torch.float64).sign()
        with torch.no_grad():
            errors = (network(center + away) - changed(center + away)).abs().amax(0)
        for method in ("ellipsoids", "euclidean", "best"):
            options = {"center": center, "radius": radius, "method": method, "seconds": 0.1}
            found = qn.certify(network, changed, **options)
            assert (errors <= torch.from_numpy(found.bound[0]) * (1 + 1e-12)).all()
            assert not found.left_out


class Product(nn.Module):
    """Values times a gate, images of these sides, in either order; and one more beside it."""

    def __init__(self, sides: tuple, gate_first: bool, activation: nn.Module) -> None:
        super().__init__()
        self.sides, self.gate_first, self.activation = sides, gate_first, activation
        self.first, self.second = (nn.Conv2d(2, 3, 3, padding=1) for _ in range(2))
        self.beside = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x):
        values, gate = (
            F.adaptive_avg_pool2d(layer(x), sides)
            for layer, sides in zip((self.first, self.second), self.sides, strict=True)
        )
        gate = self.activation(gate)
        made = gate * values if self.gate_first else values.mul(gate)
        both = tuple(map(max, *self.sides))
        return torch.cat([made, F.adaptive_avg_pool2d(self.beside(x), both)], 1)


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(0.2, 0.9)], ids=repr)
@pytest.mark.parametrize(
    "sides", [((3, 4), (3, 4)), ((1, 1), (3, 4)), ((3, 4), (1, 1)), ((3, 4), (3, 1)),
              ((3, 1), (1, 4)), ((1, 1), (1, 1))], ids=str,
)  # fmt: skip
def test_lengths_behind_gates_and_concatenations(sides, activation):
    """T11: all three lengths at each value, where either factor is repeated."""
    for seed, scale in enumerate((0.3, 3.0, 30.0)):
        torch.manual_seed(seed)
        network = qn.fold(Product(sides, seed == 1, activation).double().eval())
        with torch.no_grad():
            network.first.weight.mul_(scale)
            network.second.weight.mul_(scale)
        quantized = qn.quantize(network, bits=3).model
        center, radius = torch.randn(1, 2, 6, 8, dtype=torch.float64), 10.0**-seed
        options = {"center": center, "radius": radius, "method": "euclidean"}
        bound = torch.from_numpy(qn.certify(network, quantized, **options).bound)
        away = radius * (2 * torch.rand(300, *center.shape[1:], dtype=torch.float64) - 1)
        away = torch.cat([0 * away[:1], away, radius * away.sign()])
        pair = checked_pair(network, quantized, input_shape=center.shape, radius=9.0)
        domain = Euclidean(pair, checked_region(None, radius, center, None))
        seen = walk(pair.operations, Values(center + away, pair=True))
        for visit, real in zip(walk(pair.operations, domain), seen, strict=True):
            ours, theirs = (values.flatten(1) for values in real.result)
            moved = ours - ours[:1], theirs - theirs[:1], ours - theirs
            lengths = torch.stack([m.norm(dim=1).max() for m in moved]).log()
            found = torch.cat(visit.result[:3])
            assert (lengths <= found + 1e-9).all(), visit.operation.name
        ours, theirs = real.result
        assert ((ours - theirs).abs().amax(0) <= bound[0] * (1 + 1e-12)).all()


def lengths_of(references, values) -> Lengths:
    """Of S and S' from their references, and of Δ."""
    (ours, theirs), (here, there) = references, values
    logs = [moved.norm().log().view(1) for moved in (here - ours, there - theirs, here - there)]
    return Lengths(*logs, (Point(ours, 0 * ours), Point(theirs, 0 * theirs)))


def drawn_values(rng: random.Random, shape: tuple, most: float) -> torch.Tensor:
    """Nothing, all alike, one entry, or any."""
    values = torch.zeros(1, *shape, dtype=torch.float64)
    style = rng.choice(["nothing", "alike", "one", "any"])
    if style == "alike":
        values.fill_(rng.choice([-most, most]))
    elif style == "one":
        values.view(-1)[rng.randrange(values.numel())] = most
    elif style == "any":
        values.uniform_(-most, most)
    return values


@pytest.mark.parametrize(
    "sides", [((2, 3), (2, 3)), ((1, 1), (2, 3)), ((2, 3), (1, 1)), ((2, 3), (2, 1)),
              ((2, 1), (1, 3)), ((1, 1), (1, 1))], ids=str,
)  # fmt: skip
def test_rules_for_lengths_are_sound_and_sharp(sides):
    """T11 behind a gate, a concatenation and a range: no length is above, and some are equal."""
    network = qn.fold(Product(sides, False, nn.Tanh()).double().eval())
    shape = (1, 2, 6, 6)
    pair = checked_pair(network, network, input_shape=shape, radius=1.0)
    domain = Euclidean(pair, checked_region(shape, 1.0, None, None))
    found = {operation.kind: operation for operation in pair.operations}
    rng, ratios = random.Random(0), torch.zeros(3, 3, dtype=torch.float64)
    torch.manual_seed(0)
    for _ in range(500):
        values, gates, others = (
            [[drawn_values(rng, (3, *side), most) for _ in range(2)] for _ in range(2)]
            for side, most in ((sides[0], 10.0), (sides[1], 1.0), (sides[0], 10.0))
        )
        made = [
            [x * g for x, g in zip(*both, strict=True)] for both in zip(values, gates, strict=True)
        ]
        beside = [
            [torch.cat(x, 1) for x in zip(*both, strict=True)]
            for both in zip(values, others, strict=True)
        ]
        steep = [[1e3 * x for x in xs] for xs in gates]
        bent = [[x.tanh() for x in xs] for xs in steep]
        first, gate, other, wide = (lengths_of(*v) for v in (values, gates, others, steep))
        said = (
            (made, domain.gated(found["gated"], first, gate)),
            (beside, domain.concatenation(found["concatenation"], first, other)),
            (bent, domain.sloped_activation(found["sloped_activation"], wide)),
        )
        for number, (real, bound) in enumerate(said):
            real = torch.cat(lengths_of(*real)[:3])
            now = torch.where(real > -math.inf, (real - torch.cat(bound[:3])).exp(), 0)
            ratios[number] = torch.maximum(ratios[number], now)
    assert (ratios <= 1 + 1e-12).all()
    assert (ratios > 0.999).all(), ratios


@pytest.mark.parametrize("method", ["intervals", "best"])
@pytest.mark.parametrize(
    "activation",
    [
        torch.nn.LeakyReLU(0.1),
        torch.nn.ELU(),
        torch.nn.Hardtanh(-0.2, 0.3),
        torch.nn.Hardsigmoid(),
        torch.nn.SiLU(),
        torch.nn.Hardswish(),
    ],
    ids=lambda activation: type(activation).__name__,
)
def test_an_activation_in_place_is_applied_once(activation, method):
    """Both networks read the same input: what S does to it must not be done to S' again."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    found = []
    for in_place in (False, True):
        copied = copy.deepcopy(activation)
        copied.inplace = in_place
        network = qn.fold(torch.nn.Sequential(copied, layer).eval())
        pair = (network, qn.quantize(network, bits=2).model)
        center = torch.tensor([[-0.9, -0.8, -0.7]], dtype=torch.float64)
        found.append(qn.certify(*pair, center=center, radius=0.1, method=method, seconds=0).log10)
    assert (found[0] == found[1]).all()
    corners = torch.tensor(list(itertools.product((-0.1, 0.1), repeat=3)), dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = (network(center + corners) for network in pair)
    assert ((ours - theirs).abs().amax(0).numpy() <= 10 ** found[1][0] * (1 + 1e-12)).all()


# ---------------------------------------------------------------- diagonals of before


def residual(bits: int):
    network, _, shape, _ = drawn("residual", 2, "certify ")
    return network, qn.quantize(qn.fold(network), bits=bits).model, shape


@pytest.mark.parametrize("method", ["ellipsoids", "best"])
def test_diagonals_of_an_earlier_certificate_say_the_same_again(method):
    network, quantized, shape = residual(6)
    first = certify(network, quantized, input_shape=shape, method=method)
    before = [number.detach().clone() for number in first.diagonals.numbers]
    options = {"input_shape": shape, "method": method, "diagonals": first.diagonals}
    again = qn.certify(network, quantized, **options, seconds=0)
    assert again.log10 == pytest.approx(first.log10, abs=1e-9)
    certify(network, quantized, **options)  # moves a copy
    assert all(map(torch.equal, before, first.diagonals.numbers))


def test_diagonals_of_other_bits_are_as_sound():
    network, quantized, shape = residual(3)
    found = certify(*residual(8)[:2], input_shape=shape, method="ellipsoids").diagonals
    options = {"input_shape": shape, "method": "ellipsoids", "seconds": 0}
    bound = qn.certify(network, quantized, **options, diagonals=found).log10
    errors = log10_errors(network, quantized, hard_inputs(shape, 1.0, 0))
    assert (errors <= bound + SLACK).all()


@pytest.mark.parametrize("weights", [(1e-200, 1e-200), (1e-160, 1e-160), (1e-155, 1e-160), (1, 0)])
def test_a_bound_below_the_normal_numbers_is_one(weights):
    """There float64 rounds to the nearest of few numbers, or to 0."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    network = network.double().eval()
    for layer, weight in zip(network[::2], weights, strict=True):
        layer.weight.data.fill_(weight)
    changed = copy.deepcopy(network)
    changed[2].weight.data.zero_()
    error = math.prod(map(Fraction, weights))
    for method in ("best", "channels", "affine"):
        options = {"center": torch.ones(1, 1), "radius": 0, "method": method}
        bound = qn.certify(network, changed, **options).bound.item()
        assert Fraction(bound) >= error
        if method == "best":
            assert bound <= float(error) * (1 + 1e-10) + 5e-323


def test_diagonals_of_another_network_are_refused():
    first, second = (
        nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1)).double().eval()
        for width in (3, 4)
    )
    found = certify(first, first, input_shape=(1, 2), method="ellipsoids").diagonals
    with pytest.raises(qn.QnotesError, match=r"diagonals for 3 channels .* has 4"):
        certify(second, second, input_shape=(1, 2), method="ellipsoids", diagonals=found)


@pytest.mark.parametrize("method", certifying.METHODS)
@pytest.mark.parametrize("what", ["weight", "bias"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(method, what, number):
    layers = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    network = nn.Sequential(*layers).double().eval()
    broken = copy.deepcopy(network)
    with torch.no_grad():
        getattr(broken[2], what).flatten()[0] = number
    count = getattr(broken[2], what).numel()
    for both, of in (((network, broken), "quantized: "), ((broken, network), "")):
        message = f"^{of}2: 1 of {count} values of its {what} are"
        for radius in (0, 0.5):
            options = {"center": torch.ones(1, 2), "radius": radius, "method": method}
            with pytest.raises(qn.QnotesError, match=message):
                qn.certify(*both, **options, seconds=0)


def test_what_each_domain_says_of_the_output():
    network, quantized, shape = residual(6)
    best = certify(network, quantized, input_shape=shape)
    assert set(best.said) == {"channels", "intervals", "euclidean", "ellipsoids", "affine"}
    assert min(best.said.values()) >= best.largest - SLACK
    channels = certify(network, quantized, input_shape=shape, method="channels")
    assert channels.said == {"channels": channels.largest} and channels.diagonals is None


def test_a_bar_only_where_it_is_asked_for(capsys):
    network, quantized, shape = residual(6)
    certify(network, quantized, input_shape=shape)
    assert capsys.readouterr().err == ""
    certify(network, quantized, input_shape=shape, progress=True)
    assert "diagonals" in (shown := capsys.readouterr().err) and "best" in shown


@pytest.mark.medium
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says it there")
@pytest.mark.parametrize("method, channels", [("affine", 32), ("ellipsoids", 96)])
def test_what_is_foretold_of_memory_is_about_what_is_taken(method, channels):
    """In a process of its own, of which the most that it ever held is known.

    What `resource` says begins with the memory of the process that started it.
    """
    program = f"""
        import math, re
        from pathlib import Path
        import torch
        from torch import nn
        import qnotes as qn
        from qnotes.propagation.ellipsoids import needed_memory
        from qnotes.propagation.pair import checked_pair

        def peak():
            (most,) = re.findall(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
            return int(most) * 1024

        def certified(channels, side, **options):
            layers = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Flatten()]
            network = nn.Sequential(*layers, nn.Linear(channels * side**2, 10)).eval()
            pair = network, qn.quantize(network, bits=8).model
            center, radius = torch.zeros(1, 3, side, side), 0.01
            if {method!r} == "ellipsoids":
                checked = checked_pair(*pair, input_shape=center.shape, radius=radius)
                options["memory"] = math.ceil(max(size for _, size in needed_memory(checked)))
            qn.certify(*pair, center=center, radius=radius, method={method!r}, seconds=0, **options)
            return options["memory"]

        torch.manual_seed(0)
        torch.set_num_threads(1)
        certified(2, 4, memory=3e8)  # what is loaded once
        before = peak()
        memory = certified({channels}, 16, memory=6e8)
        print((peak() - before) / memory)
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    share = float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert 0.3 < share < 1.5  # "about"; it differs by a tenth from run to run
