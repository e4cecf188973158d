"""What is stored for a layer: the numbers that say what rounding did to it, and files.

A quantized network that was saved comes back bit for bit, or not at all.
"""

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

import qnotes as qn
from tests.quantization.layers import normal, stored

SCHEMES = [
    {"bits": 4},
    {"bits": 8, "granularity": "tensor", "symmetric": False},
    {"bits": 3, "granularity": "group", "group_size": 7},
    {"bits": 3, "clip": "percentile", "percentile": 80},
    {"bits": 4, "grid": "log2"},
    {"bits": 2, "grid": "kmeans"},
]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_numbers_by_their_definitions(scheme):
    weight = normal(5, 30)
    layer = stored(weight, **scheme)
    change = weight - layer.weight
    assert layer.gap == change.abs().max()
    assert layer.gap_norm == pytest.approx(change.abs().sum(1).max().item())
    assert layer.snr == pytest.approx(
        10 * math.log10(weight.square().sum() / change.square().sum())
    )


def test_a_profile_sees_the_same_gaps():
    folded = qn.fold(qn.load("resnet20"))
    quant = qn.quantize(folded, bits=4)
    profile = qn.profile(folded, quant.model, input_shape=(1, 1, 32, 32))
    by_name = {layer.name: layer for layer in profile.layers}
    for name, layer in quant.layers.items():
        if name in by_name:
            assert by_name[name].gap == pytest.approx(layer.gap, rel=1e-9)
            assert by_name[name].gap_norm == pytest.approx(layer.gap_norm, rel=1e-9)


def test_share_of_clipped_weights():
    weight = torch.arange(1.0, 101.0, dtype=torch.float64)[None]
    layer = stored(weight, bits=8, clip="percentile", percentile=80)
    assert layer.clipped == pytest.approx(0.2)
    assert stored(weight, bits=8).clipped == 0


def test_storage():
    weight = normal(4, 10)
    assert stored(weight, bits=3).storage_bits == 40 * 3 + 4 * 32
    assert stored(weight, bits=3, granularity="tensor").storage_bits == 40 * 3 + 32
    affine = stored(weight, bits=3, symmetric=False)
    assert affine.storage_bits == 40 * 3 + 4 * (32 + 3)
    groups = stored(weight, bits=3, granularity="group", group_size=4)
    assert groups.storage_bits == 40 * 3 + 12 * 32
    assert stored(weight, bits=1, grid="kmeans").storage_bits == 40 + 4 * 2 * 32


def test_storage_of_a_network_counts_biases():
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 5, bias=False)).eval()
    assert qn.quantize(network, bits=4).storage_bits == (6 + 10) * 4 + (2 + 5) * 32 + 2 * 32
    small = qn.quantize(network, bits=4, bias_bits=8)
    assert small.storage_bits == (6 + 10) * 4 + (2 + 5) * 32 + 2 * 8 + 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_weights(dtype):
    layer = stored(torch.zeros(2, 3, dtype=dtype), bits=4)
    assert (layer.weight == 0).all() and layer.gap == 0 and layer.snr == math.inf


# -- on disk ---------------------------------------------------------------------------------------

ON_DISK = [
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


@pytest.mark.parametrize("scheme", ON_DISK)
def test_there_and_back(scheme, tmp_path):
    reference = network()
    quant = qn.quantize(reference, **scheme)
    qn.save_quantized(quant, tmp_path / "small.4bit")
    assert [p.name for p in tmp_path.iterdir()] == ["small.4bit.safetensors"]
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
    with pytest.raises(qn.QnotesError, match=r"there is no .*small\.safetensors; save a quantized"):
        qn.load_quantized(tmp_path / "small", network())


def test_damaged_files(tmp_path):
    path, file = tmp_path / "small", tmp_path / "small.safetensors"
    qn.save_quantized(qn.quantize(network()), path)
    content = file.read_bytes()
    damaged = {
        content[:-1] + bytes([content[-1] ^ 1]): "its tensors are not those that were saved",
        content[:-1]: r"small\.safetensors is damaged",
        content.replace(b"format", b'fo"mat'): r"small\.safetensors is damaged",
        save({}): "not of a quantized network, format 1",
        save({}, {"qnotes": json.dumps({"format": 99})}): "not of a quantized network, format 1",
        save({}, {"qnotes": "{"}): r"small\.safetensors is damaged",
    }
    for held, message in damaged.items():
        file.write_bytes(held)
        with pytest.raises(qn.QnotesError, match=message):
            qn.load_quantized(path, network())


def test_whoever_reads_the_file_needs_no_weights(tmp_path):
    """What is no tensor is in the file's own metadata, and what rounding did too."""
    quant = qn.quantize(network(), bits=3)
    qn.save_quantized(quant, tmp_path / "small")
    with safe_open(tmp_path / "small.safetensors", "pt") as held:
        about = json.loads(held.metadata()["qnotes"])
    assert about["scheme"] == quant.scheme
    assert {n: facts["gap"] for n, facts in about["layers"].items()} == {
        name: layer.gap for name, layer in quant.layers.items()
    }


def test_another_network(tmp_path):
    qn.save_quantized(qn.quantize(network()), tmp_path / "small")
    longer = nn.Sequential(*network(), nn.ReLU(), nn.Linear(3, 3)).eval()
    with pytest.raises(qn.QnotesError, match="holds the layers 0, 3; the network has 0, 3, 5"):
        qn.load_quantized(tmp_path / "small", longer)
    wider = nn.Sequential(nn.Conv2d(2, 4, 3), *list(network())[1:]).eval()
    with pytest.raises(qn.QnotesError, match=r"0: the file has a weight of shape \(4, 1, 3, 3\)"):
        qn.load_quantized(tmp_path / "small", wider)
