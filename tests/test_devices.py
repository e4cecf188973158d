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


OF_BOTH = {
    "profile": lambda ours, its: qn.profile(ours, its, input_shape=SHAPE),
    "certify": lambda ours, its: qn.certify(ours, its, input_shape=SHAPE),
    "observe": lambda ours, its: qn.observe(ours, its, input_shape=SHAPE),
    "output_errors": lambda ours, its: qn.output_errors(ours, its, INPUTS),
    "tolerance": lambda ours, its: qn.tolerance(ours, its, INPUTS, **SURE),
}


@pytest.mark.parametrize("name", OF_BOTH)
def test_another_default_device(name):
    folded = qn.fold(network())
    quantized = qn.quantize(folded, bits=4).model
    with pytest.raises(qn.QnotesError, match=r"default device is meta.*set_default_device"):  # noqa: SIM117
        with torch.device("meta"):
            OF_BOTH[name](folded, quantized)


def test_modes_of_torch_change_nothing():
    """Without gradients a search would be a poor one, and autocast rounds what networks compute."""
    folded = qn.fold(network())
    quantized = qn.quantize(folded, bits=4).model
    inputs = qn.random_inputs(SHAPE, count=4)
    pair = [net.float() for net in (qn.fold(folded), qn.fold(quantized))]

    def found():
        seen = qn.observe(folded, quantized, input_shape=SHAPE, steps=4, samples=4, starts=1)
        return seen.error, qn.output_errors(*pair, inputs).max().item()

    expected = found()
    with torch.inference_mode():
        assert found() == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert found() == expected


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_where_gradients_are_off_and_images_have_colours(mode):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)
    folded = qn.fold(nn.Sequential(*layers).eval())
    images, labels = torch.rand(8, 3, 6, 6), torch.arange(8) % 2
    with mode():
        trained = qn.finetune(folded, images, labels, bits=4, epochs=1)
    changed = (trained.get_submodule("0").weight - folded.get_submodule("0").weight).abs()
    assert (changed.amax((0, 2, 3)) > 0).all()  # of every colour
