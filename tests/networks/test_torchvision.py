"""Classifiers of torchvision: each has numbers, or is refused with a reason of mathematics.

Not those of more than 80 million weights, which take minutes and gigabytes, nor transformers.
"""

import math

import pytest
import torch

import qnotes as qn
from qnotes.networks._torchvision import torchvision
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.norms import graph_bound

#: Left out. VGG has the layers of AlexNet.
LARGE = (
    *("vgg", "vit", "swin_b", "swin_v2_b", "convnext_base", "convnext_large", "wide_resnet101_2"),
    *("resnext101", "regnet_x_16gf", "regnet_x_32gf", "regnet_y_16gf", "regnet_y_32gf"),
    *("regnet_y_128gf", "efficientnet_v2_l", "maxvit"),
)
NAMES = [n for n in torchvision.models.list_models(torchvision.models) if not n.startswith(LARGE)]
#: A family each.
QUICK = ("squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v3_small")
#: Why there is no finite slope.
REASONS = "divides by the spread|is not finite"
#: What is multiplied by a gate is no chain; the graph has T8, and T2 by `graph_bound`.
GATED = ("efficientnet", "mobilenet_v3", "regnet_y")
REFUSED = ("convnext", "swin")


def made(name: str) -> torch.nn.Module:
    old = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, **old).eval()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.medium if name in QUICK else pytest.mark.slow)
        for name in NAMES
    ],
)
@torch.no_grad()
def test_bounded_or_refused(name):
    side = 128 if name == "inception_v3" else 64
    shape = (1, 3, side, side)
    if name.startswith(REFUSED):
        with pytest.raises(qn.UnsupportedOperation, match=REASONS):
            qn.fold(made(name), input_shape=shape)
            qn.profile(*[qn.fold(made(name))] * 2, input_shape=shape)
        return
    folded = qn.fold(made(name), input_shape=shape)
    quantized = qn.quantize(folded, bits=4).model
    inputs = qn.random_inputs(shape, count=2, seed=0)
    error = math.log10(qn.output_errors(folded, quantized, inputs).max().item())
    T8 = vector_bound(folded, quantized, input_shape=shape).max()
    T2 = graph_bound(folded, quantized, input_shape=shape).max()
    assert math.isfinite(T8) and error <= T8 <= T2 + 1e-9
    if name.startswith(GATED):
        with pytest.raises(qn.UnsupportedOperation, match="a value with a gate is no layer"):
            qn.profile(folded, quantized, input_shape=shape)
        return
    bounds = qn.bounds(qn.profile(folded, quantized, input_shape=shape)).set_index("theorem")
    assert error <= bounds["log10"].min()
    assert bounds.loc["T2", "log10"] <= bounds.loc["T5", "log10"].min() + 1e-9
