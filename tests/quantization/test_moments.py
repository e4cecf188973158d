"""Second moments of convolutions: the columns are what the layer multiplies with."""

import copy

import pytest
import torch
from torch import nn

from qnotes.quantization import moments
from qnotes.quantization.layer import rows
from qnotes.quantization.moments import columns, second_moments

LAYERS = {
    "linear": (nn.Linear(5, 3), (4, 5)),
    "plain": (nn.Conv2d(2, 3, 3), (2, 2, 6, 7)),
    "border": (nn.Conv2d(2, 3, (3, 2), padding=(2, 1)), (2, 2, 5, 4)),
    "stride": (nn.Conv2d(2, 3, 3, stride=(2, 3), padding=1), (3, 2, 7, 6)),
    "dilation": (nn.Conv2d(2, 3, (3, 2), dilation=(2, 3), padding=2), (2, 2, 7, 6)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1), (2, 4, 6, 6)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1, bias=False), (2, 4, 5, 5)),
    "point": (nn.Conv2d(4, 2, 1, stride=2), (2, 4, 5, 5)),
    "same": (nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2)), (2, 2, 6, 7)),
    "valid": (nn.Conv2d(2, 3, 2, padding="valid"), (2, 2, 4, 4)),
    "line": (nn.Conv1d(4, 4, 3, groups=2, stride=2, padding=2, dilation=2), (3, 4, 9)),
    "volume": (nn.Conv3d(2, 2, (2, 3, 2), padding=(0, 1, 1), stride=(1, 2, 1)), (2, 2, 3, 5, 4)),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def drawn(kind: str):
    layer, shape = LAYERS[kind]
    layer = copy.deepcopy(layer).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in "12")
    return layer, one, other


def without_bias(layer: nn.Module, inputs):
    """The layer's output without bias, of shape (channels, inputs and places)."""
    made = layer(inputs)
    if layer.bias is not None:
        made = made - layer.bias.view(-1, *[1] * (made.ndim - 2))
    return made.transpose(0, 1).flatten(1)


@every_layer
def test_rows_times_columns_are_the_output(kind):
    layer, inputs, _ = drawn(kind)
    read = columns(layer, inputs)
    by_group = rows(layer.weight).view(len(read), -1, read.shape[1])
    torch.testing.assert_close((by_group @ read).flatten(0, 1), without_bias(layer, inputs))


@every_layer
@pytest.mark.parametrize("block", [1, 10**6])
def test_moments_are_products_of_outputs(kind, block, monkeypatch):
    """⟨X w, Y v⟩ = wᵀ XᵀY v for what the layer makes with the weights w and v; in any batches."""
    monkeypatch.setattr(moments, "BLOCK", block)
    layer, inputs, others = drawn(kind)
    own, mixed = second_moments(layer, inputs, others)
    left = rows(layer.weight).clone()
    ours = without_bias(layer, inputs)
    layer.weight.copy_(layer.weight.flatten().sin().flip(0).view_as(layer.weight))
    right = rows(layer.weight)
    shape = (len(own), -1, own.shape[1])
    for moment, theirs in [
        (own, without_bias(layer, inputs)),
        (mixed, without_bias(layer, others)),
    ]:
        found = (left.view(shape) @ moment * right.view(shape)).sum(2).flatten()
        torch.testing.assert_close(found, (ours * theirs).sum(1))


def test_moments_are_float64():
    layer, inputs, _ = drawn("plain")
    (own,) = second_moments(layer, inputs.float())
    assert own.dtype == torch.float64
    torch.testing.assert_close(own, second_moments(layer, inputs.float().double())[0])
