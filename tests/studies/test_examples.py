"""Networks made by hand: the plain mean fails where theory says, and matrices are the layers."""

import math

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.studies import costs, examples
from qnotes.theorems.T3_product_form import PRODUCT_FORM
from qnotes.theorems.T4_mean_form import MEAN_FORM
from qnotes.theorems.T5_layerwise_with_biases import MEAN_FORM_WITH_BIASES

CONVOLUTIONS = {
    "plain": (nn.Conv2d(2, 3, 3, padding=1), (1, 2, 5, 4)),
    "stride": (nn.Conv2d(2, 2, 3, padding=1, stride=2, bias=False), (1, 2, 6, 6)),
    "groups": (nn.Conv2d(4, 4, 3, groups=2), (1, 4, 4, 4)),
    "depthwise": (nn.Conv2d(3, 3, 3, padding=1, groups=3), (1, 3, 4, 4)),
    "one dimension": (nn.Conv1d(2, 3, 5, padding=2), (1, 2, 9)),
    "dilation": (nn.Conv2d(1, 2, (1, 3), dilation=2), (1, 1, 3, 6)),
}


def test_counterexample_of_the_plain_mean():
    pair = examples.two_layers(fan_ins=(1, 100), norms=(2.0, 0.01), gaps=(0.0, 1e-4))
    measured = qn.profile(*pair, input_shape=(1, 1))
    values = {
        "error": examples.corner_error(*pair),
        "T3": 10 ** PRODUCT_FORM.evaluate(measured),
        "T4": 10 ** MEAN_FORM.evaluate(measured),
        "plain": 10 ** costs.plain_mean(MEAN_FORM).evaluate(measured),
    }
    expected = {"error": 0.02, "T3": 0.02, "T4": 0.0202, "plain": 0.0101505}
    assert values == pytest.approx(expected, rel=1e-9)


def test_plain_mean_fails_exactly_where_the_larger_fan_in_has_the_smaller_norm():
    table = examples.plain_mean_map(octaves=2)
    assert ((table["plain"] < 1) == (table["norms"] * table["fan_ins"] > 0)).all()
    assert (table["ours"] >= 1).all()


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_matrix_is_the_convolution(kind):
    module, shape = CONVOLUTIONS[kind]
    module = module.double()
    x = torch.randn(shape, dtype=torch.float64)
    expected = module(x) - module(torch.zeros_like(x))
    found = examples.as_matrix(module, shape) @ x.flatten()
    torch.testing.assert_close(found, expected.flatten())


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_norm_and_fan_in_of_the_matrix_are_those_of_the_kernel(kind):
    module, shape = CONVOLUTIONS[kind]
    facts = examples.row_facts(examples.randomized(module, seed=1), shape)
    assert facts["in a row"] == facts["n"]
    assert facts["norm"] == pytest.approx(facts["filter"], rel=1e-12)


def test_norm_is_smaller_where_no_position_sees_the_whole_kernel():
    module = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    nn.init.ones_(module.weight)
    norms = [examples.row_facts(module, (1, 1, size, size))["norm"] for size in (1, 2, 3)]
    assert norms == [1, 4, 9]


@pytest.fixture(scope="module")
def resnet():
    folded = qn.fold(qn.load("resnet20"))
    quant = qn.quantize(folded, bits=8)
    return folded, qn.profile(folded, quant.model, input_shape=(1, 1, 32, 32))


def test_costs_lead_from_the_recursion_to_the_mean_form(resnet):
    _, measured = resnet
    found = costs.step_costs(measured)
    table = qn.bounds(measured).set_index(["theorem", "bound"])["log10"]
    expected = table["T5", "mean form"] - table["T2", "recursion along the chain"]
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(expected, abs=1e-9)


def test_plain_mean_is_never_too_small_by_more_than_e(resnet):
    _, measured = resnet
    wrong = costs.plain_mean(MEAN_FORM_WITH_BIASES).evaluate(measured)
    ours = MEAN_FORM_WITH_BIASES.evaluate(measured)
    assert 0 < ours - wrong < math.log10(math.e)


def test_fan_ins_by_layer(resnet):
    folded, measured = resnet
    table = examples.fan_ins(folded, measured)
    assert list(table["n"]) == [layer.fan_in for layer in measured.layers]
    assert (table["n"] == table["without groups"]).all()
    assert not table["depthwise"].any()
