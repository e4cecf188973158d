"""What has no values is refused by name, wherever it comes in.

`meta` stands for a device here: no test machine has a GPU. What comes on another device is
copied to where it is needed, which only such a machine could show.
"""

import pytest
import torch
from torch import nn

import qnotes as qn

SHAPE = (1, 1, 6, 6)


def network(device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3, device=device), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(48, 4, device=device)).eval()


INPUTS, LABELS = torch.zeros(SHAPE), torch.zeros(1, dtype=torch.long)
NOWHERE = INPUTS.to("meta")
SHORT = {"steps": 1, "samples": 2, "starts": 1}
SURE = {"fraction": 0.5, "confidence": 0.5}


def exported():
    return torch.export.export(network("meta"), (torch.zeros(SHAPE, device="meta"),))


#: What is called with a network and its quantized copy.
OF_INPUTS = {
    "inputs": lambda x, ours, its: qn.output_errors(ours, its, x),
    "inputs of accuracy": lambda x, ours, its: qn.accuracy(ours, x, LABELS),
    "inputs of a sample": lambda x, ours, its: qn.tolerance(ours, its, x, **SURE),
    "inputs of statistics": lambda x, ours, its: qn.measured_statistics(ours, x),
    "inputs of a correction": lambda x, ours, its: qn.correct_bias(ours, its, inputs=x),
    "images": lambda x, ours, its: qn.observe(ours, its, input_shape=SHAPE, images=x, **SHORT),
    "images to train on": lambda x, ours, its: qn.finetune(ours, x, LABELS, bits=4, epochs=1),
    "center": lambda x, ours, its: qn.observe(ours, its, center=x, **SHORT),
    "center of a ball": lambda x, ours, its: qn.certify(ours, its, center=x, radius=0.1),
    "calibration": lambda x, ours, its: qn.quantize(
        ours, bits=4, rounding="adaptive", calibration=x
    ),
}


@pytest.mark.parametrize("other", [NOWHERE, INPUTS.to_sparse(), INPUTS.to(torch.complex64)])
@pytest.mark.parametrize("name", OF_INPUTS)
def test_inputs_without_real_values(name, other):
    folded = qn.fold(network())
    what = f"{name.split()[0]} (must be|holds|has)"
    with pytest.raises(qn.QnotesError, match=what):
        OF_INPUTS[name](other, folded, qn.quantize(folded, bits=4).model)


OF_NETWORKS = {
    "fold": lambda net: qn.fold(net),
    "quantize": lambda net: qn.quantize(net),
    "profile": lambda net: qn.profile(net, net, input_shape=SHAPE),
    "certify": lambda net: qn.certify(net, net, input_shape=SHAPE),
    "observe": lambda net: qn.observe(net, net, input_shape=SHAPE),
    "outputs": lambda net: qn.outputs(net, INPUTS),
    "tolerance": lambda net: qn.tolerance(net, net, INPUTS, **SURE),
    "equalize": lambda net: qn.equalize(net),
    "finetune": lambda net: qn.finetune(net, INPUTS, LABELS, bits=4),
    "from_export": lambda net: qn.from_export(exported()),
}


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_networks_without_values(name):
    with pytest.raises(qn.QnotesError, match=r"^\w+(\.weight)?: .*on the meta device"):
        OF_NETWORKS[name](network("meta"))


@pytest.mark.parametrize("device", ["meta", "cuda:99", "nowhere"])
def test_devices_that_cannot_compute(device):
    folded = qn.fold(network())
    with pytest.raises(qn.QnotesError, match=f"device='{device}' cannot compute in float64 here"):
        qn.observe(folded, folded, input_shape=SHAPE, device=device)
