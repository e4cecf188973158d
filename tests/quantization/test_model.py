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
        "convention": "narrow",
        "grid": "uniform",
        "clip": "minmax",
        "rounding": "nearest",
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


@pytest.mark.parametrize("bits", [0, 17, -8, True, "8", 8.0, None])
def test_bits_out_of_range(bits):
    with pytest.raises(qn.QnotesError, match=r"bits must be an integer from 1 to 16; got"):
        qn.quantize(network(), bits=bits)


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        ("granularity", "Tensor", "'tensor', 'channel', 'group'"),
        ("grid", "linear", "'uniform', 'power-of-two', 'log2', 'kmeans'"),
        ("convention", True, "'narrow', 'full', 'unclipped'"),
        ("rounding", "even", "'nearest', 'floor', 'ceil', 'zero', 'stochastic', 'adaptive', .*"),
        ("clip", "max", "'minmax', 'percentile', 'mse'"),
        ("symmetric", "yes", "True, False"),
        ("symmetric", None, "True, False"),
        ("symmetric", 1, "True, False"),
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


def test_bits_of_each_layer():
    folded = qn.fold(network())
    quant = qn.quantize(folded, bits={"0": 3, "3": 8})
    assert quant.scheme["bits"] == {"0": 3, "3": 8}
    for name, bits in (("0", 3), ("3", 8)):
        alone = qn.quantize(folded, bits=bits).layers[name]
        assert torch.equal(quant.layers[name].codes, alone.codes)


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ({"0": 3}, "got a mapping without 3"),
        ({"0": 3, "3": 4, "7": 5}, "with the unknown 7"),
        ({"0": 3, "3": 17}, "3: bits must be an integer from 1 to 16; got 17"),
        ({}, "without 0, 3"),
    ],
)
def test_bits_of_each_layer_must_fit(bits, message):
    with pytest.raises(qn.QnotesError, match=message):
        qn.quantize(network(), bits=bits)


@pytest.mark.parametrize("scheme", [{}, {"clip": "mse"}, {"grid": "kmeans"}, {"symmetric": False}])
def test_many_bit_widths_in_one_pass(scheme):
    """The same as one after the other, and the network is copied for each."""
    folded = qn.fold(network())
    widths = [2, 5, 9]
    several = list(qn.quantize_each(folded, widths, **scheme))
    for bits, quant in zip(widths, several, strict=True):
        alone = qn.quantize(folded, bits=bits, **scheme)
        assert quant.scheme == alone.scheme
        for name in alone.layers:
            assert torch.equal(quant.layers[name].weight, alone.layers[name].weight)
            model = quant.model.get_submodule(name)
            assert torch.equal(model.weight, alone.layers[name].weight)
            assert model.weight is not folded.get_submodule(name).weight


def test_wrong_bits_are_refused_before_the_first_network():
    with pytest.raises(qn.QnotesError, match="got 99"):
        qn.quantize_each(network(), [4, 99])


def test_biases_on_a_grid():
    folded = qn.fold(network())
    quant = qn.quantize(folded, bits=8, bias_bits=4)
    assert quant.scheme["bias_bits"] == 4 and set(quant.biases) == {"0", "3"}
    for name, stored in quant.biases.items():
        bias = quant.model.get_submodule(name).bias
        assert torch.equal(stored.weight, bias) and stored.scale.shape == (1,)
        assert not torch.equal(bias, folded.get_submodule(name).bias)
    profile = qn.profile(folded, quant.model, input_shape=(1, 2, 4, 4))
    assert [layer.bias_gap for layer in profile.layers] == pytest.approx(
        [quant.biases[name].gap for name in ("0", "3")]
    )
    with pytest.raises(qn.QnotesError, match="bias_bits: bits must be an integer"):
        qn.quantize(folded, bias_bits=0.5)


def test_a_network_without_layers():
    with pytest.raises(qn.QnotesError, match="has no layer with weights, so nothing is quantized"):
        qn.quantize(nn.Sequential(nn.ReLU()).eval())


def test_the_scheme_counts_calibration_inputs():
    quant = qn.quantize(network(), bits=4, rounding="gptq", calibration=torch.randn(5, 2, 4, 4))
    assert quant.scheme["calibration"] == 5 and quant.scheme["rounding"] == "gptq"
