"""Bias correction: the mean output of each layer becomes the reference's."""

import copy
import random
from statistics import median

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.networks.operations import AFFINE, operations
from qnotes.networks.tracing import trace
from qnotes.quantization.bias_correction import correct_bias
from qnotes.quantization.statistics import (
    ChannelStatistics,
    batch_norm_statistics,
    measured_statistics,
)
from tests.random_networks import ARCHITECTURES, Net, Residual, draw_weights


def normal(count: int, *shape: int, mean: float = 0.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return mean + torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def dense(*modules: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in modules:
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return nn.Sequential(*modules).double().eval()


def mean_errors(reference, model, inputs) -> dict[str, float]:
    ours, theirs = (measured_statistics(net, inputs) for net in (reference, model))
    return {name: (ours[name].mean - theirs[name].mean).abs().max().item() for name in ours}


# -- with inputs -----------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_with_inputs_all_means_are_those_of_the_reference(architecture):
    worst = 0.0
    for seed in range(15):
        rng = random.Random(seed)
        torch.manual_seed(seed)
        network, shape = ARCHITECTURES[architecture](rng, bias=rng.random() < 0.7)
        network = network.double().eval()
        draw_weights(rng, network)
        quantized = qn.quantize(network, bits=2, granularity="tensor").model
        inputs = qn.random_inputs(shape, count=70)
        corrected = correct_bias(network, quantized, inputs=inputs)
        layers = {op.name for op in operations(trace(network)) if op.kind == AFFINE}
        assert corrected.corrections.keys() == layers and not corrected.stops
        sizes = measured_statistics(network, inputs)
        for name, error in mean_errors(network, corrected.model, inputs).items():
            assert error < 1e-10 * max(1, (sizes[name].mean.abs() + sizes[name].std).max())
        worst = max(worst, *mean_errors(network, quantized, inputs).values())
    assert worst > 0.1


def test_biases_move_by_what_is_reported_and_weights_stay():
    network = dense(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2, bias=False))
    quantized = qn.quantize(network, bits=2).model
    before = copy.deepcopy(quantized.state_dict())
    inputs = normal(20, 3)
    for corrected in (
        correct_bias(network, quantized, inputs=inputs),
        correct_bias(network, quantized, statistics=measured_statistics(network, inputs)),
    ):
        for name, added in corrected.corrections.items():
            ours, theirs = (net.get_submodule(name) for net in (quantized, corrected.model))
            old = 0 if ours.bias is None else ours.bias
            assert torch.allclose(theirs.bias, old + added)
            assert torch.equal(ours.weight, theirs.weight)
    assert all(torch.equal(quantized.state_dict()[name], old) for name, old in before.items())


# -- with statistics -------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Identity, nn.Dropout])
def test_normal_inputs_leave_no_shift(activation):
    """One layer, so that its outputs are normal: the next mean is right up to sampling."""
    network = dense(nn.Linear(8, 6), activation(), nn.Linear(6, 3))
    network[0].bias.data += torch.linspace(-2, 8, 6)  # on both sides of 0 and 6
    network[0].weight.data.mul_(3)
    quantized = copy.deepcopy(network)
    quantized[2].weight.data += 0.3
    inputs = normal(40_000, 8, mean=0)
    known = {"0": exact_statistics(network[0])}
    corrected = correct_bias(network, quantized, statistics=known)
    assert list(corrected.corrections) == ["2"]
    before, after = (mean_errors(network, net, inputs)["2"] for net in (quantized, corrected.model))
    assert after < 0.05 < 1 < before


def exact_statistics(layer: nn.Linear) -> ChannelStatistics:
    """Of standard normal inputs."""
    return ChannelStatistics(layer.bias.detach(), layer.weight.detach().square().sum(1).sqrt())


def test_means_pass_average_pools_flattening_and_linear_sums():
    """All that is linear is exact, without normality: here the statistics are measured."""
    torch.manual_seed(0)
    network = Net(
        lambda s, x: s.c(torch.flatten(s.pool(s.b(s.a(x) + s.skip(x)) + s.a2(x)), 1)),
        a=nn.Conv2d(2, 4, 1), skip=nn.Conv2d(2, 4, 1), a2=nn.Conv2d(2, 4, 1),
        b=nn.Conv2d(4, 4, 1, groups=2), pool=nn.AvgPool2d(3), c=nn.Linear(16, 2),
    ).double().eval()  # fmt: skip
    inputs = normal(50, 2, 6, 6)
    quantized = copy.deepcopy(network)
    for layer in (quantized.b, quantized.c):
        layer.weight.data += 0.1 * torch.randn_like(layer.weight)
    corrected = correct_bias(network, quantized, statistics=measured_statistics(network, inputs))
    assert set(corrected.corrections) == {"b", "c"}
    errors = mean_errors(network, corrected.model, inputs)
    assert errors["b"] < 1e-12
    assert mean_errors(network, quantized, inputs)["b"] > 0.01
    # What c reads has one mean a channel, not one a position; with one position it is exact too.
    network.pool = quantized.pool = nn.AdaptiveAvgPool2d(1)
    network.c = nn.Linear(4, 2).double().eval()
    quantized.c = copy.deepcopy(network.c)
    quantized.c.weight.data += 0.1
    corrected = correct_bias(network, quantized, statistics=measured_statistics(network, inputs))
    assert mean_errors(network, corrected.model, inputs)["c"] < 1e-12


def test_a_quantized_bias_is_replaced():
    network = dense(nn.Linear(2, 2), nn.Linear(2, 1))
    quantized = copy.deepcopy(network)
    quantized[1].bias.data += 0.25
    inputs = normal(10, 2)
    corrected = correct_bias(network, quantized, statistics=measured_statistics(network, inputs))
    assert torch.allclose(corrected.model.get_submodule("1").bias, network[1].bias)


def conv(channels: int = 2, out: int = 2) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 1)


STOPS = {
    "input": (dense(nn.Linear(2, 2)), (2,), "0", "the mean of the input is not known"),
    "maximum": (
        nn.Sequential(conv(), nn.MaxPool2d(2), conv()), (2, 4, 4), "2",
        "the mean after MaxPool2d is not known",
    ),
    "activation after a sum": (
        nn.Sequential(conv(), Residual(conv(), nn.Identity(), nn.ReLU()), conv()), (2, 4, 4), "2",
        "the spread of what it clips is not known",
    ),
    "activation after an average": (
        nn.Sequential(conv(), nn.AvgPool2d(2), nn.ReLU(), conv()), (2, 4, 4), "3",
        "the spread of what it clips is not known",
    ),
    "two activations": (
        nn.Sequential(conv(), nn.ReLU(), nn.ReLU6(), conv()), (2, 4, 4), "3",
        "the spread of what it clips is not known",
    ),
    "used twice": (
        Net(lambda s, x: s.b(s.a(s.a(x))), a=conv(), b=conv()), (2, 4, 4), "a",
        "is used in several places",
    ),
    "reads a layer used twice": (
        Net(lambda s, x: s.b(s.a(s.a(x))), a=conv(), b=conv()), (2, 4, 4), "b",
        "its statistics are not known",
    ),
    "average over units": (
        dense(nn.Linear(2, 4), nn.AvgPool1d(3, 1, 1), nn.Linear(4, 1)), (2,), "2",
        "the mean after AvgPool1d is not known",
    ),
    "another dimension": (
        nn.Sequential(conv(), nn.Linear(4, 3), nn.Flatten(), nn.Linear(24, 1)), None, "1",
        "it reads another dimension",
    ),
}  # fmt: skip


@pytest.mark.parametrize("network, shape, layer, reason", STOPS.values(), ids=STOPS)
def test_layers_that_are_left_alone(network, shape, layer, reason):
    network = network.double().eval()
    quantized = qn.quantize(network, bits=2).model
    if shape:
        known = measured_statistics(network, normal(5, *shape))
    else:
        known = {"0": ChannelStatistics(torch.zeros(2).double(), torch.ones(2).double())}
    corrected = correct_bias(network, quantized, statistics=known)
    assert layer not in corrected.corrections
    (stop,) = [stop for stop in corrected.stops if stop.source == layer]
    assert reason in stop.reason
    ours, theirs = (net.get_submodule(layer) for net in (quantized, corrected.model))
    assert torch.equal(ours.bias, theirs.bias)


def test_a_layer_that_is_used_twice_keeps_its_bias_with_inputs_too():
    network, shape, layer, reason = STOPS["used twice"]
    network = network.double().eval()
    quantized = qn.quantize(network, bits=2).model
    corrected = correct_bias(network, quantized, inputs=normal(5, *shape))
    assert [(stop.source, stop.reason) for stop in corrected.stops] == [(layer, reason)]
    assert list(corrected.corrections) == ["b"]


# -- trained networks ------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_x0_25"])
def test_trained_networks(name):
    """Batch norms know the means well enough to undo a part of the shift; inputs undo it all."""
    model = qn.load(name)
    folded = qn.fold(model)
    inputs = qn.digits("train")[0][:32].double()
    quantized = qn.quantize(folded, bits=4, granularity="tensor").model
    free = correct_bias(folded, quantized, statistics=batch_norm_statistics(model))
    measured = correct_bias(folded, quantized, inputs=inputs)
    assert free.corrections.keys() < measured.corrections.keys()
    before, after, none = (
        mean_errors(folded, net, inputs) for net in (quantized, free.model, measured.model)
    )
    assert median(after[name] for name in free.corrections) < 0.9 * median(
        before[name] for name in free.corrections
    )
    assert max(none.values()) < 1e-9 < 0.1 < max(before.values())


@pytest.mark.parametrize(
    "options, match",
    [
        ({}, "pass either statistics or inputs; got neither"),
        ({"inputs": torch.zeros(1, 2), "statistics": {}}, "got both"),
        ({"inputs": torch.zeros(0, 2)}, r"got \(0, 2\)"),
    ],
)
def test_arguments_that_do_not_fit(options, match):
    network = dense(nn.Linear(2, 2))
    with pytest.raises(qn.QnotesError, match=match):
        correct_bias(network, network, **options)


def test_networks_that_do_not_match():
    with pytest.raises(qn.QnotesError, match=r"0: is Linear.* here and ReLU\(\) in the quantized"):
        correct_bias(
            dense(nn.Linear(2, 2)), dense(nn.ReLU(), nn.Linear(2, 2)), inputs=torch.ones(1, 2)
        )
