"""Where the theory says that a bound is reached, a network reaches it."""

import math

import pytest
import torch
from torch import nn

import qnotes as qn
from tests.random_networks import Residual, bound_values, largest_error

STEP = 1e-3


def moved_outward(network: nn.Module, step: float = STEP) -> nn.Module:
    """W' = W - step; the reference keeps the larger weights, so its norms are the norms."""
    changed = qn.fold(network)
    for module in changed.modules():
        if hasattr(module, "weight"):
            module.weight.data -= step
    return changed


def filled(*layers: nn.Module, weight: float = 1.0) -> nn.Module:
    network = nn.Sequential(*layers).eval()
    for parameter in network.parameters():
        nn.init.constant_(parameter, weight)
    return qn.fold(network)


def ratios(network, changed, inputs, radius: float = 1.0) -> dict[str, float]:
    """Measured error divided by each bound."""
    shape = (1, *inputs.shape[1:])
    profile = qn.profile(network, changed, input_shape=shape, radius=radius)
    error = math.log10(largest_error(network, changed, inputs))
    return {key: 10 ** (error - value) for key, value in bound_values(profile).items()}


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0])
def test_dense_layers_with_equal_rows_reach_all_forms_without_biases(depth, radius):
    layers = [nn.Linear(4, 4, bias=False) for _ in range(depth)]
    network = filled(*(part for layer in layers for part in (layer, nn.ReLU())), weight=0.25)
    changed = moved_outward(network, 1e-6)
    reached = ratios(network, changed, torch.full((1, 4), radius).double(), radius)
    for key in ("T2", "T3 product form", "T4 mean form"):
        assert 0.999 < reached[key] <= 1


@pytest.mark.parametrize("depth", [1, 3])
def test_form_with_biases_is_reached_from_a_domain_of_radius_one(depth):
    layers = [nn.Linear(3, 3) for _ in range(depth)]
    network = filled(*layers, weight=0.5)
    changed = moved_outward(network, 1e-6)
    for module in changed.modules():
        if isinstance(module, nn.Linear):
            module.bias.data -= 1e-6
    reached = ratios(network, changed, torch.ones(1, 3).double())
    for key in ("T5 product form", "T5 mean form"):
        # The constant coordinate keeps its size, the others grow: reached by one layer only.
        assert (0.999 if depth == 1 else 0.5) < reached[key] <= 1


def test_recursion_is_reached_with_biases():
    network = filled(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    changed = moved_outward(network, 1e-6)
    reached = ratios(network, changed, torch.full((1, 3), 2.0).double(), radius=2.0)
    assert 0.999 < reached["T2"] <= 1


def shifted(network: nn.Module, step: float) -> nn.Module:
    """All weights and biases smaller by one step."""
    changed = moved_outward(network, step)
    for module in changed.modules():
        if isinstance(module, nn.Linear):
            module.bias.data -= step
    return changed


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_one_norm_for_all_is_reached_by_rows_of_one_weight(depth):
    network = filled(*(nn.Linear(1, 1) for _ in range(depth)))
    reached = ratios(network, shifted(network, 1e-6), torch.ones(1, 1).double())
    assert 0.999 < reached["P2"] <= 1


def test_entrywise_bound_is_approached_by_wide_rows_of_equal_weights():
    found = []
    for width in (20, 200, 2000):
        network = filled(nn.Linear(width, width), nn.Linear(width, width))
        reached = ratios(network, shifted(network, 1e-9), torch.ones(1, width).double())
        found.append(reached["P1"])
    assert found == sorted(found)
    assert 0.999 < found[-1] <= 1


def test_path_metric_corollary_is_never_reached():
    """The square of the width pays for width + 1 entries: three quarters are the most."""
    network = filled(nn.Linear(2, 1))
    reached = ratios(network, shifted(network, 1e-6), torch.ones(1, 2).double())
    assert reached["P3"] == pytest.approx(0.75, rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 2}])
def test_convolutions_that_see_their_kernel_inside_the_image(options):
    network = filled(
        nn.Conv2d(2, 2, 3, bias=False, **options),
        nn.ReLU(),
        nn.Conv2d(2, 2, 2, bias=False, **options),
        weight=0.1,
    )
    changed = moved_outward(network, 1e-6)
    reached = ratios(network, changed, torch.ones(1, 2, 9, 9).double())
    assert 0.999 < reached["T3 product form"] <= 1
    assert 0.999 < reached["T2"] <= 1


def test_convolution_reaches_the_paper_form_where_all_layers_are_equal():
    layers = [nn.Conv2d(2, 2, 3, bias=False) for _ in range(3)]
    network = filled(*layers, weight=1 / 18)
    reached = ratios(network, moved_outward(network, 1e-7), torch.ones(1, 2, 7, 7).double())
    assert 0.999 < reached["T6 mean form"] <= 1


def test_the_recursion_is_reached_through_skip_connections_over_one_layer():
    def block():
        return Residual(nn.Linear(3, 3, bias=False), nn.Identity(), nn.ReLU())

    network = filled(block(), block(), block())
    reached = ratios(network, moved_outward(network, 1e-6), torch.ones(1, 3).double())
    assert 0.999 < reached["T2"] <= 1


def test_the_plain_mean_is_not_a_bound():
    """Against T4 with the plain mean: 100 weights in the layer that changes, none elsewhere."""
    network = nn.Sequential(nn.Linear(1, 100, bias=False), nn.Linear(100, 1, bias=False)).eval()
    network[0].weight.data.fill_(2)
    network[1].weight.data.zero_()
    network = qn.fold(network)
    changed = qn.fold(network)
    changed.get_submodule("1").weight.data.fill_(1e-4)
    profile = qn.profile(network, changed, input_shape=(1, 1))
    error = largest_error(network, changed, torch.ones(1, 1))
    ours = 10 ** bound_values(profile)["T4 mean form"]
    norms = [layer.norm for layer in profile.layers]
    plain = sum(norms) / 2 * sum(layer.fan_in for layer in profile.layers) * 1e-4
    assert error == pytest.approx(0.02)
    assert plain == pytest.approx(0.010150, rel=1e-3)
    assert plain < error
    assert ours == pytest.approx(0.0202, rel=1e-3)
