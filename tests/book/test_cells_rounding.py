"""What rounding does to layers, and the bits that T12 asks for."""

import copy
import math

import pytest
import torch

import qnotes as qn
from tests.book.cells import definitions

SHAPE = (1, 1, 32, 32)
cells = definitions(
    "rounding", "on_grids", "outlier_table", "half_step_excess", "gaps", "bits_needed"
)


@pytest.fixture(scope="module")
def folded():
    return qn.fold(qn.load("resnet20"))


@pytest.mark.parametrize("bits", [2, 8])
def test_gaps_agree_with_the_profile(folded, bits):
    quantized = qn.quantize(folded, bits=bits)
    table = cells.gaps(folded, quantized).set_index("name")
    for layer in qn.profile(folded, quantized.model, input_shape=SHAPE).layers:
        if layer.name in table.index:
            row = table.loc[layer.name]
            assert row["fan_in"] == layer.fan_in
            assert math.isclose(row["gap"], layer.gap, rel_tol=1e-12)
            assert math.isclose(row["gap_norm"], layer.gap_norm, rel_tol=1e-12)
    assert (table["steps"] <= 0.5).all()
    assert (table["filled"] <= 1).all()


def test_five_weights_by_hand():
    weights = torch.tensor([[-0.42, -0.1, 0.07, 0.55, 0.9]], dtype=torch.float64)
    codes, _, _ = cells.on_grids(weights, 3)
    assert codes.tolist() == [[-1, 0, 0, 2, 3]]
    codes, _, zero = cells.on_grids(weights, 3, symmetric=False)
    assert codes.tolist() == [[-4, -3, -2, 1, 3]]
    assert zero.item() == -2


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_quantizer_of_the_chapter_is_that_of_the_package(folded, symmetric):
    for name, stored in qn.quantize(folded, bits=5, symmetric=symmetric).layers.items():
        weight = folded.get_submodule(name).weight.detach().flatten(1)
        codes, scale, zero = cells.on_grids(weight, 5, symmetric)
        assert torch.equal(codes, stored.codes.flatten(1).double()), name
        assert torch.allclose(scale.flatten(), stored.scale, rtol=1e-12, atol=0), name
        assert torch.equal(zero.flatten(), stored.zero_point.double()), name


def test_outlier_ruins_the_grid_of_the_tensor_only():
    weight = torch.linspace(-1, 1, 40, dtype=torch.float64).view(4, 10)
    table = cells.outlier_table(weight, [1, 1000], bits=4)
    zeros = table.set_index(["granularity", "factor"])["zeros"]
    assert zeros["tensor", 1000] == 1
    assert zeros["channel", 1000] < 0.5


def test_half_step_is_broken_in_single_precision_only(folded):
    assert cells.half_step_excess(folded, qn.quantize(folded, bits=16)) <= 1e-9
    single = copy.deepcopy(folded).float()
    assert cells.half_step_excess(single, qn.quantize(single, bits=16)) > 0


def test_bits_needed_are_enough(folded):
    """With the bits that a bound asks for, the bound of the quantized network is below τ."""
    bits = math.ceil(cells.bits_needed(folded, SHAPE, 1e25)["T2"].item())
    assert bits <= 16
    quantized = qn.quantize(folded, bits=bits, granularity="tensor")
    ladder = qn.bounds(qn.profile(folded, quantized.model, input_shape=SHAPE))
    assert ladder.set_index("theorem").loc["T2", "log10"] <= 25


def test_more_is_asked_for_smaller_errors(folded):
    more = cells.bits_needed(folded, SHAPE, 0.5) - cells.bits_needed(folded, SHAPE, 1.0)
    assert (more.round(6) == 1).all()


def test_networks_are_left_alone(folded):
    before = {name: value.clone() for name, value in folded.state_dict().items()}
    cells.bits_needed(folded, SHAPE, 1.0)
    assert all(torch.equal(value, folded.state_dict()[name]) for name, value in before.items())
