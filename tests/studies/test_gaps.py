"""What rounding does to layers, and the bits that T12 asks for."""

import math

import pytest
import torch

import qnotes as qn
from qnotes.studies import gaps

SHAPE = (1, 1, 32, 32)


@pytest.fixture(scope="module")
def folded():
    return qn.fold(qn.load("resnet20"))


@pytest.mark.parametrize("bits", [2, 8])
def test_gaps_agree_with_the_profile(folded, bits):
    quantized = qn.quantize(folded, bits=bits)
    table = gaps.gaps(folded, quantized).set_index("name")
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
    symmetric = gaps.stored(weights, bits=3)
    assert symmetric.codes.tolist() == [[-1, 0, 0, 2, 3]]
    affine = gaps.stored(weights, bits=3, symmetric=False)
    assert affine.codes.tolist() == [[-4, -3, -2, 1, 3]]
    assert affine.zero_point.item() == -2


def test_outlier_ruins_the_grid_of_the_tensor_only():
    weight = torch.linspace(-1, 1, 40, dtype=torch.float64).view(4, 10)
    table = gaps.outlier_table(weight, [1, 1000], bits=4)
    zeros = table.set_index(["granularity", "factor"])["zeros"]
    assert zeros["tensor", 1000] == 1
    assert zeros["channel", 1000] < 0.5


def test_half_step_is_broken_in_single_precision_only(folded):
    assert gaps.half_step_excess(folded, qn.quantize(folded, bits=16)) <= 1e-9
    single = qn.fold(qn.load("resnet20")).float()
    assert gaps.half_step_excess(single, qn.quantize(single, bits=16)) > 0


def test_bits_needed_are_enough(folded):
    """With the bits that a bound asks for, the bound of the quantized network is below τ."""
    found = gaps.bits_needed(folded, SHAPE, tolerances=[1e25])
    row = found[found["theorem"] == "T2"].iloc[0]
    bits = math.ceil(row["bits"])
    assert bits <= 16
    quantized = qn.quantize(folded, bits=bits, granularity="tensor")
    ladder = qn.bounds(qn.profile(folded, quantized.model, input_shape=SHAPE))
    assert ladder.set_index("theorem").loc["T2", "log10"] <= 25


def test_more_is_asked_for_smaller_errors(folded):
    found = gaps.bits_needed(folded, SHAPE, tolerances=[1.0, 0.5])
    bits = found.set_index(["theorem", "bound", "tolerance"])["bits"].unstack()
    assert ((bits[0.5] - bits[1.0]).round(6) == 1).all()
