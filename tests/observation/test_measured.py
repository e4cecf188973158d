"""The error on given inputs, and accuracy."""

import pytest
import torch
from torch import nn

import qnotes as qn


def test_accuracy():
    network = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False)).eval()
    network[1].weight.data.copy_(torch.eye(2))
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert qn.accuracy(network, inputs, torch.tensor([0, 1, 1, 1])) == 0.75


def test_output_errors_in_batches():
    network = qn.fold(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval())
    changed, shape = qn.quantize(network, bits=3).model, (1, 4)
    inputs = qn.random_inputs(shape, count=150)
    together = qn.output_errors(network, changed, inputs)
    alone = [qn.output_errors(network, changed, x[None]).item() for x in inputs]
    assert together.tolist() == pytest.approx(alone, rel=1e-9)


def test_input_that_cannot_be_measured():
    network = qn.fold(nn.Sequential(nn.Linear(2, 3)).eval())
    single, inputs = qn.fold(nn.Sequential(nn.Linear(2, 1)).eval()), torch.zeros(4, 2)
    with pytest.raises(qn.QnotesError, match=r"pass its \.model"):
        qn.output_errors(network, qn.quantize(network), inputs)
    with pytest.raises(qn.QnotesError, match="inputs must be a tensor"):
        qn.outputs(network, [0.0, 0.0])
    # Broadcast, these would have given numbers that mean nothing.
    with pytest.raises(qn.QnotesError, match=r"\(4, 3\) and \(4, 1\)"):
        qn.output_errors(network, single, inputs)
    for labels in (torch.zeros(4, 1), torch.zeros(1), torch.tensor(0)):
        with pytest.raises(qn.QnotesError, match="labels must be"):
            qn.accuracy(network, inputs, labels)
    with pytest.raises(qn.QnotesError, match="at least one input"):
        qn.accuracy(network, inputs[:0], torch.zeros(0))
