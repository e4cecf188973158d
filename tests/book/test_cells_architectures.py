"""Residual blocks written out as matrices, against the blocks themselves."""

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from tests.book.cells import definitions

cells = definitions("architectures", "Block", "two_matrices", "kinds", "joins", "channels_apart")


@pytest.fixture(params=["identity", "projection"])
def block(request):
    torch.manual_seed(1)
    if request.param == "identity":
        return cells.Block(2, 2).double().eval(), (2, 4, 4)
    return cells.Block(1, 2, stride=2).double().eval(), (1, 6, 6)


def test_norms_and_fan_ins_are_those_of_the_profile(block):
    module, shape = block
    layers = qn.profile(module, module, input_shape=(1, *shape)).layers
    for layer, matrix in zip(layers, cells.two_matrices(*block), strict=True):
        assert np.isclose(layer.norm, np.abs(matrix).sum(1).max(), rtol=1e-12)
    assert [layer.fan_in for layer in layers] == [
        module.W1.weight[0].numel(),
        module.W2.weight[0].numel() + sum(p[0].numel() for p in module.P.parameters()),
    ]


def test_the_two_matrices_compute_the_block(block):
    """Matrices and ReLU by hand give what the block gives."""
    module, shape = block
    inner, outer = cells.two_matrices(module, shape)
    x = torch.rand(1, *shape, dtype=torch.float64)
    state, hidden = inner @ x.numpy().ravel(), len(inner) - x.numel()
    state = np.concatenate([np.maximum(state[:hidden], 0), state[hidden:]])
    expected = qn.outputs(module, x).numpy().ravel()
    np.testing.assert_allclose(np.maximum(outer @ state, 0), expected, atol=1e-12)


def test_joined_norms_are_at_most_the_sum_of_norms():
    folded = qn.fold(qn.load("resnet20"))
    profile = qn.profile(folded, folded, input_shape=(1, 1, 32, 32))
    table = cells.joins(folded, profile)
    assert len(table) == 2
    assert (table["row by row"] <= table["sum of norms"]).all()
    kinds = cells.kinds(folded, profile)
    assert kinds.count("a skip connection joins") == 9


def test_kinds_of_mobilenet():
    folded = qn.fold(qn.load("mobilenet_v2_x0_25"))
    profile = qn.profile(folded, folded, input_shape=(1, 1, 32, 32))
    assert cells.kinds(folded, profile).count("depthwise") == 17
    # How the chapter counts identity skips: entries of a row that are no weights.
    assert profile.depth == 53
    assert sum(layer.row - layer.fan_in for layer in profile.layers) == 12


def test_channels_apart_is_the_median_of_the_layers():
    layers = nn.Sequential(*(nn.Conv2d(1, 3, 1) for _ in range(3)))
    for layer, loud in zip(layers, (1.0, 4.0, 9.0), strict=True):
        layer.weight.data[:, 0, 0, 0] = torch.tensor([1.0, -1.0, loud])
    assert cells.channels_apart(layers) == 4
