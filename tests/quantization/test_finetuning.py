"""Training with rounded weights: what is trained, and that it helps the rounded network."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import qnotes as qn
from qnotes.quantization.finetuning import _StraightThrough
from qnotes.quantization.scheme import Scheme


def few_digits(count: int = 320):
    images, labels = qn.digits("train")
    return images[:count], labels[:count]


def small() -> nn.Module:
    """A network that a few epochs can train."""
    torch.manual_seed(0)
    layers = [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def trained():
    """The same number of epochs with rounding in the forward pass, and without."""
    images, labels = few_digits(960)
    start = qn.finetune(small(), images, labels, bits=None, epochs=12, learning_rate=1e-2)
    return {bits: qn.finetune(start, images, labels, bits=bits, epochs=6) for bits in (2, None)}


def test_the_straight_through_gradient():
    """Forward the rounded weight; backward as if there were no rounding."""
    weight = torch.randn(3, 5, requires_grad=True)
    rounded = _StraightThrough(Scheme(), 3)(weight)
    expected = qn.quantize(nn.Sequential(_linear(weight)).eval(), bits=3).layers["0"].weight
    torch.testing.assert_close(rounded, expected, rtol=1e-6, atol=1e-7)
    slopes = torch.randn(3, 5)
    (rounded * slopes).sum().backward()
    assert torch.equal(weight.grad, slopes)


def _linear(weight) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.detach().clone())
    return linear


@pytest.mark.medium
def test_training_with_rounding_helps_the_rounded_network(trained):
    images, labels = qn.digits("test")
    losses = {
        bits: cross_entropy(qn.outputs(qn.quantize(m, bits=2).model, images), labels).item()
        for bits, m in trained.items()
    }
    assert losses[2] < losses[None]


def test_biases_that_folding_made_are_trained_too():
    images, labels = few_digits(128)
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.AvgPool2d(6)]
    network = qn.fold(nn.Sequential(*layers, nn.Flatten(), nn.Linear(50, 10)).eval())
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    after = dict(qn.finetune(network, images, labels, bits=4, epochs=1).named_parameters())
    assert before.keys() == after.keys() >= {"0.bias"}
    assert all((after[name] - value).abs().max() > 1e-4 for name, value in before.items())


@pytest.mark.medium
def test_what_comes_back_is_a_reference(trained):
    for network in trained.values():
        assert not network.training
        assert {p.dtype for p in network.parameters()} == {torch.float64}
        quant = qn.quantize(network, bits=2)
        gap = max(layer.gap for layer in quant.layers.values())
        assert gap > 0  # not rounded yet
        qn.profile(network, quant.model, input_shape=(1, 1, 32, 32))


def test_the_network_stays_and_seeds_decide():
    network, (images, labels) = small(), few_digits()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    state = torch.random.get_rng_state()
    runs = [
        qn.finetune(network, images, labels, bits=3, epochs=1, seed=seed).state_dict()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"bits": 17}, "bits must be an integer from 1 to 16; got 17"),
        ({"rounding": "floor"}, "finetune rounds to nearest; got rounding='floor'"),
        ({"learning_rate": 1e30}, "training diverged at learning_rate=1e"),
        ({"granularity": "row"}, "granularity must be one of"),
    ],
)
def test_wrong_calls(options, message):
    images, labels = few_digits(320)
    with pytest.raises(qn.QnotesError, match=message):
        qn.finetune(small(), images, labels, **{"bits": 4, "epochs": 1, **options})
