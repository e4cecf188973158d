"""Shapes: the rules agree with torch, and an input that does not fit is refused by name."""

import random

import pytest
import torch
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp

import qnotes as qn
from qnotes.networks.operations import operations
from qnotes.networks.tracing import trace
from qnotes.propagation.shapes import shapes_of

IMAGE = (1, 2, 6, 6)


def accepted(network: nn.Module, shape=IMAGE) -> qn.Profile:
    return qn.profile(network.eval(), network, input_shape=shape)


CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {
    1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    2: (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    3: (nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d),
}


def random_convolution(rng: random.Random, dimensions: int) -> nn.Module:
    def sizes(low, high):
        return tuple(rng.randint(low, high) for _ in range(dimensions))

    padding = rng.choice([sizes(0, 2), "same", "valid"])
    stride = sizes(1, 1) if padding == "same" else sizes(1, 3)
    options = {"padding": padding, "stride": stride, "dilation": sizes(1, 2)}
    return CONVS[dimensions](2, 4, sizes(1, 3), groups=rng.choice([1, 2]), **options)


def random_pool(rng: random.Random, dimensions: int) -> nn.Module:
    kind = rng.choice(POOLS[dimensions])
    if "Adaptive" in kind.__name__:
        return kind(rng.randint(1, 3))
    kernel = rng.randint(1, 3)
    options = {"stride": rng.randint(1, 3), "padding": rng.randint(0, kernel // 2)}
    return kind(kernel, ceil_mode=rng.random() < 0.5, **options)


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_shape_rules_agree_with_torch(dimensions):
    for seed in range(60):
        rng = random.Random(seed)
        shape = (1, 2, *(rng.randint(6, 9) for _ in range(dimensions)))
        layers = random_convolution(rng, dimensions), nn.ReLU(), random_pool(rng, dimensions)
        graph = trace(nn.Sequential(*layers, nn.Dropout(), nn.Flatten()).eval())
        try:
            ShapeProp(graph).propagate(torch.zeros(shape))
        except RuntimeError:
            continue
        for node, found in shapes_of(operations(graph), shape).items():
            assert found == tuple(node.meta["tensor_meta"].shape)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (nn.Conv2d(3, 2, 3), IMAGE, r"0: Conv2d expects an input of shape \(batch, 3, h, w\); got"),
        (nn.Conv2d(2, 2, 3), (1, 2, 6), r"0: Conv2d expects .*; got \(1, 2, 6\)"),
        (nn.Conv2d(2, 2, 7), IMAGE, "0: an input of shape .* is smaller than the kernel"),
        (
            nn.Linear(3, 2),
            (1, 4),
            r"0: Linear expects an input of shape \(batch, 3\); got \(1, 4\)",
        ),
        (nn.Linear(6, 2), IMAGE, r"0: Linear expects .* got \(1, 2, 6, 6\). Check input_shape"),
        (nn.MaxPool2d(7), IMAGE, r"0: cannot take an input of shape \(1, 2, 6, 6\)"),
    ],
)
def test_shapes_that_do_not_fit(network, shape, message):
    with pytest.raises(qn.QnotesError, match=message):
        accepted(nn.Sequential(network, nn.Conv2d(2, 2, 1)), shape)


@pytest.mark.parametrize("shape", [(), (3,), (1, 0), (1, -2), (1, 2.0), 7, None, "12", (1, "3")])
def test_input_shapes_that_are_none(shape):
    with pytest.raises(qn.QnotesError, match="input_shape must be positive integers, batch"):
        accepted(nn.Sequential(nn.Linear(3, 2)), shape)
