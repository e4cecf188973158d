"""Quantizing whole networks: what changes, what does not, and what is refused."""

import pytest
import torch
from torch import nn

import qnotes as qn


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ).eval()


def test_weights_change_and_biases_do_not():
    folded = qn.fold(network())
    quant = qn.quantize(folded, bits=3)
    assert list(quant.layers) == ["0", "3"]
    for name in quant.layers:
        ours, theirs = folded.get_submodule(name), quant.model.get_submodule(name)
        assert not torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)
    assert quant.scheme == {
        "bits": 3,
        "granularity": "channel",
        "symmetric": True,
        "rounding": "nearest",
        "clip": "minmax",
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept(dtype):
    quant = qn.quantize(network().to(dtype))
    assert {p.dtype for p in quant.model.parameters()} == {dtype}
    assert quant.layers["0"].scale.dtype == dtype


def test_few_levels():
    quant = qn.quantize(network(), bits=2, granularity="tensor")
    for name, stored in quant.layers.items():
        assert set(stored.codes.unique().tolist()) <= {-1, 0, 1}
        assert quant.model.get_submodule(name).weight.unique().numel() <= 3


@pytest.mark.parametrize("symmetric", [True, False])
def test_layers_that_share_a_weight(symmetric):
    """Each layer is rounded once, and what is stored for it is what the model has."""
    for seed in range(10):
        torch.manual_seed(seed)
        tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval()
        tied[2].weight = tied[0].weight
        quant = qn.quantize(tied, bits=4, symmetric=symmetric)
        for name, stored in quant.layers.items():
            assert torch.equal(stored.weight, quant.model.get_submodule(name).weight)


def test_a_module_used_twice_is_stored_once():
    layer = nn.Linear(3, 3)
    quant = qn.quantize(nn.Sequential(layer, nn.ReLU(), layer).eval(), bits=4)
    assert list(quant.layers) == ["0"]


@pytest.mark.parametrize("bits", [1, 0, 17, -8, True, "8", 8.0, None])
def test_bits_out_of_range(bits):
    with pytest.raises(qn.QnotesError, match=r"bits must be an integer from 2 to 16; got"):
        qn.quantize(network(), bits=bits)


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        ("granularity", "group", "'tensor', 'channel'"),
        ("granularity", "Tensor", "'tensor', 'channel'"),
        ("rounding", "even", "'nearest'"),
        ("clip", "mse", "'minmax'"),
        ("symmetric", "yes", "True, False"),
        ("symmetric", None, "True, False"),
    ],
)
def test_unknown_options_name_the_known(option, value, known):
    with pytest.raises(qn.QnotesError, match=f"{option} must be one of {known}; got {value!r}"):
        qn.quantize(network(), **{option: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_weights_that_are_not_finite(value, kind):
    broken = network()
    getattr(broken[3], kind).data.view(-1)[1] = value
    with pytest.raises(qn.QnotesError, match=rf"3: 1 of \d+ values of its {kind} are NaN or inf"):
        qn.quantize(broken)


def test_levels_that_overflow():
    """The zero point shifts the grid by up to half a step, here past the largest float."""
    layer = nn.Linear(2, 1, bias=False).double()
    layer.weight.data.copy_(torch.tensor([[1.6e308, -1.4e308]], dtype=torch.float64))
    with pytest.raises(qn.QnotesError, match="0: 1 of 2 values of its quantized weight are NaN"):
        qn.quantize(nn.Sequential(layer).eval(), bits=2, symmetric=False)


def test_batch_norms_must_be_folded_first():
    normed = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    message = r"1: BatchNorm2d is not covered.*Fold it.*qnotes\.fold"
    with pytest.raises(qn.UnsupportedOperation, match=message):
        qn.quantize(normed)
    assert qn.quantize(qn.fold(normed)).layers.keys() == {"0"}
