"""The three symmetric grids, affine grids and groups: the same as torchao where it has them."""

import warnings

import pytest
import torch

import qnotes as qn
from tests.quantization.layers import normal, stored

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchao.quantization.quant_primitives import (
        MappingType,
        choose_qparams_affine,
        dequantize_affine,
        quantize_affine,
    )

#: Our options, torchao's name, and codes that torchao must be told.
SHARED = {
    "full": ({"convention": "full"}, MappingType.SYMMETRIC),
    "unclipped": ({"convention": "unclipped"}, MappingType.SYMMETRIC_NO_CLIPPING_ERR),
    "affine": ({"symmetric": False}, MappingType.ASYMMETRIC),
}
COLUMNS = 24
BLOCKS = {
    "tensor": ({"granularity": "tensor"}, (6, COLUMNS)),
    "channel": ({"granularity": "channel"}, (1, COLUMNS)),
    "group": ({"granularity": "group", "group_size": 8}, (1, 8)),
}


def weights(style: str, seed: int) -> torch.Tensor:
    weight = normal(6, COLUMNS, seed=seed, dtype=torch.float32)
    changed = {
        "normal": weight,
        "positive": weight.abs() + 0.1,
        "negative": -weight.abs() - 0.1,
        "outlier": weight.index_put((torch.tensor(2), torch.tensor(3)), torch.tensor(900.0)),
    }
    return changed[style]


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("granularity", BLOCKS)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("style", ["normal", "positive", "negative", "outlier"])
def test_the_same_as_torchao(shared, granularity, bits, style):
    options, mapping = SHARED[shared]
    where, block = BLOCKS[granularity]
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for seed in range(3):
        weight = weights(style, seed)
        scale, zero_point = choose_qparams_affine(weight, mapping, block, torch.int8, qmin, qmax)
        codes = quantize_affine(weight, block, scale, zero_point, torch.int8, qmin, qmax)
        levels = dequantize_affine(codes, block, scale, zero_point, torch.int8, qmin, qmax)
        ours = stored(weight, bits=bits, **where, **options)
        assert (ours.qmin, ours.qmax) == (qmin, qmax)
        torch.testing.assert_close(ours.scale.flatten(), scale.flatten(), rtol=3e-7, atol=0)
        # Scales differ in the last digit, so a weight near a tie may get the neighbouring code.
        steps = (ours.codes.int() - codes.int()).abs()
        assert int(steps.max()) <= 1 and steps.double().mean() < 0.01
        assert (ours.zero_point.flatten() - zero_point.flatten()).abs().max() <= 1
        same = steps == 0
        torch.testing.assert_close(ours.weight[same], levels[same], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("convention", ["narrow", "full", "unclipped"])
@pytest.mark.parametrize("bits", [2, 3, 8, 16])
@pytest.mark.parametrize("style", ["normal", "positive", "negative", "outlier"])
@pytest.mark.parametrize("granularity", BLOCKS)
def test_at_most_half_a_step_in_all_conventions(convention, bits, style, granularity):
    weight = weights(style, 0).double()
    layer = stored(weight, bits=bits, convention=convention, **BLOCKS[granularity][0])
    assert (layer.zero_point == 0).all()
    steps = layer.scale if layer.scale.ndim == 2 else layer.scale[:, None]
    steps = steps.repeat_interleave(COLUMNS // steps.shape[1], dim=1)
    assert ((weight - layer.weight).abs() <= steps / 2 * (1 + 1e-11)).all()
    assert layer.clipped == 0


def test_the_three_scales():
    """From a = 3 (the negative end) and 2 (the positive end), with 4 bits."""
    weight = torch.tensor([[-3.0, 2.0, 0.5]], dtype=torch.float64)
    scales = {
        convention: stored(weight, bits=4, convention=convention).scale.item()
        for convention in ("narrow", "full", "unclipped")
    }
    assert scales == {"narrow": 3 / 7, "full": 3 / 7.5, "unclipped": 3 / 8}
    flipped = stored(-weight, bits=4, convention="unclipped").scale.item()
    assert flipped == 3 / 7  # the positive end has one code less


@pytest.mark.parametrize("size", [1, 5, 7, 24, 100])
def test_the_last_group_may_be_shorter(size):
    weight = normal(3, 24)
    layer = stored(weight, bits=4, granularity="group", group_size=size)
    assert layer.scale.shape == (3, -(-24 // size)) or layer.scale.shape == (3,)
    for start in range(0, 24, size):
        part = weight[:, start : start + size]
        alone = stored(part, bits=4)
        assert torch.equal(alone.codes, layer.codes[:, start : start + size])
        assert torch.equal(alone.weight, layer.weight[:, start : start + size])


@pytest.mark.parametrize("symmetric", [True, False])
def test_scales_that_are_powers_of_two_are_rounded_up(symmetric):
    weight = normal(40, 30) * torch.logspace(-3, 3, 40, dtype=torch.float64)[:, None]
    exact = stored(weight, bits=5, symmetric=symmetric)
    layer = stored(weight, bits=5, symmetric=symmetric, grid="power-of-two")
    assert (torch.frexp(layer.scale).mantissa == 0.5).all()
    assert (layer.scale >= exact.scale).all() and (layer.scale < 2 * exact.scale).all()
    assert layer.clipped == 0


def test_a_power_of_two_stays():
    layer = stored(torch.tensor([[7.0, -7.0, 1.0]]).double() / 4, bits=4, grid="power-of-two")
    assert layer.scale.item() == 0.25


def test_rounding_a_power_of_two_to_nearest_would_clip():
    """Why it is rounded up: the nearest power may lie below, and the grid ends too early."""
    weight = torch.tensor([[1.4 * 7, 1.0]], dtype=torch.float64)  # scale 1.4; nearest power 1
    lost = weight.max() - 7 * 1.0
    assert lost > 2.5  # steps of 1: far more than half a step
    layer = stored(weight, bits=4, grid="power-of-two")
    assert layer.scale.item() == 2 and layer.gap <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 1}, "with bits=1 a symmetric grid has the level 0 and no other"),
        ({"bits": 1, "grid": "log2"}, "with bits=1"),
        ({"granularity": "group"}, "needs group_size, the number of weights .* got None"),
        ({"granularity": "group", "group_size": 0}, "at least 1; got 0"),
        ({"granularity": "group", "group_size": True}, "at least 1; got True"),
        ({"group_size": 8}, "group_size=8 goes with granularity='group'; got .*'channel'"),
        ({"rounding": "stochastic", "seed": -1}, "seed must be a whole number, .* got -1"),
        ({"rounding": "stochastic", "seed": "a"}, "seed must be a whole number"),
        ({"clip": "percentile", "percentile": 0}, r"percentile must lie in \(0, 100\]; got 0"),
        ({"clip": "percentile", "percentile": 101}, r"in \(0, 100\]; got 101"),
        ({"grid": "kmeans", "symmetric": False}, "grid='kmeans' has levels of its own"),
        ({"grid": "log2", "convention": "full"}, "grid='log2' has levels of its own"),
        ({"grid": "log2", "rounding": "floor"}, "rounding='floor' counts in steps"),
        ({"grid": "kmeans", "clip": "mse"}, "k-means finds its levels without one"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(qn.QnotesError, match=message):
        stored(normal(3, 4), **options)
