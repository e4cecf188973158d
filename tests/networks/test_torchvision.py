"""All classifiers of torchvision: each has numbers, or is refused with a reason of mathematics."""

import gc
import math

import pandas as pd
import pytest
import torch

import qnotes as qn
from qnotes.files import data_folder
from qnotes.networks._torchvision import torchvision
from qnotes.networks.operations import AFFINE, operations
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.norms import graph_bound

# One process of those that share the memory, and one network after the other.
pytestmark = pytest.mark.xdist_group("torchvision")


@pytest.fixture(autouse=True)
def nothing_is_kept():
    """Traced networks are in cycles, which Python's collector finds when it happens to look."""
    yield
    gc.collect()


#: Left out: weights in float64, before and after rounding, that two processes of a machine of 24 GB
#: cannot hold. RegNetY of 645 million weights needs 10 GB, beside what rounds them; ViT of 633
#: million needs 8 GB, and has the layers of the other ViTs.
LEFT_OUT = {"regnet_y_128gf": 645e6, "vit_h_14": 633e6}
NAMES = [n for n in torchvision.models.list_models(torchvision.models) if n not in LEFT_OUT]
#: A family each.
QUICK = ("squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v3_small")
#: The first layer without a slope that the weights bound, by family.
REFUSED = {
    "convnext": "layer_norm: layer_norm is not .* features.0.1 calls it, .* divides by the spread",
    "maxvit": "blocks.0.layers.0.layers.window_attention.attn_layer.0: LayerNorm is not .* spread",
    "swin": "features.0.2: LayerNorm is not .* divides by the spread",
    "vit": "encoder.layers.encoder_layer_0.ln_1: LayerNorm is not .* divides by the spread",
}
#: What is multiplied by a gate is no chain; the graph has T8, and T2 by `graph_bound`.
GATED = ("efficientnet", "mobilenet_v3", "regnet_y")
TABLE = pd.read_csv(data_folder() / "architectures.csv").set_index("network")


def walked(*, refused: bool) -> list:
    """Names with their marks."""
    names = [n for n in NAMES if n.startswith(tuple(REFUSED)) == refused]
    quick = ("convnext_tiny", "swin_t") if refused else QUICK
    marks = [pytest.mark.medium if name in quick else pytest.mark.slow for name in names]
    return [pytest.param(name, marks=mark) for name, mark in zip(names, marks, strict=True)]


def made(name: str) -> torch.nn.Module:
    old = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, **old).eval()


def without_numbers(name: str, **options) -> torch.nn.Module:
    """All weights 0: whether a network is refused does not depend on them."""
    # RegNets compute their widths with tensors, which need numbers.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = torchvision.models.get_model(name, weights=None, **options)
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    return model


@pytest.mark.parametrize("name", walked(refused=False))
@torch.no_grad()
def test_bounded(name):
    side = 128 if name == "inception_v3" else 64
    shape = (1, 3, side, side)
    folded = qn.fold(made(name), input_shape=shape)
    row = TABLE.loc[name]
    assert sum(operation.kind == AFFINE for operation in operations(folded)) == row["layers"]
    quantized = qn.quantize(folded, bits=4).model
    inputs = qn.random_inputs(shape, count=1, seed=0)
    error = math.log10(qn.output_errors(folded, quantized, inputs).max().item())
    T8 = vector_bound(folded, quantized, input_shape=shape).max()
    T2 = graph_bound(folded, quantized, input_shape=shape).max()
    assert math.isfinite(T2) and error <= T8 <= T2 + 1e-9
    if name.startswith(GATED):
        with pytest.raises(qn.UnsupportedOperation, match="a value with a gate is no layer"):
            qn.profile(folded, quantized, input_shape=shape)
        return
    profile = qn.profile(folded, quantized, input_shape=shape)
    assert profile.depth == row["L"]
    bounds = qn.bounds(profile).set_index("theorem")
    assert error <= bounds["log10"].min()
    # The chain carries on what the graph adds later, so its recursion is never smaller.
    assert T2 - 1e-9 <= bounds.loc["T2", "log10"] <= bounds.loc["T5", "log10"].min() + 1e-9


@pytest.mark.parametrize("name", walked(refused=True))
def test_refused(name):
    """Not when folding, which does nothing to it; when there is something to bound."""
    shape = (1, 3, 64, 64)
    options = {"image_size": 64} if name.startswith("vit") else {}
    folded = qn.fold(without_numbers(name, **options), input_shape=shape)
    message = next(REFUSED[family] for family in REFUSED if name.startswith(family))
    with pytest.raises(qn.UnsupportedOperation, match=f"^{message}"):
        qn.quantize(folded, bits=4)
    with pytest.raises(qn.UnsupportedOperation, match=f"^{message}"):
        qn.profile(folded, folded, input_shape=shape)


def test_what_is_left_out_is_too_large_and_of_a_family_that_is_walked():
    weights = torchvision.models.get_model_weights
    for name, size in LEFT_OUT.items():
        assert weights(name).DEFAULT.meta["num_params"] == pytest.approx(size, rel=1e-2)
    most = max(weights(name).DEFAULT.meta["num_params"] for name in NAMES)
    assert most < 310e6 and {name[:4] for name in LEFT_OUT} <= {name[:4] for name in NAMES}
