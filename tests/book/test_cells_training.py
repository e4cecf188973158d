"""Networks before and after training: distances to levels, codes, parts exchanged."""

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from tests.book.cells import definitions

cells = definitions(
    "training", "in_steps", "recoded", "with_biases", "compare", "layer_norms", "straight_through"
)


def linear(*weights: float, bias: float = 0.0) -> nn.Module:
    made = nn.Sequential(nn.Flatten(), nn.Linear(len(weights), 2)).double().eval()
    made[1].weight.data = torch.tensor([weights, weights], dtype=torch.float64)
    made[1].weight.data[1] = 0  # a channel without a step
    made[1].bias.data = torch.tensor([bias, 1.0], dtype=torch.float64)
    return qn.fold(made)


def test_straight_through_is_the_staircase_forward_and_the_identity_backward():
    weight = torch.tensor([1.4, -2.7], requires_grad=True)
    used = cells.straight_through(weight, weight.round())
    used.sum().backward()
    assert used.tolist() == [1, -3] and weight.grad.tolist() == [1, 1]


def test_distances_in_steps():
    # With 3 bits the levels are whole numbers: 3 is the largest weight, and has code 3.
    network = linear(3, 1.25, -0.4)
    grid = qn.quantize(network, bits=3)
    np.testing.assert_allclose(cells.in_steps(network, grid.model, grid), [0, 0.25, 0.4])


def test_moves_in_steps_of_the_original():
    original = linear(3, 1.25, -0.4)
    grid = qn.quantize(original, bits=3)
    found = cells.in_steps(original, linear(3.5, 1.25, -0.9), grid)
    np.testing.assert_allclose(found, [0.5, 0, 0.5])


def test_share_of_other_codes():
    pair = [qn.quantize(linear(*w), bits=3) for w in ((3, 1.25, -0.4), (3, 1.75, -0.6))]
    assert cells.recoded(*pair) == 2 / 6


def test_parts_are_exchanged_and_nothing_else():
    nets = {"before": linear(3, 1.25, bias=1.0), "after": linear(3, 1.75, bias=2.0)}
    rounded = {when: qn.quantize(network, bits=3).model for when, network in nets.items()}
    for weights, code in (("before", 1), ("after", 2)):
        for biases, bias in (("before", 1), ("after", 2)):
            layer = cells.with_biases(rounded[weights], rounded[biases]).get_submodule("1")
            assert (layer.weight[0, 1].item(), layer.bias[0].item()) == (code, bias)
    for networks in (nets, rounded):
        assert [n.get_submodule("1").bias[0].item() for n in networks.values()] == [1, 2]


def test_comparison_with_both_references():
    original, network = linear(3, 1.25), linear(3, 2.0, bias=0.5)
    images = torch.ones(1, 1, 1, 2)
    labels = torch.tensor([0])
    table = cells.compare(original, {"it": network}, bits=[3], images=images, labels=labels)
    (row,) = table.to_dict("records")
    # Unrounded (5.5, 1), rounded the same; the original gives (4.25, 1).
    assert row["error"] == 0 and row["from original"] == 1.25 and row["size"] == 5.5
    assert row["rounded"] == row["unrounded"] == 1
    assert row["mean form"] == row["T2"] == -np.inf
    assert row["T2 from original"] >= np.log10(1.25)


def test_norms_count_biases():
    networks = {"original": linear(3, 1.25), "b": linear(3, 1, bias=2)}
    table = cells.layer_norms(networks, (1, 1, 1, 2))
    assert table.loc[1].tolist() == pytest.approx([4.25, 6])
