"""Grids of powers of two, and codebooks."""

import pytest
import torch
from sklearn.cluster import KMeans

from tests.quantization.layers import normal, stored

WHERE = [
    {"granularity": "tensor"},
    {"granularity": "channel"},
    {"granularity": "group", "group_size": 5},
]


def listed(layer, scale: float) -> torch.Tensor:
    """All levels of a log2 grid, by their definition."""
    q = layer.qmax
    sizes = [scale * 2.0 ** (code - q) for code in range(1, q + 1)]
    return torch.tensor(sorted([0.0, *sizes, *[-size for size in sizes]]), dtype=torch.float64)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_power_of_two(bits, seed):
    weight = normal(4, 50, seed=seed) ** 3
    layer = stored(weight, bits=bits, grid="log2")
    assert (layer.qmin, layer.qmax) == (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    for row, levels_of_row, scale in zip(weight, layer.weight, layer.scale, strict=True):
        assert scale == row.abs().max()
        distances = (row[:, None] - listed(layer, scale.item())).abs()
        torch.testing.assert_close(
            (row - levels_of_row).abs(), distances.amin(1), rtol=1e-12, atol=0
        )


def test_ties_and_ends_of_a_log2_grid():
    """Levels 0, ±1/4, ±1/2, ±1: ties between 1/2 and 1, 1/4 and 1/2, 0 and 1/4."""
    weight = torch.tensor([[1.0, 0.75, 0.375, 0.125, 0.1251, -0.75, 0.0]], dtype=torch.float64)
    layer = stored(weight, bits=3, grid="log2")
    assert layer.weight.tolist() == [[1.0, 1.0, 0.5, 0.0, 0.25, -1.0, 0.0]]
    assert layer.codes.tolist() == [[3, 3, 2, 0, 1, -3, 0]]


def test_relative_change_of_a_log2_grid():
    """Above the smallest level a weight moves by at most a third of its size."""
    weight = normal(1, 2000)
    layer = stored(weight, bits=8, grid="log2")
    change = (weight - layer.weight).abs() / weight.abs()
    assert 0.3 < change.max() <= 1 / 3 + 1e-12


def test_zero_rows_of_a_log2_grid():
    weight = torch.cat([torch.zeros(2, 6, dtype=torch.float64), normal(1, 6)])
    assert (stored(weight, bits=4, grid="log2").weight[:2] == 0).all()


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_codebook_is_a_fixed_point(where, bits):
    """Each level is the mean of its weights, and each weight is at its nearest level."""
    weight = normal(6, 40)
    layer = stored(weight, bits=bits, grid="kmeans", **where)
    assert layer.scale is None and layer.zero_point is None and layer.qmin == 0
    blocks = {"tensor": [(slice(None), slice(None))]}.get(
        where["granularity"],
        [
            (slice(r, r + 1), slice(c, c + where.get("group_size", 40)))
            for r in range(6)
            for c in range(0, 40, where.get("group_size", 40))
        ],
    )
    for block in blocks:
        before, after = weight[block].flatten(), layer.weight[block].flatten()
        assert len(after.unique()) <= 2**bits
        for level in after.unique():
            torch.testing.assert_close(before[after == level].mean(), level)
        nearest = (before[:, None] - after.unique()).abs().amin(1)
        torch.testing.assert_close((before - after).abs(), nearest)


def test_the_same_codebook_as_scikit_learn():
    """From the same equally spaced centres, where no centre loses all its weights."""
    weight = torch.rand(1, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = torch.linspace(0, 1, 8, dtype=torch.float64) * (weight.max() - weight.min())
    start = (start + weight.min())[:, None].numpy()
    theirs = KMeans(8, init=start, n_init=1, max_iter=1000, tol=0).fit(weight.T.numpy())
    ours = stored(weight, bits=3, grid="kmeans").grid.levels.flatten()
    expected = torch.tensor(sorted(theirs.cluster_centers_.ravel().tolist()), dtype=ours.dtype)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=0)


def test_a_codebook_beats_the_uniform_grid():
    weight = normal(8, 200)
    for bits in (2, 3, 4):
        assert stored(weight, bits=bits, grid="kmeans").snr > stored(weight, bits=bits).snr


def test_as_many_levels_as_weights():
    weight = torch.tensor([[0.0, 1.0, 5.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    layer = stored(weight, bits=16, grid="kmeans")
    assert torch.equal(layer.weight, weight)
    assert layer.qmax == 2 and layer.gap == 0


def test_codebooks_of_the_groups_of_one_row():
    layer = stored(normal(1, 12), bits=2, grid="kmeans", granularity="group", group_size=5)
    assert layer.grid.levels.shape[:2] == (1, 3)
    assert all(len(part.unique()) <= 4 for part in layer.weight.split(5, dim=1))
