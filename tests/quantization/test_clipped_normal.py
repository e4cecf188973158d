"""Means of clipped normal variables: integrated numerically, and drawn."""

import mpmath
import pytest
import torch

from qnotes.quantization.clipped_normal import relu6_mean, relu_mean

POINTS = [(0.0, 1.0), (1.5, 0.3), (-2.0, 1.0), (-20.0, 1.0), (5.0, 4.0), (6.0, 0.01), (40.0, 30.0)]


def integral(mean: float, std: float, top: float) -> mpmath.mpf:
    """The mean of the clipped variable by numerical integration of 50 digits."""
    with mpmath.workdps(50):
        mean, std = mpmath.mpf(mean), mpmath.mpf(std)
        limits = sorted(
            {mpmath.mpf(0), max(mean, 0), max(mean - 9 * std, 0), mean + 9 * std, 60 * std}
        )
        limits = [limit for limit in limits if 0 <= limit < top] + [top]
        below = mpmath.quad(lambda x: x * mpmath.npdf(x, mean, std), limits)
        return below + (top * (1 - mpmath.ncdf(top, mean, std)) if top < mpmath.inf else 0)


@pytest.mark.parametrize("mean, std", POINTS)
def test_values_are_the_integrals(mean, std):
    at = torch.tensor([mean], dtype=torch.float64), torch.tensor([std], dtype=torch.float64)
    assert relu_mean(*at).item() == pytest.approx(float(integral(mean, std, mpmath.inf)), rel=1e-11)
    assert relu6_mean(*at).item() == pytest.approx(float(integral(mean, std, 6)), rel=1e-11)


def test_a_constant_variable():
    mean = torch.tensor([-1.0, 0.0, 2.0, 8.0]).double()
    assert relu_mean(mean, torch.zeros(4).double()).tolist() == [0, 0, 2, 8]
    assert relu6_mean(mean, torch.zeros(4).double()).tolist() == [0, 0, 2, 6]
    tiny = torch.full((4,), 1e-300).double()
    assert relu_mean(mean, tiny).tolist() == pytest.approx([0, 0, 2, 8], abs=1e-299)


def test_drawn_numbers_have_this_mean():
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([-1.0, 0.5, 5.0]).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    drawn = mean + std * torch.randn(400_000, 3, generator=generator, dtype=torch.float64)
    for values, expected in (
        (drawn.clamp_min(0), relu_mean(mean, std)),
        (drawn.clamp(0, 6), relu6_mean(mean, std)),
    ):
        room = 5 * values.std(0) / len(values) ** 0.5
        assert ((values.mean(0) - expected).abs() < room).all()
