"""Networks on which a bound could silently be wrong: each is either refused or bounded.

The error is measured on the caller's own modules, not on their traces, so that a trace that lost
something would show.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import qnotes as qn
from qnotes.networks.architectures import seeded
from tests.random_networks import Net, assert_bounded, bound_values, hard_inputs

IMAGE, VECTOR = (1, 2, 5, 5), (1, 3)


def conv(**options) -> nn.Conv2d:
    return nn.Conv2d(2, 2, 3, padding=1, **options)


def linear(fan_in: int = 3, width: int = 3, bias: bool = True) -> nn.Linear:
    return nn.Linear(fan_in, width, bias=bias)


def twice(s, x):
    return s.a(torch.relu(s.a(x)))


def in_parallel(s, x):
    return s.a(x) + s.b(x)


def thrice_in_parallel(s, x):
    return s.a(x) + s.b(x) + s.c(x) + x


def doubled(s, x):
    return (lambda y: y + y)(s.a(x))


def doubled_again_and_again(s, x):
    y = s.a(x)
    for _ in range(4):
        y = torch.relu(y + y + y)
    return y


def narrow_residual(s, x):
    for layer in (s.a, s.b, s.c, s.a, s.b):
        x = layer(x) + x
    return x


def nested_skips(s, x):
    y = torch.relu(s.a(x))
    z = torch.relu(s.b(y) + y)
    return s.c(z) + x + y


def long_skips(s, x):
    """Sums across several layers, as in a U-net."""
    one = torch.relu(s.a(x))
    two = torch.relu(s.b(one))
    three = torch.relu(s.c(two) + two)
    four = torch.relu(s.a(three) + one)
    return s.b(four) + x


def skip_over_pooling(s, x):
    y = torch.relu(s.a(x))
    return F.max_pool2d(s.b(y), 3, stride=1, padding=1) + F.avg_pool2d(y, 3, 1, 1)


def relu_of_the_input(s, x):
    return s.a(torch.relu(x)) + s.b(x)


def dead_code(s, x):
    s.c(x)
    torch.relu(s.b(s.c(x)))
    return s.a(x)


def overwriting_the_input(s, x):
    x += s.a(x)
    return s.b(x)


def overwritten_alias(s, x):
    y = s.a(x)
    z = y
    z += s.b(y)
    return z + y


def overwriting_methods(s, x):
    y = s.a(x)
    y.relu_()
    return s.b(y)


def overwriting_functions(s, x):
    y = s.a(x)
    torch.relu_(y)
    return y


def in_place_relu_then_skip(s, x):
    y = s.a(x)
    z = F.relu(y, inplace=True)
    return s.b(z) + y


def harmless_in_place(s, x):
    y = F.relu(s.a(x), inplace=True)
    z = s.b(y)
    z += y
    return F.relu(z, inplace=True)


def flattened(s, x):
    return s.a(x.flatten())


def shuffled(s, x):
    return s.a(x).permute(0, 1, 3, 2)


def plus_one(s, x):
    return s.a(x) + 1.0


def relu_of_relu_of_relu(s, x):
    return s.b(F.relu6(torch.relu(F.relu(s.a(x)))))


def scaled_subclass() -> nn.Module:
    class Linear(nn.Linear):
        def forward(self, x):
            return 50 * super().forward(x)

    return nn.Sequential(Linear(3, 3))


def scaled_by_a_hook(where: str) -> nn.Module:
    network = nn.Sequential(nn.Sequential(linear()), nn.ReLU())
    target = {"root": network, "container": network[0], "layer": network[0][0]}[where]
    target.register_forward_hook(lambda module, inputs, output: 50 * output)
    return network


def tied() -> nn.Module:
    network = nn.Sequential(linear(), nn.ReLU(), linear())
    network[2].weight = network[0].weight
    return network


def large_bias() -> nn.Module:
    network = nn.Sequential(linear(), nn.ReLU(), linear(), nn.ReLU6(), linear())
    network[0].bias.data.fill_(1e6)
    return network


def sequential(*layers) -> nn.Module:
    return nn.Sequential(*layers)


# Weights of their own seed: the same ones whatever drew random numbers before, and no network that
# happens to be constant.
with seeded(1):
    SMALL = {"a": linear(), "b": linear(), "c": linear()}
    TALL = {"a": linear(8, 1, False), "b": linear(8, 1, False)}
    THIN = {"a": linear(1, 1), "b": linear(1, 1), "c": linear(1, 1)}
    IMAGES = {"a": conv(), "b": conv(), "c": conv()}

    ODD = {
        "module used twice": (Net(twice, **SMALL), VECTOR),
        "two layers in parallel": (Net(in_parallel, **TALL), (1, 8)),
        "three layers in parallel": (Net(thrice_in_parallel, **SMALL), VECTOR),
        "three narrow layers in parallel": (Net(thrice_in_parallel, **THIN), (1, 1)),
        "sum with itself": (Net(doubled, **SMALL), VECTOR),
        "sums without weights": (Net(doubled_again_and_again, **THIN), (1, 1)),
        "narrow residual": (Net(narrow_residual, **THIN), (1, 1)),
        "nested skips": (Net(nested_skips, **IMAGES), IMAGE),
        "long skips": (Net(long_skips, **IMAGES), IMAGE),
        "permute": (Net(shuffled, **IMAGES), IMAGE),
        "skip over pooling": (Net(skip_over_pooling, **IMAGES), IMAGE),
        "relu of the input": (Net(relu_of_the_input, **SMALL), VECTOR),
        "dead code": (Net(dead_code, **SMALL), VECTOR),
        "several activations": (Net(relu_of_relu_of_relu, **SMALL), VECTOR),
        "input overwritten": (Net(overwriting_the_input, **SMALL), VECTOR),
        "harmless in place": (Net(harmless_in_place, **IMAGES), IMAGE),
        "tied weights": (tied(), VECTOR),
        "large bias": (large_bias(), VECTOR),
        "in-place relu first": (sequential(nn.ReLU(inplace=True), linear()), VECTOR),
        "padding same": (sequential(nn.Conv2d(2, 3, 3, padding="same", dilation=2)), IMAGE),
        "ceil mode": (sequential(conv(), nn.MaxPool2d(2, ceil_mode=True)), IMAGE),
        "average over the border": (
            sequential(conv(), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
            IMAGE,
        ),
        "one dimension": (sequential(nn.Conv1d(2, 2, 2), nn.ReLU(), nn.AvgPool1d(2)), (1, 2, 5)),
        "three dimensions": (sequential(nn.Conv3d(1, 2, 2), nn.MaxPool3d(2)), (1, 1, 3, 3, 3)),
        "kernel larger than the image": (sequential(nn.Conv2d(2, 2, 5, padding=2)), (1, 2, 1, 1)),
        "image without the middle": (
            sequential(nn.Conv2d(2, 2, 3, padding=3, dilation=3)),
            (1, 2, 2, 2),
        ),
    }

    REFUSED = {
        "overwritten alias": (Net(overwritten_alias, **SMALL), VECTOR),
        "relu_()": (Net(overwriting_methods, **SMALL), VECTOR),
        "torch.relu_": (Net(overwriting_functions, **SMALL), VECTOR),
        "in-place relu, then skip": (Net(in_place_relu_then_skip, **SMALL), VECTOR),
        "flatten with the batch": (Net(flattened, a=linear(50, 2)), IMAGE),
        "constant": (Net(plus_one, **SMALL), VECTOR),
        "subclass": (scaled_subclass(), VECTOR),
        "hook on the network": (scaled_by_a_hook("root"), VECTOR),
        "hook on a layer": (scaled_by_a_hook("layer"), VECTOR),
        "transposed convolution": (sequential(nn.ConvTranspose2d(2, 2, 2)), IMAGE),
        "padding with a constant": (sequential(nn.ConstantPad2d(1, 5.0), conv()), IMAGE),
        "reflection": (sequential(conv(padding_mode="reflect")), IMAGE),
        "max pool of padding": (sequential(conv(), nn.MaxPool2d(2, padding=1, dilation=6)), IMAGE),
        "linear on images": (sequential(nn.Linear(5, 5)), IMAGE),
    }


def changed(network: nn.Module, step: float) -> nn.Module:
    """All weights and biases moved away from zero: errors line up at corners."""
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data += step * (parameter.data >= 0).double().mul(2).sub(1)
    return other


def measured(network: nn.Module, other: nn.Module, inputs: torch.Tensor) -> float:
    with torch.no_grad():
        return (network(inputs.clone()) - other(inputs.clone())).abs().max().item()


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("sign", ["as they are", "positive"])
@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_odd_networks_are_bounded(name, sign, radius):
    network, shape = copy.deepcopy(ODD[name])
    network = network.double().eval()
    if sign == "positive":
        for parameter in network.parameters():
            parameter.data.abs_()
    other = changed(network, 0.03)
    profile = qn.profile(qn.fold(network), qn.fold(other), input_shape=shape, radius=radius)
    error = measured(network, other, hard_inputs(shape, radius))
    assert error > 0
    assert_bounded(error, bound_values(profile))


def test_hook_on_a_container_is_traced():
    """Its product with 50 is seen as an operation, and refused."""
    network = scaled_by_a_hook("container").double().eval()
    with pytest.raises(qn.UnsupportedOperation, match=r"mul: a product of .* is not covered"):
        qn.profile(network, network, input_shape=VECTOR)


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_are_refused(name):
    network, shape = copy.deepcopy(REFUSED[name])
    network = network.double().eval()
    with pytest.raises(qn.QnotesError):
        qn.profile(network, changed(network, 0.03), input_shape=shape)


@pytest.mark.parametrize("name", [*ODD, *REFUSED])
def test_folding_keeps_the_function(name):
    """Folding alone, without a profile, never gives another function either."""
    network, shape = copy.deepcopy({**ODD, **REFUSED}[name])
    network = network.double().eval()
    x = hard_inputs(shape, 1.0)[:1]
    try:
        folded = qn.fold(network)
    except qn.QnotesError:
        return
    difference = measured(network, folded, x)
    assert math.isnan(difference) or difference <= 1e-9
