"""A quantized network that was saved comes back bit for bit, or not at all."""

import json

import pytest
import torch
from torch import nn

import qnotes as qn

SCHEMES = [
    {},
    {"bits": 3, "granularity": "group", "group_size": 5, "symmetric": False},
    {"grid": "log2", "bits": 4},
    {"grid": "kmeans", "bits": 2},
    {"bits": 4, "bias_bits": 8},
]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3, bias=False))
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_there_and_back(scheme, tmp_path):
    reference = network()
    quant = qn.quantize(reference, **scheme)
    qn.save_quantized(quant, tmp_path / "small.4bit")
    assert {p.name for p in tmp_path.iterdir()} == {"small.4bit.safetensors", "small.4bit.json"}
    again = qn.load_quantized(tmp_path / "small.4bit", reference)
    assert again.scheme == quant.scheme and again.storage_bits == quant.storage_bits
    for name, weight in quant.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])
    for name, layer in quant.layers.items():
        read = again.layers[name]
        assert torch.equal(layer.codes, read.codes) and layer.codes.dtype == read.codes.dtype
        assert (layer.bits, layer.qmin, layer.qmax) == (read.bits, read.qmin, read.qmax)
        assert (layer.gap, layer.snr, layer.clipped) == (read.gap, read.snr, read.clipped)
    assert again.biases.keys() == quant.biases.keys()


def test_the_reference_stays_as_it_was(tmp_path):
    reference = network()
    before = {name: weight.clone() for name, weight in reference.state_dict().items()}
    qn.save_quantized(qn.quantize(reference, bits=2), tmp_path / "small")
    qn.load_quantized(tmp_path / "small", reference)
    assert all(torch.equal(before[name], now) for name, now in reference.state_dict().items())


def test_nothing_there(tmp_path):
    with pytest.raises(qn.QnotesError, match=r"there is no .*small\.json; save a quantized"):
        qn.load_quantized(tmp_path / "small", network())


def test_damaged_files(tmp_path):
    path = tmp_path / "small"
    qn.save_quantized(qn.quantize(network()), path)
    tensors = tmp_path / "small.safetensors"
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(qn.QnotesError, match="damaged or belongs to another"):
        qn.load_quantized(path, network())
    tensors.write_bytes(content)
    (tmp_path / "small.json").write_text("{")
    with pytest.raises(qn.QnotesError, match=r"small\.json is damaged"):
        qn.load_quantized(path, network())
    (tmp_path / "small.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(qn.QnotesError, match="not of a quantized network, format 1"):
        qn.load_quantized(path, network())


def test_another_network(tmp_path):
    qn.save_quantized(qn.quantize(network()), tmp_path / "small")
    longer = nn.Sequential(*network(), nn.ReLU(), nn.Linear(3, 3)).eval()
    with pytest.raises(qn.QnotesError, match="holds the layers 0, 3; the network has 0, 3, 5"):
        qn.load_quantized(tmp_path / "small", longer)
    wider = nn.Sequential(nn.Conv2d(2, 4, 3), *list(network())[1:]).eval()
    with pytest.raises(qn.QnotesError, match=r"0: the file has a weight of shape \(4, 1, 3, 3\)"):
        qn.load_quantized(tmp_path / "small", wider)
