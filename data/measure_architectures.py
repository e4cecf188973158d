"""Write the table of architectures again: `python -m data.measure_architectures`.

Or `make architectures`. Every classifier of torchvision with random weights, and the networks of
this book with random and with trained weights: what they are made of, their bounds at 8 bits, and
the largest error on a few inputs. A row is stored as soon as it is there, and a stored row is not
measured again, unless `--again` asks for it.
"""

from __future__ import annotations

import argparse
import gc
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import fx, nn
from tqdm import tqdm

from qnotes.errors import UnsupportedOperation
from qnotes.experiments import versions
from qnotes.files import data_folder, write_whole
from qnotes.networks import fold, input_shape, load, names, preprocessing
from qnotes.networks._torchvision import torchvision
from qnotes.networks.architectures import STORED, seeded
from qnotes.networks.operations import AFFINE, CONCATENATION, GATED, SUM, Operation, operations
from qnotes.networks.weights import calibrate, noise
from qnotes.observation import distances, outputs, random_inputs
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.measuring import profile
from qnotes.propagation.norms import graph_bound
from qnotes.propagation.profile_bounds import bounds, gain_factors
from qnotes.propagation.profiles import Profile
from qnotes.propagation.walk import Domain, propagate
from qnotes.quantization import quantize
from qnotes.threads import one_thread

FILE = "architectures.csv"
BITS, SEED = 8, 0
#: Bounds are of inputs of 224² pixels; errors are measured on smaller ones, to be there in seconds.
SIDE, SIDE_OF_INCEPTION = 64, 75
INPUTS = 4
#: Too large for a machine of 16 GB: 5 GB of weights in float64, and as much again rounded.
LEFT_OUT = ("regnet_y_128gf", "vit_h_14")
#: What a row is about; the first prefix that fits decides.
FAMILIES = {
    **{"alexnet": "AlexNet", "convnext": "ConvNeXt", "densenet": "DenseNet"},
    **{"efficientnet_v2": "EfficientNetV2", "efficientnet_lite": "EfficientNet-Lite"},
    **{"efficientnet": "EfficientNet", "googlenet": "GoogLeNet", "inception": "Inception"},
    **{"maxvit": "MaxViT", "mnasnet": "MNASNet", "mobilenet_v2": "MobileNetV2"},
    **{"mobilenet_v3": "MobileNetV3", "regnet_x": "RegNetX", "regnet_y": "RegNetY"},
    **{"resnet": "ResNet", "resnext": "ResNeXt", "shufflenet": "ShuffleNet"},
    **{"squeezenet": "SqueezeNet", "swin": "Swin", "vgg": "VGG", "vit": "ViT"},
    "wide_resnet": "WideResNet",
}


def keys() -> list[tuple[str, str]]:
    """Network and source of its weights, of every row; the small ones first."""
    models = torchvision.models
    weights = {name: models.get_model_weights(name).DEFAULT.meta for name in classifiers()}
    ordered = sorted(weights, key=lambda name: weights[name]["num_params"])
    ours = [*names(), *STORED]
    both = [(name, kind) for name in ours for kind in (trained(name), "random")]
    return [*both, *((name, "random") for name in ordered)]


def classifiers() -> list[str]:
    """The names of torchvision's classifiers that are measured."""
    models = torchvision.models
    return [name for name in models.list_models(models) if name not in LEFT_OUT]


def trained(name: str) -> str:
    """The source of a network's trained weights."""
    return "imagenet" if name in STORED else "digits"


def made(name: str, weights: str = "random") -> nn.Module:
    """A network in eval mode; random weights are calibrated as those that `load` makes."""
    if name in names("random"):
        return load(name, weights=weights, seed=SEED)
    old = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    with seeded(SEED):
        model = torchvision.models.get_model(name, weights=None, **old).eval()
    calibrate(model, noise((1, 3, 224, 224), SEED))
    return model


def measured(name: str, weights: str) -> dict[str, object]:
    """One row of the table."""
    shape = input_shape(name, weights) if name in names(weights) else (1, 3, 224, 224)
    radius = preprocessing(name, weights).radius if name in names(weights) else 1.0
    about = {
        "network": name,
        "weights": weights,
        "family": next(FAMILIES[key] for key in FAMILIES if name.startswith(key)),
        "seed": SEED,
        "bits": BITS,
        "radius": radius,
        "side": shape[-1],
    }
    found = versions() | {"torchvision": torchvision.__version__}
    about |= {key: found[key] for key in ("qnotes", "torch", "torchvision")}
    model = made(name, weights)
    about["parameters"] = sum(p.numel() for p in model.parameters())
    try:
        folded = fold(model, input_shape=shape)
        operations(folded)
    except UnsupportedOperation as error:
        return about | {"refused": str(error).split(" Covered:")[0]}
    del model
    quantized = quantize(folded, bits=BITS).model
    domain = {"input_shape": shape, "radius": radius}
    about |= structure(folded) | errors(name, folded, quantized, shape, radius)
    about["T8"] = vector_bound(folded, quantized, **domain).max()
    about["T2 on the graph"] = graph_bound(folded, quantized, **domain).max()
    try:
        return about | of_chain(profile(folded, quantized, **domain))
    except UnsupportedOperation as error:
        return about | {"no chain": str(error).split(";")[0].split(", so ")[0]}


def structure(folded: fx.GraphModule) -> dict[str, object]:
    """What a network is made of: counts of operations, depth, and the share of depthwise layers."""
    found = operations(folded)
    layers = [operation.module for operation in found if operation.kind == AFFINE]
    placed = [layer for layer in layers if _is_depthwise(layer) and layer.weight[0].numel() == 1]
    wide = [layer for layer in layers if _is_depthwise(layer) and layer.weight[0].numel() > 1]
    return {
        "layers": len(layers),
        "depth": propagate(found, _Depth()),
        "depthwise": len(wide) / len(layers),
        "norms": len(placed),  # batch norms that follow no layer of their own
        "sums": sum(operation.kind == SUM for operation in found),
        "concatenations": sum(operation.kind == CONCATENATION for operation in found),
        "gates": sum(operation.kind == GATED for operation in found),
    }


def _is_depthwise(layer: nn.Module) -> bool:
    groups = getattr(layer, "groups", 1)
    return groups > 1 and groups == layer.in_channels


class _Depth(Domain):
    """Most layers on a way from the input; what only opens a gate does not count."""

    def input(self, operation: Operation) -> int:
        return 0

    def affine(self, operation: Operation, read: int) -> int:
        return read + 1

    def sum(self, operation: Operation, *reads: int) -> int:
        return max(reads)

    activation = max_pool = average_pool = flatten = padding = sum
    sloped_activation = concatenation = mean = rearrangement = sum

    def gated(self, operation: Operation, *reads: int) -> int:
        return reads[1 - operation.module.gate]


def errors(
    name: str, folded: nn.Module, quantized: nn.Module, shape: tuple[int, ...], radius: float
) -> dict[str, float]:
    """The largest error on random inputs, half of them corners of the box; and how large outputs
    are, in the median. Both as decimal logarithms."""
    side = min(shape[-1], SIDE_OF_INCEPTION if name == "inception_v3" else SIDE)
    inputs = random_inputs((1, shape[1], side, side), count=INPUTS, radius=radius, seed=SEED)
    ours, theirs = (outputs(network, inputs) for network in (folded, quantized))
    return {
        "inputs": INPUTS,
        "side of inputs": side,
        "error": math.log10(distances(ours, theirs).max().item()),
        "size": math.log10(ours.abs().amax(1).median().item()),
    }


def of_chain(found: Profile) -> dict[str, float]:
    """The closed bounds, the gain of T7 by factors, and how far apart the norms are."""
    table = bounds(found).set_index(["theorem", "bound"])["log10"]
    norms = np.array([max(1.0, layer.joint_norm) for layer in found.layers])
    roots = np.array([layer.fan_in**0.5 for layer in found.layers])
    return {
        "L": found.depth,
        "P2": table["P2"].item(),
        "T5 mean": table["T5", "mean form"],
        "T5 product": table["T5", "product form"],
        "T2": table["T2"].item(),
        **{f"gain by {name}": value for name, value in gain_factors(found).items()},
        "spread": np.log10(norms).std(),  # of log10 of the norms
        "mean norm": math.log10(mean_but_one(norms)),
        # What the factor of norms would be if each norm were a multiple of the root of its fan-in.
        "gain by roots": (found.depth - 1) * math.log10(roots.max() / mean_but_one(roots)),
    }


def mean_but_one(values: np.ndarray) -> float:
    """The mean of all but the smallest, as in T4."""
    return (values.sum() - values.min()) / max(1, len(values) - 1)


def as_csv(rows: Iterable[Mapping[str, object]]) -> str:
    """The table as it is stored, numbers with seven digits; columns in the order of their use."""
    table = pd.DataFrame(rows)
    return table.to_csv(index=False, float_format="%.7g", lineterminator="\n")


def main(arguments: list[str] | None = None) -> None:
    """Measure all rows that are not there, or those of some networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="only these; the others stay as they are")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder (%(default)s)")
    parser.add_argument("--again", action="store_true", help="measure stored rows again")
    options = parser.parse_args(arguments)
    kept, every = _kept(options.data / FILE), keys()
    wanted = [key for key in every if not options.networks or key[0] in options.networks]
    for key in tqdm([key for key in wanted if options.again or key not in kept]):
        with one_thread(), torch.no_grad():
            kept[key] = measured(*key)
        gc.collect()  # graphs are cycles, and hold the weights
        ordered = [kept[key] for key in every if key in kept]
        write_whole(options.data, {FILE: as_csv(ordered).encode()})


def _kept(path: Path) -> dict[tuple[str, str], dict[str, object]]:
    if not path.is_file():
        return {}
    rows = pd.read_csv(path).to_dict("records")
    return {(row["network"], row["weights"]): row for row in rows}


if __name__ == "__main__":
    main()
