"""What the chapter on MobileNetV2 defines: T2 with the caps of ReLU6, what layers read, errors."""

import numpy as np
import pytest
import torch

import qnotes as qn
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.norms import relu6_bounds
from tests.book.cells import definitions
from tests.sizes import read_sizes

NAME, SHAPE = "mobilenet_v2_x0_25", (1, 1, 32, 32)
REAL = "mobilenet_v2_features"
cells = definitions(
    "mobilenet",
    *("answers", "capped", "kind", "measured", "mixed", "recursion"),
    *("spread_of", "spreads", "with_scale"),
)


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


def test_caps_start_from_the_domain(pair):
    found = cells.capped(*pair, D=2.64)
    expected = relu6_bounds(*pair, input_shape=SHAPE, radius=2.64)
    np.testing.assert_allclose(found, expected[["s", "e"]], rtol=1e-9)
    assert found["s"][0] == 2.64


@pytest.mark.medium
def test_what_is_measured_does_not_depend_on_the_batches(pair):
    inputs = qn.random_inputs(SHAPE, count=5)
    found, whole = (cells.measured(*pair, inputs, at_once=count) for count in (2, 5))
    np.testing.assert_allclose(found, whole, rtol=1e-12)


@pytest.mark.medium
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


def test_spreads_of_all_layers(pair):
    found = cells.spreads(pair[0])
    layers = qn.profile(*pair, input_shape=SHAPE).layers
    assert set(found.index) == {layer.name for layer in layers}
    assert found["depthwise"].sum() == 17
    assert found["spread"]["classifier.1"] == cells.spread_of(pair[0].get_submodule("classifier.1"))


def test_errors_with_their_scale_by_hand():
    ours = torch.tensor([[3.0, 4.0], [0.0, 2.0], [6.0, 8.0]])
    theirs = torch.tensor([[3.0, 4.5], [2.0, 2.0], [6.0, 6.0]])
    found = cells.with_scale(ours, theirs)
    assert found == {
        "largest error": 2,
        "largest feature": 8,
        "relative change": pytest.approx(0.2),
    }


def test_relative_change_has_no_unit():
    ours, theirs = torch.rand(2, 7, 5, generator=torch.Generator().manual_seed(0))
    found, scaled = (cells.with_scale(k * ours, k * theirs) for k in (1, 10))
    assert scaled["relative change"] == pytest.approx(found["relative change"])
    assert scaled["largest error"] == pytest.approx(10 * found["largest error"])


def test_mixed_takes_the_named_layers_and_no_others(pair):
    coarse = qn.quantize(pair[0], bits=4, granularity="tensor").model
    before = {name: value.clone() for name, value in pair[1].state_dict().items()}
    names = ["features.1.conv.0.0", "features.2.conv.0.0"]
    found = cells.mixed(pair[1], coarse, names).state_dict()
    for name, value in before.items():
        taken = coarse if name.rpartition(".")[0] in names else pair[1]
        assert torch.equal(found[name], taken.state_dict()[name])
        assert torch.equal(pair[1].state_dict()[name], value)  # the caller's stays as it was
    assert not torch.equal(found[f"{names[1]}.weight"], before[f"{names[1]}.weight"])


# -- what the prose says of the real network -------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    network = qn.fold(qn.load(REAL, weights="imagenet"))
    grids = ("channel", "tensor")
    return network, {g: qn.quantize(network, bits=8, granularity=g).model for g in grids}


def change(network, other, count=3):
    box = qn.preprocessing(REAL, "imagenet")
    crops = qn.photographs("test", preprocessing=box, count=count, seed=1)
    ours, theirs = (cells.answers(each, crops) for each in (network, other))
    return cells.with_scale(ours, theirs)["relative change"]


@pytest.mark.medium
def test_one_scale_per_tensor_fails_and_two_layers_do_it(real):
    network, copies = real
    table = cells.spreads(network)
    two = list(table["spread"].nlargest(2).index)
    assert list(table["depthwise"][two]) == [False, True]
    pair = copies["channel"], copies["tensor"]
    rest = table.index.difference(two)
    fine, coarse = (change(network, copy) for copy in pair)
    blamed, others = (change(network, cells.mixed(*pair, names)) for names in (two, rest))
    assert fine < 0.3 and others < 0.3 < 0.7 < blamed and coarse > 0.7


@pytest.mark.medium
def test_one_row_sets_the_largest_norm(real):
    layer = real[0].get_submodule("features.2.conv.0.0")
    sums = layer.weight.detach().abs().flatten(1).sum(1).sort(descending=True).values
    structure = qn.profile(real[0], real[0], input_shape=(1, 3, 224, 224))
    assert max(x.norm for x in structure.layers) == pytest.approx(sums[0].item(), rel=1e-9)
    assert sums[0] > 20 * sums[1]


def test_caps_of_the_real_network_forget_the_quantizer(real):
    options = {"input_shape": (1, 3, 224, 224), "radius": 2.64, "clip_relu6": True}
    for copy in real[1].values():
        assert vector_bound(real[0], copy, **options).max() == pytest.approx(np.log10(6), abs=1e-9)
        found = cells.capped(real[0], copy, D=2.64)
        assert found["e"].iloc[-1] == 6
