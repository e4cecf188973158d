"""What the chapter on convolutions computes: matrices are the layers, kernels have their norms."""

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from tests.book.cells import definitions

cells = definitions("convolutions", "as_matrix", "numbered", "randomized", "row_facts", "fan_ins")

CONVOLUTIONS = {
    "plain": (nn.Conv2d(2, 3, 3, padding=1), (1, 2, 5, 4)),
    "stride": (nn.Conv2d(2, 2, 3, padding=1, stride=2, bias=False), (1, 2, 6, 6)),
    "groups": (nn.Conv2d(4, 4, 3, groups=2), (1, 4, 4, 4)),
    "depthwise": (nn.Conv2d(3, 3, 3, padding=1, groups=3), (1, 3, 4, 4)),
    "one dimension": (nn.Conv1d(2, 3, 5, padding=2), (1, 2, 9)),
    "dilation": (nn.Conv2d(1, 2, (1, 3), dilation=2), (1, 1, 3, 6)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_matrix_is_the_convolution(kind):
    module, shape = CONVOLUTIONS[kind]
    module = module.double()
    x = torch.randn(shape, dtype=torch.float64)
    expected = module(x) - module(torch.zeros_like(x))
    found = cells.as_matrix(module, shape) @ x.flatten().numpy()
    np.testing.assert_allclose(found, expected.flatten().detach().numpy(), atol=1e-12)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_norm_and_fan_in_of_the_matrix_are_those_of_the_kernel(kind):
    module, shape = CONVOLUTIONS[kind]
    facts = cells.row_facts(cells.randomized(module, seed=1), shape)
    assert facts["most in a row"] == facts["n"]
    assert facts["norm of the matrix"] == pytest.approx(facts["largest filter"], rel=1e-12)


def test_norm_is_smaller_where_no_position_sees_the_whole_kernel():
    module = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    nn.init.ones_(module.weight)
    facts = [cells.row_facts(module, (1, 1, size, size)) for size in (1, 2, 3)]
    assert [fact["norm of the matrix"] for fact in facts] == [1, 4, 9]


def test_numbers_of_a_kernel_walk_along_the_diagonal():
    matrix = cells.as_matrix(cells.numbered(nn.Conv1d(1, 1, 3)), (1, 1, 5))
    assert matrix.tolist() == [[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]]


def test_fan_ins_by_layer():
    folded = qn.fold(qn.load("resnet20"))
    quant = qn.quantize(folded, bits=8)
    measured = qn.profile(folded, quant.model, input_shape=(1, 1, 32, 32))
    table = cells.fan_ins(folded, measured)
    assert list(table["n"]) == [layer.fan_in for layer in measured.layers]
    assert (table["n"] == table["without groups"]).all()
    assert not table["depthwise"].any()
