"""Grids: the same codes and levels as torch's fake quantization, and at most half a step away."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import qnotes as qn
from qnotes.quantization import QuantizedLayer

SLACK = {torch.float64: 1e-12, torch.float32: 1e-4}
steady = settings(deadline=None, derandomize=True, max_examples=150)
schemes = st.tuples(
    st.integers(2, 16), st.sampled_from(["tensor", "channel"]), st.sampled_from([True, False])
)


def quantized(weight: Tensor, bits: int, granularity: str, symmetric: bool) -> QuantizedLayer:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).to(weight.dtype)
    layer.weight.data.copy_(weight)
    options = {"bits": bits, "granularity": granularity, "symmetric": symmetric}
    result = qn.quantize(nn.Sequential(layer).eval(), **options)
    stored = result.layers["0"]
    assert torch.equal(stored.weight, result.model.get_submodule("0").weight)  # bit for bit
    return stored


def fake_quantized(weight: Tensor, stored: QuantizedLayer) -> Tensor:
    """The same by torch, from the scale and zero point alone."""
    limits = (stored.qmin, stored.qmax)
    if stored.scale.numel() == 1:
        scale, zero_point = stored.scale[0], stored.zero_point[0]
        return torch.fake_quantize_per_tensor_affine(weight, scale, zero_point, *limits)
    return torch.fake_quantize_per_channel_affine(
        weight, stored.scale, stored.zero_point, 0, *limits
    )


def check(weight: Tensor, scheme) -> QuantizedLayer:
    """What holds for every weight: codes in range, and half a step at most."""
    bits, granularity, symmetric = scheme
    stored = quantized(weight, *scheme)
    q = 2 ** (bits - 1)
    assert (stored.qmin, stored.qmax, stored.bits) == (-(q - 1) if symmetric else -q, q - 1, bits)
    assert not stored.codes.is_floating_point() and stored.codes.shape == weight.shape
    assert stored.qmin <= int(stored.codes.min()) and int(stored.codes.max()) <= stored.qmax
    assert (
        stored.qmin <= int(stored.zero_point.min()) <= int(stored.zero_point.max()) <= stored.qmax
    )
    assert stored.scale.shape == (weight.shape[0] if granularity == "channel" else 1,)
    assert (stored.scale > 0).all() and stored.scale.isfinite().all()
    gap = (weight.double() - stored.weight.double()).abs().flatten(1)
    # Codes are found by a product with the inverse of the scale: off by some roundings of a code.
    half = stored.scale.double()[:, None] / 2
    slack = 1 + SLACK[weight.dtype] * 2 ** max(0, bits - 8)
    assert (gap <= half * slack).all()
    return stored


def random_weight(seed: int, style: str) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 7, generator=generator)
    if style == "positive":
        weight = weight.abs() + 0.1
    if style == "outlier":
        weight[2, 3] = 1e4
    if style == "zero rows":
        weight[1:3] = 0
    return weight


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("style", ["normal", "positive", "outlier", "zero rows"])
def test_agrees_with_torch_bit_for_bit(bits, granularity, symmetric, style):
    for seed in range(3):
        weight = random_weight(seed, style)
        stored = quantized(weight, bits, granularity, symmetric)
        assert torch.equal(stored.weight, fake_quantized(weight, stored))


numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
matrices = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=4)


@pytest.mark.medium
@given(matrices, schemes, st.sampled_from([torch.float32, torch.float64]))
@steady
def test_half_a_step_at_most(rows, scheme, dtype):
    check(torch.tensor(rows, dtype=torch.float64).to(dtype), scheme)


@pytest.mark.medium
@given(numbers, schemes)
@steady
def test_constant_weights(constant, scheme):
    stored = check(torch.full((2, 3), constant, dtype=torch.float64), scheme)
    # The largest weight of either sign is a level of a symmetric grid, and so is zero.
    if scheme[2]:
        levels = stored.weight
        assert torch.allclose(levels, torch.full_like(levels, constant), rtol=1e-12, atol=0)


@pytest.mark.medium
@given(st.sampled_from([1e300, 1e-290, 1e-310, 5e-324]), schemes, st.integers(0, 9))
@steady
def test_huge_and_tiny_weights(magnitude, scheme, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand((3, 4), generator=generator, dtype=torch.float64) * 2 - 1
    check(weight * magnitude, scheme)


@pytest.mark.medium
@given(st.integers(-7, 6), st.sampled_from([True, False]))
@steady
def test_ties_go_to_the_even_multiple(step, symmetric):
    """With a scale of exactly 1, k + 1/2 is a tie."""
    ends = [7.0, -7.0] if symmetric else [7.0, -8.0]
    weight = torch.tensor([[*ends, step + 0.5]], dtype=torch.float64)
    stored = quantized(weight, 4, "tensor", symmetric)
    assert stored.scale.item() == 1
    assert stored.weight[0, 2].item() == round(step + 0.5)  # Python rounds to even as well


def test_one_outlier_spoils_a_tensor_but_only_one_channel():
    weight = random_weight(0, "outlier")
    gaps = {
        granularity: (quantized(weight, 8, granularity, True).weight - weight).abs()
        for granularity in ("tensor", "channel")
    }
    calm = [0, 1, 3, 4]
    assert gaps["tensor"][calm].max() > 0.5 > 0.05 > gaps["channel"][calm].max()


@pytest.mark.parametrize("symmetric", [True, False])
def test_zero_stays_zero(symmetric):
    weight = torch.tensor([[0.0, 0.3, 5.0], [0.0, 0.0, 0.0], [-4.0, 0.0, -1.0]])
    for granularity in ("tensor", "channel"):
        stored = quantized(weight, 5, granularity, symmetric)
        assert (stored.weight[weight == 0] == 0).all()


def test_scale_of_a_symmetric_grid():
    """Scale a/q with q = 2^(bits-1) - 1 (T12)."""
    weight = torch.tensor([[1.0, -3.0], [0.5, 0.25]], dtype=torch.float64)
    assert quantized(weight, 8, "tensor", True).scale.tolist() == [3 / 127]
    assert quantized(weight, 8, "channel", True).scale.tolist() == [3 / 127, 0.5 / 127]
    assert quantized(weight, 8, "channel", True).zero_point.tolist() == [0, 0]


def test_more_bits_help_by_about_half_each():
    weight = torch.randn(40, 40, generator=torch.Generator().manual_seed(0)).double()
    gaps = [
        (quantized(weight, bits, "tensor", True).weight - weight).abs().max().item()
        for bits in range(3, 13)
    ]
    ratios = [math.log2(first / second) for first, second in itertools.pairwise(gaps)]
    assert all(0.9 < ratio < 1.3 for ratio in ratios)
