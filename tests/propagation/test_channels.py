"""The vector form: between observed errors and T2, and equal to a dense recursion."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.propagation.channels import vector_bound
from tests.random_networks import (
    ARCHITECTURES,
    drawn,
    hard_inputs,
    largest_error,
)

NETWORKS = 20  # of each kind; thousands were tried once
SLACK = 1e-9
LARGER = [theorem for theorem in qn.theorems() if theorem.key in ("T2", "T3 product form")]


def dense(widths: tuple[int, ...], *, bias: bool = True, seed: int = 0):
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b, bias) for a, b in itertools.pairwise(widths)]
    modules = [module for layer in layers for module in (layer, nn.ReLU())][:-1]
    network = nn.Sequential(*modules).double().eval()
    changed = copy.deepcopy(network)
    for parameter in changed.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    return network, changed


@pytest.mark.medium
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_between_observed_errors_and_the_recursion(kind):
    for seed in range(NETWORKS):
        network, changed, shape, radius = drawn(kind, seed)
        domain = {"input_shape": shape, "radius": radius}
        found = vector_bound(network, changed, **domain).max()
        clipped = vector_bound(network, changed, **domain, clip_relu6=True).max()
        error = largest_error(network, changed, hard_inputs(shape, radius, seed))
        profile = qn.profile(network, changed, **domain)
        assert clipped <= found
        if error:
            assert math.log10(error) <= clipped + SLACK, (kind, seed)
        for theorem in LARGER:
            assert not found > theorem.evaluate(profile) + SLACK, (kind, seed, theorem.key)


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_recursion_with_matrices(seed):
    network, changed = dense((4, 6, 5, 3), seed=seed)
    v, u = np.full(4, 0.7), np.zeros(4)
    for ours, theirs in zip(network[::2], changed[::2], strict=True):
        w, w_q, b, b_q = (
            tensor.detach().numpy()
            for tensor in (ours.weight, theirs.weight, ours.bias, theirs.bias)
        )
        u = abs(w) @ u + abs(w - w_q) @ v + abs(b - b_q)
        v = abs(w_q) @ v + abs(b_q)
    found = vector_bound(network, changed, input_shape=(1, 4), radius=0.7)
    assert 10**found == pytest.approx(u, rel=1e-12)
    assert (10**found >= u * (1 - 1e-14)).all()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution_without_a_border_equals_its_matrix(groups):
    """Every position sees the whole kernel, so a channel's number is each position's number."""
    torch.manual_seed(groups)
    network = (
        nn.Sequential(
            nn.Conv2d(4, 4, 2, groups=groups),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(4, 3, 1),
            nn.Flatten(),
            nn.Linear(12, 2),
        )
        .double()
        .eval()
    )
    changed = copy.deepcopy(network)
    for parameter in changed.parameters():
        parameter.data.mul_(1.1)
    # All weights positive and all inputs 1: nothing is lost.
    for net in (network, changed):
        for parameter in net.parameters():
            parameter.data.abs_()
    ones = torch.ones(1, 4, 5, 5, dtype=torch.float64)
    truth = (changed(ones) - network(ones)).detach().numpy()[0]
    found = vector_bound(network, changed, input_shape=(1, 4, 5, 5))
    assert 10**found == pytest.approx(truth, rel=1e-12)


def test_a_layer_alone_is_exact():
    network, changed = dense((5, 3), bias=False)
    norm = (network[0].weight - changed[0].weight).abs().sum(1).detach().numpy()
    assert 10 ** vector_bound(network, changed, input_shape=(1, 5)) == pytest.approx(norm)


def test_same_networks_have_no_error():
    network, _ = dense((3, 4, 2))
    assert np.isneginf(vector_bound(network, network, input_shape=(1, 3))).all()


def test_rescaling_neurons_changes_nothing():
    network, changed = dense((3, 4, 2))
    before = vector_bound(network, changed, input_shape=(1, 3))
    factors = torch.tensor([1e-3, 1.0, 20.0, 1e5], dtype=torch.float64)
    for net in (network, changed):
        net[0].weight.data.mul_(factors[:, None])
        net[0].bias.data.mul_(factors)
        net[2].weight.data.div_(factors)
    assert vector_bound(network, changed, input_shape=(1, 3)) == pytest.approx(before, abs=1e-12)


@pytest.mark.parametrize("factor", [1e10, 1e-10])
def test_deeper_than_float64_reaches(factor):
    layers = [nn.Linear(1, 1, bias=False) for _ in range(100)]
    network = nn.Sequential(*layers).double().eval()
    changed = copy.deepcopy(network)
    for ours, theirs in zip(network, changed, strict=True):
        ours.weight.data.fill_(factor)
        theirs.weight.data.fill_(factor)
    changed[0].weight.data.mul_(1.5)
    found = vector_bound(network, changed, input_shape=(1, 1))
    assert found == pytest.approx(100 * math.log10(factor) + math.log10(0.5), abs=1e-9)


def test_tiny_channels_do_not_vanish():
    """A channel 400 decades below its neighbour still counts, where nothing else is read."""
    network = nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(3)]).double().eval()
    for layer in network[:2]:
        layer.weight.data.copy_(torch.diag(torch.tensor([1e100, 1e-100], dtype=torch.float64)))
    network[2].weight.data.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    changed = copy.deepcopy(network)
    changed[0].weight.data[1, 1] = 2e-100
    found = vector_bound(network, changed, input_shape=(1, 2))
    assert (found >= -200 - 1e-9).all() and np.isfinite(found).all()


def test_relu6_is_clipped_on_demand():
    network = nn.Sequential(nn.Linear(1, 1), nn.ReLU6(), nn.Linear(1, 1)).double().eval()
    for layer in network[::2]:
        layer.weight.data.fill_(100.0)
        layer.bias.data.zero_()
    changed = copy.deepcopy(network)
    changed[0].weight.data.fill_(50.0)
    assert 10 ** vector_bound(network, changed, input_shape=(1, 1)) == pytest.approx([5000])
    clipped = vector_bound(network, changed, input_shape=(1, 1), clip_relu6=True)
    assert 10**clipped == pytest.approx([600])


def test_a_pool_that_takes_channels_for_positions():
    """Without a batch dimension for it, a pool goes over channels; all of them count then."""
    network = nn.Sequential(nn.Linear(1, 4, bias=False), nn.AvgPool1d(2)).double().eval()
    network[0].weight.data.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    changed = copy.deepcopy(network)
    changed[0].weight.data[3] = 5.0
    found = 10 ** vector_bound(network, changed, input_shape=(1, 1))
    assert found == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("radius", "message"), [(0, "radius must be a positive"), (math.nan, "radius must be")]
)
def test_refuses_a_radius_that_is_none(radius, message):
    network, changed = dense((2, 2))
    with pytest.raises(qn.QnotesError, match=message):
        vector_bound(network, changed, input_shape=(1, 2), radius=radius)


def test_refuses_networks_that_do_not_match():
    with pytest.raises(qn.QnotesError, match="quantized network"):
        vector_bound(dense((2, 2))[0], dense((2, 3))[0], input_shape=(1, 2))


def test_refuses_weights_that_are_not_finite():
    network, changed = dense((2, 2))
    changed[0].weight.data[0, 0] = math.nan
    with pytest.raises(qn.QnotesError, match=r"^quantized: 0: 1 of 4 values of its weight"):
        vector_bound(network, changed, input_shape=(1, 2))


def test_networks_are_left_alone():
    network, changed = dense((2, 3, 2))
    before = copy.deepcopy(network.state_dict())
    vector_bound(network, changed, input_shape=(1, 2))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
