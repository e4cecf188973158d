"""What the chapter on MobileNetV2 defines: T2 with the caps of ReLU6, and what layers read."""

import numpy as np
import pytest
import torch

import qnotes as qn
from qnotes.propagation.norms import relu6_bounds
from tests.book.cells import definitions
from tests.sizes import read_sizes

NAME, SHAPE = "mobilenet_v2_x0_25", (1, 1, 32, 32)
cells = definitions("mobilenet", "capped", "kind", "measured", "recursion", "spread_of")


@pytest.fixture(scope="module")
def pair():
    folded = qn.fold(qn.load(NAME))
    return folded, qn.quantize(folded, bits=4).model


@pytest.mark.parametrize("s", [True, False])
@pytest.mark.parametrize("e", [True, False])
def test_caps_are_those_of_the_package(pair, s, e):
    caps = {"cap_s": 6 if s else np.inf, "cap_e": 6 if e else np.inf}
    expected = relu6_bounds(*pair, input_shape=SHAPE, cap_activations=s, cap_errors=e)
    np.testing.assert_allclose(cells.capped(*pair, **caps), expected[["s", "e"]], rtol=1e-9)


def test_what_layers_read_is_what_the_package_measures(pair):
    inputs = qn.random_inputs(SHAPE, count=2)
    expected = read_sizes(*pair, inputs)[["s", "e"]]
    np.testing.assert_allclose(cells.measured(*pair, inputs), expected, rtol=1e-12)


def test_the_recursion_ends_at_T2(pair):
    profile = qn.profile(*pair, input_shape=SHAPE)
    expected = qn.bounds(profile).set_index("theorem").loc["T2", "log10"]
    assert np.log10(cells.recursion(profile)[-1]) == pytest.approx(expected, abs=1e-9)


def test_kinds_of_mobilenet(pair):
    layers = qn.profile(*pair, input_shape=SHAPE).layers
    assert [cells.kind(pair[0], layer) for layer in layers].count("depthwise") == 17


def test_spread_by_hand():
    layer = torch.nn.Linear(2, 3)
    layer.weight = torch.nn.Parameter(torch.tensor([[1.0, -2], [3, 0], [0.5, 12]]))
    assert cells.spread_of(layer) == 4
