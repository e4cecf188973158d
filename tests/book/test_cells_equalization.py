"""Equalization compared: the numbers of a small network by hand, and what must not change."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from tests.book.cells import definitions

rescaled = definitions(
    "equalization",
    "variants",
    "same_function",
    "layer_norms",
    "compare",
    "mean_of_others",
    "path_norm",
    "reached",
    "measured",
    "balance",
    "where",
    "mean_form",
    "scramble",
    "parts",
    "rescaled",
    "place",
    "decades",
    setup={"methods": ["cle", "path", "even"]},
)


@pytest.fixture
def network() -> nn.Module:
    """Two layers without biases, both of norm 4; the path norm is 3."""
    layers = [nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)]
    made = nn.Sequential(*layers).double().eval()
    made[0].weight.data = torch.tensor([[4.0], [0.5]], dtype=torch.float64)
    made[2].weight.data = torch.tensor([[0.25, 4.0]], dtype=torch.float64)
    return qn.fold(made)


IMAGES = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]


def test_norms_of_each_method_by_hand(network):
    found = rescaled.layer_norms(network, (1, 1))
    assert list(found) == ["none", "cle", "path", "even"] and list(found.index) == [1, 2]
    np.testing.assert_allclose(found["none"], [4, 4.25])
    # Units of largest weight √(r c): 1 and √2 on both sides.
    np.testing.assert_allclose(found["cle"], [math.sqrt(2), 1 + math.sqrt(2)])
    np.testing.assert_allclose(found["path"], [1, 3])
    np.testing.assert_allclose(found["even"], [math.sqrt(3)] * 2)


def test_the_rescaling_of_T9_reaches_the_path_norm_and_path_norm_is_that_of_the_product():
    torch.manual_seed(0)
    layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)]
    dense = qn.fold(nn.Sequential(*layers).eval())
    matrices = [m.weight.detach().numpy() for m in dense.modules() if isinstance(m, nn.Linear)]
    v = rescaled.reached(matrices)
    inside = [*v[:-1], np.ones(2)]
    norms = [
        (abs(W) * before / after[:, None]).sum(axis=1).max()
        for W, before, after in zip(matrices, inside[:-1], inside[1:], strict=True)
    ]
    np.testing.assert_allclose(norms[:-1], 1)
    first, second, third = map(abs, matrices)
    expected = (third @ second @ first).sum(axis=1).max()
    np.testing.assert_allclose([np.prod(norms), v[-1].max()], expected)
    assert math.isclose(rescaled.path_norm(dense, (1, 3)), math.log10(expected), rel_tol=1e-12)
    assert all((matrix < 0).any() for matrix in matrices)  # the network was left alone


def test_a_comparison_has_a_row_a_variant_and_its_numbers(network):
    labels = torch.zeros(len(IMAGES), dtype=torch.int64)
    table = rescaled.compare(
        network, bits=4, images=IMAGES, labels=labels, strengths=(0.5, 1.0), methods=("cle",)
    )
    keys = list(table[["method", "strength", "granularity"]].itertuples(index=False, name=None))
    assert keys == [
        (method, strength, granularity)
        for method, strength in (("none", 0.0), ("cle", 0.5), ("cle", 1.0))
        for granularity in ("tensor", "channel")
    ]
    np.testing.assert_allclose(table["path norm"], math.log10(3))
    assert (table["accuracy"] == 1).all() and (table["largest error"] > 0).all()
    worst = table[["mean form", "product form", "T2"]].min(axis=1)
    assert (np.log10(table["largest error"]) <= worst + 1e-6).all()
    assert (table["mean form"] >= table["product form"] - 1e-12).all()


def test_no_accuracy_without_labels(network):
    table = rescaled.compare(network, bits=4, images=IMAGES, methods=("even",))
    assert table["accuracy"].isna().all()


def test_path_and_even_round_to_the_same_function_where_a_region_has_two_layers():
    torch.manual_seed(0)
    layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)]
    network = qn.fold(nn.Sequential(*layers).eval())
    images = qn.random_inputs((1, 3), count=16)
    found = rescaled.same_function(network, images, bits=3)
    assert list(found.index) == ["cle", "path", "even", "path and even, rounded"]
    assert (found < 1e-12).all()


def test_relu6_is_replaced_in_all_variants():
    layers = [nn.Linear(1, 2), nn.ReLU6(), nn.Linear(2, 1)]
    network = qn.fold(nn.Sequential(*layers).eval())
    for _, _, equalized in rescaled.variants(network):
        assert not any(isinstance(module, nn.ReLU6) for module in equalized.model.modules())


def test_mean_of_others():
    assert rescaled.mean_of_others(np.array([1.0, 5.0, 3.0])) == 4
    assert rescaled.mean_of_others(np.array([7.0])) == 1


def test_errors_have_a_scale():
    reference = torch.tensor([[3.0, 4.0], [0.0, 2.0], [6.0, 8.0]])
    moved = torch.tensor([[4.0, 3.0], [0.0, 2.0], [6.0, 3.0]])
    found = rescaled.measured(reference, moved, torch.tensor([1, 1, 1]))
    assert found["largest error"] == 5 and found["median error"] == 1 and found["size"] == 4
    assert math.isclose(found["relative change"], math.sqrt(2) / 5)  # the reference has length 5
    assert found["agreement"] == 1 / 3
    assert found["accuracy"] == 1 / 3 and found["reference accuracy"] == 1.0


def test_balance_by_hand(network):
    found = rescaled.balance(network, qn.equalize(network))
    # Factors 1/4 and the square root of 8; the median of two numbers is the smaller one in torch.
    logs = np.log10([0.25, math.sqrt(8)])
    assert found["ratio"].tolist() == [8.0]
    np.testing.assert_allclose(found["spread"], np.std(logs))


def test_where_tells_biases_from_weights(network):
    network.get_submodule("0").bias = nn.Parameter(torch.tensor([0.0, 9.5], dtype=torch.float64))
    found = rescaled.where(network, (1, 1))
    assert found["largest norm"] == pytest.approx(10) and found["in"] == "0"
    assert found["largest bias"] == pytest.approx(9.5)
    assert math.isclose(found["product"], math.log10(42.5), rel_tol=1e-9)
    assert math.isclose(found["product without biases"], math.log10(4 * 4.25))
    assert math.isclose(found["mean form"], 1)
    assert math.isclose(found["share of the sum"], 10 / 14.25)


@pytest.fixture(scope="module")
def before_and_after():
    """By network: decades of the bounds at 8 bits per tensor, as it is and after CLE."""
    found = {}
    for name in ("mobilenet_v2_features", "efficientnet_lite0"):
        folded, radius = qn.fold(qn.load(name, weights="imagenet")), 2.64
        for strength in (0.0, 1.0):
            model = qn.equalize(folded, relu6="relu", strength=strength).model
            rounded = qn.quantize(model, bits=8, granularity="tensor").model
            shape = qn.input_shape(name, "imagenet")
            profile = qn.profile(model, rounded, input_shape=shape, radius=radius)
            split = rescaled.where(model, shape)
            found[name, strength] = split | rescaled.decades(profile)
    return found


@pytest.mark.medium
def test_cle_tightens_every_bound_of_the_mobilenet_trained_on_imagenet(before_and_after):
    before, after = (before_and_after["mobilenet_v2_features", s] for s in (0.0, 1.0))
    for bound in ("P2", "mean form", "product form", "T2"):
        assert after[bound] < before[bound] - 3, bound
    assert before["in"] == "features.2.conv.0.0" and before["share of the sum"] > 0.5
    assert before["largest bias"] > before["largest norm"] / 2


@pytest.mark.medium
def test_cle_tightens_t2_but_not_t5_of_efficientnet_because_of_biases(before_and_after):
    before, after = (before_and_after["efficientnet_lite0", s] for s in (0.0, 1.0))
    assert after["T2"] < before["T2"] - 3
    assert abs(after["P2"] - before["P2"]) < 0.5
    for bound in ("mean form", "product form"):
        assert after[bound] > before[bound], bound
    assert after["product without biases"] < before["product without biases"] - 3
    assert after["largest bias"] > 3 * before["largest bias"]


@pytest.mark.medium
def test_the_small_mobilenet_is_loosened_until_it_is_scrambled():
    """CLE brings one function to one place, from wherever it is written."""
    folded = qn.fold(qn.load("mobilenet_v2_x0_25"))
    shape = qn.input_shape("mobilenet_v2_x0_25")
    made = qn.equalize(folded, relu6="relu")

    def decades(network):
        return rescaled.where(network, shape)["mean form"]

    assert decades(made.reference) < decades(made.model)
    scrambled = rescaled.scramble(made.model, made.regions, spread=0.3, seed=0)
    images = qn.random_inputs(shape, count=2)
    torch.testing.assert_close(qn.outputs(scrambled, images), qn.outputs(made.model, images))
    assert decades(scrambled) > decades(made.model) + 5
    again = decades(qn.equalize(scrambled).model)
    assert again == pytest.approx(decades(made.model), abs=1e-6)


@pytest.mark.medium
def test_the_two_parts_of_CLE_make_the_whole_and_leave_the_function():
    folded = qn.fold(qn.load("mobilenet_v2_x0_25"))
    start = qn.equalize(folded, relu6="relu", strength=0.0).model
    whole = qn.equalize(folded, relu6="relu")
    x = qn.random_inputs((1, 1, 32, 32), count=1)
    between = rescaled.rescaled(start, whole, "between layers")
    both = rescaled.rescaled(between, whole, "within layers")
    for ours, theirs in zip(both.parameters(), whole.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9)
    assert torch.allclose(between(x), start(x), rtol=1e-6)
    assert any(
        not torch.allclose(ours, theirs, rtol=1e-2)
        for ours, theirs in zip(between.parameters(), start.parameters(), strict=True)
    )


def test_parts_of_factors():
    d = torch.tensor([1.0, 4.0, 16.0], dtype=torch.float64)
    found = rescaled.parts(d)
    assert torch.allclose(found["between layers"], torch.full((3,), 4.0, dtype=torch.float64))
    assert torch.allclose(found["within layers"] * found["between layers"], d)


@pytest.mark.medium
def test_places_in_a_block():
    layers = qn.stored_profile("open_nsfw", bits=8).layers[1:-1]
    kinds = [rescaled.place(layer) for layer in layers]
    assert kinds == ["first 1×1", "3×3", "last 1×1"] * 16
    mobile = qn.fold(qn.load("mobilenet_v2_features", weights="imagenet"))
    shape = qn.input_shape("mobilenet_v2_features", "imagenet")
    layers = qn.profile(mobile, mobile, input_shape=shape).layers[1:-1]
    found = [rescaled.place(layer) for layer in layers]
    assert found == ["3×3", "last 1×1"] + ["first 1×1", "3×3", "last 1×1"] * 16
