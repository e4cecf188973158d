"""Norms, path norms and stretches, against matrices multiplied out."""

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from tests.book.cells import definitions

cells = definitions(
    "networks",
    "norm",
    "function",
    "rescaled",
    "rounded",
    "as_module",
    "rescaling_table",
    "layer_norms",
    "stretches",
    "A",
)


@pytest.fixture
def dense():
    torch.manual_seed(0)
    layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)]
    return qn.fold(nn.Sequential(*layers).eval())


def matrices(network):
    return [m.weight.detach().numpy() for m in network.modules() if isinstance(m, nn.Linear)]


def test_norms_are_row_sums(dense):
    expected = [abs(matrix).sum(1).max() for matrix in matrices(dense)]
    np.testing.assert_allclose(cells.layer_norms(dense, (1, 3))["weights"], expected, rtol=1e-13)
    assert [cells.norm(matrix) for matrix in matrices(dense)] == expected


def test_no_layer_stretches_beyond_its_norm():
    network = qn.fold(qn.load("resnet20"))
    inputs = qn.random_inputs((1, 1, 32, 32), count=4)
    table = cells.stretches(network, inputs)
    assert len(table) == 22  # 20 layers and two projections
    assert (table["largest"] <= table["norm"] * (1 + 1e-5)).all()
    assert (table["median"] <= table["largest"]).all()
    assert next(network.parameters()).dtype == torch.float64


def test_rescaling_keeps_the_function_and_changes_norms():
    points = np.linspace(-1, 1, 101)
    other = cells.rescaled(**cells.A, factors=np.array([0.25, 2]))
    curves = [cells.function(points, **which) for which in (cells.A, other)]
    np.testing.assert_allclose(*curves, rtol=0, atol=1e-14)
    table = cells.rescaling_table(cells.A, np.array([1 / 8, 1.0]), bits=[3])
    np.testing.assert_allclose(table["product"], [2.8, 8.4])


@pytest.mark.parametrize("bits", [3, 4])
def test_the_small_network_is_rounded_as_the_package_does_it(bits):
    points = np.linspace(-1, 1, 101)
    network = cells.as_module(**cells.A)
    for mine, parameters in (
        (network, cells.A),
        (
            qn.quantize(network, bits=bits, granularity="tensor").model,
            cells.rounded(**cells.A, bits=bits),
        ),
    ):
        theirs = qn.outputs(mine, torch.tensor(points)[:, None])[:, 0].numpy()
        np.testing.assert_allclose(theirs, cells.function(points, **parameters), atol=1e-12)
