"""Ranges: percentiles by nearest rank, and the search for the smallest squared error."""

import math
from fractions import Fraction

import pytest
import torch

from qnotes.quantization.grids import SHARES
from tests.quantization.layers import normal, stored


def squared_error(weight, **scheme) -> torch.Tensor:
    return (stored(weight, **scheme).weight - weight).square().sum(1)


@pytest.mark.parametrize("percentile", [50, 90, 99, 99.9, 100])
@pytest.mark.parametrize("columns", [1, 10, 1000])
def test_percentile_by_nearest_rank(percentile, columns):
    weight = normal(4, columns)
    layer = stored(weight, bits=8, clip="percentile", percentile=percentile)
    rank = math.ceil(Fraction(str(percentile)) / 100 * columns)
    ends = weight.abs().sort(dim=1).values[:, rank - 1]
    torch.testing.assert_close(layer.scale * 127, ends, rtol=1e-12, atol=0)


def test_percentile_of_an_affine_grid_leaves_half_at_each_end():
    weight = torch.arange(-300.0, 700.0, dtype=torch.float64)[None]
    layer = stored(weight, bits=8, symmetric=False, clip="percentile", percentile=90)
    assert layer.scale.item() == pytest.approx((649 - -250) / 255, rel=0.01)
    assert 0.09 < layer.clipped < 0.1


def test_all_weights_are_inside_a_hundred_percent():
    weight = normal(5, 33)
    for symmetric in (True, False):
        options = {"bits": 4, "symmetric": symmetric}
        whole = stored(weight, clip="percentile", percentile=100, **options)
        assert torch.equal(whole.weight, stored(weight, **options).weight)


SCHEMES = [{}, {"convention": "full"}, {"symmetric": False}, {"grid": "log2"}]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_search_is_never_worse_than_the_whole_range(scheme, bits):
    for seed in range(5):
        weight = normal(6, 50, seed=seed) ** 3
        found = squared_error(weight, bits=bits, clip="mse", **scheme)
        assert (found <= squared_error(weight, bits=bits, **scheme)).all()


def test_the_search_finds_the_best_share():
    """Against a search by hand: one row, symmetric, 3 bits."""
    weight = normal(1, 200, seed=3) ** 3
    errors = []
    for share in SHARES:
        scale = share * weight.abs().max() / 3
        levels = (weight / scale).round().clamp(-3, 3) * scale
        errors.append((levels - weight).square().sum().item())
    found = squared_error(weight, bits=3, clip="mse").item()
    assert found == pytest.approx(min(errors), rel=1e-9)
    assert found < 0.8 * errors[0]  # clipping pays for heavy tails


def test_ranges_of_groups_and_zero_rows():
    weight = torch.cat([normal(2, 20), torch.zeros(1, 20, dtype=torch.float64)])
    for clip in ("percentile", "mse"):
        layer = stored(weight, bits=4, clip=clip, granularity="group", group_size=6)
        assert layer.scale.shape == (3, 4) and (layer.scale > 0).all()
        assert (layer.weight[2] == 0).all()
