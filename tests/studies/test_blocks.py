"""Residual blocks written out as matrices, against the blocks themselves."""

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.studies import blocks


@pytest.fixture(params=["identity", "projection"])
def block(request):
    if request.param == "identity":
        return blocks.basic_block(2, 2, seed=1)
    return blocks.basic_block(1, 2, stride=2, size=6, seed=1)


def test_norms_and_fan_ins_are_those_of_the_profile(block):
    layers = qn.profile(block["module"], block["module"], input_shape=block["shape"]).layers
    for layer, key in zip(layers, ("inner", "outer"), strict=True):
        assert np.isclose(layer.norm, blocks.row_sums(block[key]).max(), rtol=1e-12)


def test_the_two_matrices_compute_the_block(block):
    """Matrices, biases and ReLU by hand give what the block gives."""
    module, shape = block["module"], block["shape"]
    x = torch.rand(shape, dtype=torch.float64)
    state = block["inner"] @ x.numpy().ravel()
    hidden = state[: block["hidden"]] + _bias(module, "conv1", block["hidden"])
    state = np.concatenate([np.maximum(hidden, 0), state[block["hidden"] :]])
    total = block["outer"] @ state + _bias(module, "conv2", len(block["outer"]))
    if "shortcut.0" in dict(module.named_modules()):
        total += _bias(module, "shortcut.0", len(block["outer"]))
    expected = qn.outputs(module, x).numpy().ravel()
    np.testing.assert_allclose(np.maximum(total, 0), expected, atol=1e-12)


def _bias(module: nn.Module, name: str, size: int) -> np.ndarray:
    bias = module.get_submodule(name).bias.detach().numpy()
    return np.repeat(bias, size // len(bias))


def test_joined_norms_are_at_most_the_sum_of_norms():
    folded = qn.fold(qn.load("resnet20"))
    profile = qn.profile(folded, folded, input_shape=(1, 1, 32, 32))
    table = blocks.joins(folded, profile)
    assert len(table) == 2
    assert (table["row by row"] <= table["sum of norms"]).all()
    kinds = blocks.kinds(folded, profile)
    assert kinds.count("a skip connection joins") == 9


def test_kinds_of_mobilenet():
    folded = qn.fold(qn.load("mobilenet_v2_x0_25"))
    kinds = blocks.kinds(folded, qn.profile(folded, folded, input_shape=(1, 1, 32, 32)))
    assert kinds.count("depthwise") == 17
    links = blocks.links(folded, (1, 1, 32, 32))
    assert (len(links), sum(link.identities for link in links)) == (53, 12)
