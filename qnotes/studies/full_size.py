"""Networks of full size: what they cost, what of them is structure, how well they classify."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.networks import fold, input_shape, load
from qnotes.networks._torchvision import torchvision
from qnotes.networks.operations import AFFINE_MODULES
from qnotes.observation import distances, outputs, random_inputs
from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds
from qnotes.propagation.profiles import Profile
from qnotes.quantization import quantize

#: How many classes ImageNet's classifiers tell apart.
CLASSES = 1000
#: Images that run through the networks at once.
BATCH = 16


@dataclass(frozen=True)
class Survey:
    """Profiles, bounds and costs of several networks.

    Attributes:
        profiles: by name and bit-width.
        bounds: a row a bound, with columns as in the table of `qnotes.sweep`; rows of theorem
            ``measured`` hold the largest error on random inputs.
        costs: a row a network: parameters, ``megabytes`` of both sets of weights in float64,
            ``kilobytes`` of one profile, and seconds by step. Steps that are done once a width
            count with their mean; ``one pass`` sums the absolute rows of both sets of weights.
    """

    profiles: dict[tuple[str, int], Profile]
    bounds: pd.DataFrame
    costs: pd.DataFrame


def survey(
    networks: Iterable[str],
    *,
    bits: Iterable[int],
    weights: str,
    radius: float = 1.0,
    seed: int = 0,
    inputs: int = 0,
) -> Survey:
    """Measure networks one after the other, so that memory holds one of them at a time.

    Args:
        networks: names that `qnotes.load` knows for these weights.
        bits: widths of a code; a symmetric grid for each channel.
        weights: ``digits``, ``imagenet`` or ``random``.
        radius: D; inputs lie in [-D, D]^N_0.
        seed: of random weights and random inputs.
        inputs: random inputs on which errors are measured, in float32; none by default.
    """
    widths = list(bits)
    profiles, rows, costs = {}, [], []
    for name in networks:
        shared = {"network": name, "weights": weights, "radius": radius, "seed": seed}
        shape, clock = input_shape(name, weights), _Clock()
        folded = clock("fold", fold, clock("load", load, name, weights=weights, seed=seed))
        for width in widths:
            rounded = clock("quantize", quantize, folded, bits=width).model
            found = clock("profile", profile, folded, rounded, input_shape=shape, radius=radius)
            ladder = clock("bounds", bounds, found)
            clock("one pass", _row_sums, folded, rounded)
            scheme = {"bits": width, "granularity": "channel", "symmetric": True}
            facts = {**shared, **scheme, "depth": found.depth}
            rows += [facts | row for row in ladder.drop(columns="share").to_dict("records")]
            if inputs:
                batch = random_inputs(shape, count=inputs, radius=radius, seed=seed)
                rows.append(facts | _measured(folded, rounded, batch))
            profiles[name, width] = found
        sizes = {
            "parameters": sum(p.numel() for p in folded.parameters()),
            "megabytes": sum(map(_bytes, (folded, rounded))) / 1e6,
            "kilobytes": len(found.to_json().encode()) / 1e3,
        }
        costs.append({"network": name, **sizes, **clock.means()})
        del folded, rounded
    return Survey(profiles, pd.DataFrame(rows), pd.DataFrame(costs))


class _Clock:
    """Runs functions and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, step: str, function: Callable, *arguments, **options):
        start = time.perf_counter()
        result = function(*arguments, **options)
        self.seconds.setdefault(step, []).append(time.perf_counter() - start)
        return result

    def means(self) -> dict[str, float]:
        return {step: sum(times) / len(times) for step, times in self.seconds.items()}


def _weights(*networks: nn.Module) -> Iterator[Tensor]:
    for network in networks:
        yield from (m.weight.detach() for m in network.modules() if isinstance(m, AFFINE_MODULES))


def _row_sums(*networks: nn.Module) -> None:
    for weight in _weights(*networks):
        weight.flatten(1).abs().sum(1)


def _bytes(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _measured(folded: nn.Module, rounded: nn.Module, inputs: Tensor) -> dict:
    ours, theirs = (outputs(in_precision(net, "float32"), inputs) for net in (folded, rounded))
    error = distances(ours, theirs).max().item()
    log10 = math.log10(error) if error else -math.inf
    return {"theorem": MEASURED, "bound": "random inputs", "log10": log10, "assumptions": ""}


# -- structure and weights -------------------------------------------------------------------------


def facts(profile: Profile) -> pd.Series:
    """The numbers from which T5 (mean form) and P2 are made: four of structure, four of weights.

    Args:
        profile: from `qnotes.profile`, or read from JSON.
    """
    layers = profile.layers
    joint = [max(1.0, layer.joint_norm) for layer in layers]
    others = max(1, len(layers) - 1)
    return pd.Series(
        {
            "depth L": len(layers),
            "width W": max(layer.reads for layer in layers),
            "largest fan-in": max(layer.fan_in for layer in layers),
            "mean fan-in": sum(layer.fan_in for layer in layers) / len(layers),
            "largest norm": max(joint),
            "mean norm": (sum(joint) - min(joint)) / others,
            "median norm": float(pd.Series(joint).median()),
            "largest change ε": max(max(layer.gap, layer.bias_gap) for layer in layers),
        }
    )


#: Which of the `facts` a network's layers and input size decide, whatever its weights.
STRUCTURE = ("depth L", "width W", "largest fan-in", "mean fan-in")


# -- torchvision's weights, and images -------------------------------------------------------------


def published(name: str) -> dict[str, float]:
    """What torchvision says about its pretrained weights, without a download.

    Keys: ``parameters``, ``megabytes`` of the file, ``accuracy`` (top-1 on ImageNet's validation
    images, a fraction).
    """
    meta = _entry(name).meta
    accuracy = meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100
    return {
        "parameters": meta["num_params"],
        "megabytes": meta["_file_size"],
        "accuracy": accuracy,
    }


def transforms(name: str) -> Callable:
    """What turns an image into an input of a pretrained network: resize, crop, normalize."""
    return _entry(name).transforms()


def image_radius(name: str) -> float:
    """The smallest D such that each image, normalized as the network wants it, is in the domain."""
    steps = transforms(name)
    channels = zip(steps.mean, steps.std, strict=True)
    return max(max(mean, 1 - mean) / std for mean, std in channels)


def _entry(name: str):
    return torchvision.models.get_model_weights(name).IMAGENET1K_V1


def accuracies(
    networks: Mapping[str, nn.Module],
    folder: str | Path,
    *,
    transform: Callable,
    most: int | None = None,
    seed: int = 0,
) -> pd.Series:
    """Share of the images of a folder whose class each network names, every image read once.

    The folder holds a folder a class, as `torchvision.datasets.ImageFolder` reads it. Either all
    1000 are there with ImageNet's names (``n01440764``, ...; some may be empty), whose order is
    that of the classes, or each is named by the number of its class, from 0 to 999.

    Args:
        networks: by name; classifiers with 1000 outputs.
        folder: of the class folders.
        transform: from an image to an input, such as `transforms` returns.
        most: how many images at most, drawn at random; all by default.
        seed: of the draw.

    Returns:
        The accuracies by name, and under ``images`` how many there were.

    Raises:
        QnotesError: for a folder that is missing, has no images, or whose classes are not clear.
    """
    pictures = _pictures(folder, transform)
    if not len(pictures):
        raise QnotesError(f"no images in the class folders of {str(folder)!r}")
    numbers = _class_numbers(pictures.classes)
    draw = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[:most]
    right = dict.fromkeys(networks, 0)
    for part in draw.split(BATCH):
        images, places = zip(*(pictures[place] for place in part.tolist()), strict=True)
        labels = torch.tensor([numbers[place] for place in places])
        for name, network in networks.items():
            named = outputs(network, torch.stack(images)).argmax(1)
            right[name] += int((named == labels).sum())
    shares = {name: count / len(draw) for name, count in right.items()}
    return pd.Series({"images": len(draw), **shares})


def _pictures(folder: str | Path, transform: Callable):
    try:
        return torchvision.datasets.ImageFolder(folder, transform=transform, allow_empty=True)
    except OSError as error:
        raise QnotesError(
            f"no class folders in {str(folder)!r} ({error}); pass a folder that holds a folder of "
            "images for each class"
        ) from error


def _class_numbers(classes: list[str]) -> list[int]:
    """The number of each class folder."""
    if len(classes) == CLASSES and all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return list(range(CLASSES))
    if all(re.fullmatch(r"\d{1,3}", name) for name in classes):
        return [int(name) for name in classes]
    raise QnotesError(
        f"cannot tell which classes {len(classes)} folders are, such as {classes[0]!r}; expected "
        f"all {CLASSES} of ImageNet (n01440764 and so on), or folders named by the number of "
        f"their class, 0 to {CLASSES - 1}"
    )
