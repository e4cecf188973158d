"""What is stored for a layer, and the numbers that say what rounding did to it."""

import math

import pytest
import torch
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
