"""High-bias absorption: exact where nothing falls below c, and where it stops."""

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.networks.operations import ZERO_PADS
from qnotes.networks.rearranging import PositionsMean
from qnotes.quantization.absorption import absorb_biases
from qnotes.quantization.regions import HOMOGENEOUS, POOLS
from qnotes.quantization.statistics import ChannelStatistics, measured_statistics
from tests.random_networks import Residual


def pointwise_chain(middle: nn.Module, side: int = 6, bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Conv2d(2, 4, 3, groups=2, bias=bias)
    network = nn.Sequential(first, nn.ReLU(), middle, nn.Conv2d(4, 3, 1), nn.ReLU())
    network.extend([nn.Conv2d(3, 2, 1, bias=bias), nn.Flatten()])
    features = network(torch.zeros(1, 2, side, side)).shape[1]
    network.append(nn.Linear(features, 2, bias=bias)).double().eval()
    for layer in (network[0], network[3]):
        if layer.bias is not None:
            layer.bias.data += torch.linspace(-1, 5, len(layer.bias))  # some above what varies
    return network


def images(count: int = 40, seed: int = 0) -> torch.Tensor:
    return qn.random_inputs((1, 2, 6, 6), count=count, seed=seed)


MIDDLES = [
    nn.Identity(),
    nn.MaxPool2d(3, stride=1, padding=1),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AvgPool2d(3, stride=2, ceil_mode=True),
    nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
    nn.AdaptiveAvgPool2d(3),
    nn.AdaptiveMaxPool2d(2),
]


@pytest.mark.parametrize("middle", MIDDLES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_with_inputs_the_function_stays_on_them(middle, bias):
    network = pointwise_chain(middle, bias=bias)
    absorbed = absorb_biases(network, inputs=images())
    assert list(absorbed.amounts) == ["0", "3", "5"]
    assert bool(absorbed.amounts["0"].max() > 0.5) == bias and absorbed.amounts["3"].max() > 0.5
    for amounts in absorbed.amounts.values():
        assert (amounts >= 0).all()
    expected = qn.outputs(network, images())
    assert torch.allclose(qn.outputs(absorbed.model, images()), expected, rtol=0, atol=1e-12)
    least = absorbed.model.get_submodule("0")(images()).amin((0, 2, 3))
    assert torch.allclose(least[absorbed.amounts["0"] > 0], torch.zeros(1).double(), atol=1e-12)


def test_elsewhere_the_function_changes_a_little():
    network = pointwise_chain(nn.Identity())
    absorbed = absorb_biases(network, inputs=images(4))
    others = images(400, seed=1)
    change = qn.output_errors(network, absorbed.model, others).max()
    assert 0 < change < 0.2 * qn.outputs(network, others).abs().max()


def test_three_standard_deviations():
    network = pointwise_chain(nn.Identity())
    known = measured_statistics(network, images(400))
    absorbed = absorb_biases(network, statistics=known)
    for name, amounts in absorbed.amounts.items():
        assert torch.equal(amounts, (known[name].mean - 3 * known[name].std).clamp_min(0))
        change = network.get_submodule(name).bias - absorbed.model.get_submodule(name).bias
        if name == "0":  # the others also get what the layer before has given
            assert torch.allclose(change, amounts)
    sooner = absorb_biases(network, statistics=known, deviations=1)
    changes = [
        qn.output_errors(network, done.model, images(400)).max() for done in (absorbed, sooner)
    ]
    assert changes[0] < 0.01 < changes[1]


def test_statistics_of_later_layers_stay_true():
    """W c makes up for what is missing, so what a layer gives before its own loss is unchanged."""
    network = pointwise_chain(nn.Identity())
    known = measured_statistics(network, images())
    absorbed = absorb_biases(network, inputs=images())
    after = measured_statistics(absorbed.model, images())
    for name, amounts in absorbed.amounts.items():
        shifted = known[name].shifted(amounts)
        assert torch.allclose(after[name].mean, shifted.mean, atol=1e-12)
        assert torch.allclose(after[name].std, shifted.std, atol=1e-12)


STOPS = {
    "padded layer": (nn.Conv2d(4, 4, 3, padding=1), "2", "pads with zeros"),
    "padded by name": (nn.Conv2d(4, 4, 3, padding="same"), "2", "pads with zeros"),
    "padded before": (nn.ZeroPad2d((0, 1, 0, 1)), "2", "pads with zeros"),
    "padded average": (nn.AvgPool2d(3, 1, padding=1), "2", "averages over zeros"),
    "ReLU6": (nn.ReLU6(), "2", "ReLU6 is not positively homogeneous"),
}


@pytest.mark.parametrize("middle, at, reason", STOPS.values(), ids=STOPS)
def test_where_it_stops(middle, at, reason):
    network = pointwise_chain(middle)
    absorbed = absorb_biases(network, inputs=images())
    assert "0" not in absorbed.amounts
    (stop,) = [stop for stop in absorbed.stops if stop.source == "0"]
    assert stop.at == at and reason in stop.reason
    assert torch.equal(absorbed.model.get_submodule("0").bias, network[0].bias)


def test_padding_that_adds_nothing_is_no_stop():
    network = pointwise_chain(nn.Conv2d(4, 4, 1, padding="same"))
    assert "0" in absorb_biases(network, inputs=images()).amounts


@pytest.mark.parametrize("module", HOMOGENEOUS, ids=lambda module: module.__name__)
def test_what_lies_between_carries_a_constant(module):
    """Every operation of a boundary: what is taken away before it is missing after it."""
    if module in (nn.ReLU, nn.LeakyReLU, nn.PReLU) or module in ZERO_PADS:
        return  # the first ones need y ≥ c ≥ 0, the others stop it
    is_pool = any(module in pools for pools in POOLS.values())
    given = (2,) if is_pool else ((2, 3),) if module is PositionsMean else ()
    operation = module(*given).eval()
    pooled = next((d for d, pools in POOLS.items() if module in pools), 2)
    dimensions = 1 if module is nn.Dropout1d else pooled
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *[5] * dimensions, generator=generator, dtype=torch.float64)
    assert torch.allclose(operation(x - 2.5), operation(x) - 2.5)


def test_unknown_layers_and_skips_are_listed():
    body = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1))
    network = nn.Sequential(Residual(body, nn.Identity(), nn.ReLU())).eval()
    absorbed = absorb_biases(network, statistics={})
    assert not absorbed.amounts
    told = {stop.source: stop.reason for stop in absorbed.stops}
    assert told["0.body.0"] == "its statistics are not known" and "sum" in told["0.body.2"]


def entry(channels: int) -> ChannelStatistics:
    return ChannelStatistics(torch.zeros(channels), torch.zeros(channels))


@pytest.mark.parametrize(
    "options, match",
    [
        ({}, "pass either statistics or inputs; got neither"),
        ({"statistics": {}, "inputs": torch.zeros(1, 2, 6, 6)}, "got both"),
        ({"statistics": {"conv": entry(4)}}, "conv: has statistics, but is no layer"),
        ({"statistics": {"0": entry(3)}}, r"0: its mean has shape \(3,\); expected \(4,\)"),
        ({"statistics": {}, "deviations": -1}, "deviations must be a number from 0 on; got -1"),
    ],
)
def test_arguments_that_do_not_fit(options, match):
    with pytest.raises(qn.QnotesError, match=match):
        absorb_biases(pointwise_chain(nn.Identity()), **options)
