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
