"""Norms, path norms and stretches, against matrices multiplied out."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.errors import UnsupportedOperation
from qnotes.studies import stretching


@pytest.fixture
def dense():
    torch.manual_seed(0)
    layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)]
    return qn.fold(nn.Sequential(*layers).eval())


def matrices(network):
    return [m.weight.detach().numpy() for m in network.modules() if isinstance(m, nn.Linear)]


def test_norms_are_row_sums(dense):
    expected = [abs(matrix).sum(1).max() for matrix in matrices(dense)]
    np.testing.assert_allclose(stretching.norms(dense, (1, 3))["weights"], expected, rtol=1e-13)


def test_path_norm_is_that_of_the_product(dense):
    first, second, third = map(abs, matrices(dense))
    expected = (third @ second @ first).sum(1).max()
    assert math.isclose(stretching.path_norm(dense, (1, 3)), math.log10(expected), rel_tol=1e-12)


def test_best_rescaling_reaches_the_path_norm(dense):
    v, product = np.ones(3), 1.0
    for number, matrix in enumerate(map(abs, matrices(dense)), start=1):
        grown = matrix @ v
        scaled = matrix * v / (grown[:, None] if number < 3 else 1)
        product, v = product * scaled.sum(1).max(), grown
    assert math.isclose(math.log10(product), stretching.path_norm(dense, (1, 3)), rel_tol=1e-12)


def test_path_norm_refuses_relu6():
    network = qn.fold(nn.Sequential(nn.Linear(2, 2), nn.ReLU6(), nn.Linear(2, 1)).eval())
    with pytest.raises(UnsupportedOperation, match="ReLU6"):
        stretching.path_norm(network, (1, 2))


def test_no_layer_stretches_beyond_its_norm():
    network = qn.fold(qn.load("resnet20"))
    inputs = qn.random_inputs((1, 1, 32, 32), count=4)
    table = stretching.stretches(network, inputs)
    assert len(table) == 22  # 20 layers and two projections
    assert (table["largest"] <= table["norm"] * (1 + 1e-5)).all()
    assert (table["median"] <= table["largest"]).all()


def test_rescaling_keeps_the_function_and_changes_norms():
    parameters = {"inner": [4.0, -0.5], "bias": [-1.0, 0.5], "outer": [0.5, 1.6]}
    points = np.linspace(-1, 1, 101)
    curves = [
        stretching.curve(stretching.small_network(**which), points)
        for which in (parameters, stretching.rescaled(**parameters, factors=[0.25, 2]))
    ]
    np.testing.assert_allclose(*curves, rtol=0, atol=1e-14)
    table = stretching.rescaling_table(parameters, np.array([1 / 8, 1.0]), bits=[3])
    np.testing.assert_allclose(table["product"], [2.8, 8.4])
