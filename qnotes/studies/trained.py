"""Training with rounding: what it does to accuracy, to the error, to the bounds, to the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qnotes.observation import distances, outputs
from qnotes.propagation.measuring import profile
from qnotes.quantization import quantize
from qnotes.studies.rescaled import decades, in_float32, norms


def compare(
    original: nn.Module,
    networks: Mapping[str, nn.Module],
    *,
    bits: Iterable[int],
    images: Tensor,
    labels: Tensor,
    radius: float = 1.0,
) -> pd.DataFrame:
    """Round several trained networks to several widths, and compare with two references.

    Args:
        original: the network before it was trained further, with batch norms folded.
        networks: by name, networks of the same architecture, not rounded.
        bits: widths of a code, symmetric, a scale for each channel.
        images: inputs that errors are measured on, of shape (inputs, 1, height, width).
        labels: class numbers of the images.
        radius: D; inputs lie in [-D, D]^N_0.

    Returns:
        A row a network and width, with columns

        - network, bits;
        - ``unrounded``, ``rounded``: accuracy before and after rounding;
        - ``size``: median of the largest output, before rounding;
        - ``error``: median distance, over the images, of the rounded network from its own
          unrounded one; ``from original``: from the original;
        - ``mean form``, ``T2``: log10 of the bounds on the largest error against the own
          unrounded network; ``mean form from original``, ``T2 from original``: against the
          original. Both are pairs of weights, so the same theorems hold.
    """
    images, shape = images.float(), (1, *images.shape[1:])
    before = outputs(in_float32(original), images)
    rows = []
    for name, network in networks.items():
        own = outputs(in_float32(network), images)
        for width in bits:
            rounded = quantize(network, bits=width).model
            found = outputs(in_float32(rounded), images)
            pairs = [
                decades(profile(reference, rounded, input_shape=shape, radius=radius))
                for reference in (network, original)
            ]
            rows.append(
                {
                    "network": name,
                    "bits": width,
                    "unrounded": _accuracy(own, labels),
                    "rounded": _accuracy(found, labels),
                    "size": own.abs().amax(1).median().item(),
                    "error": distances(own, found).median().item(),
                    "from original": distances(before, found).median().item(),
                    **{key: pairs[0][key] for key in ("mean form", "T2")},
                    **{f"{key} from original": pairs[1][key] for key in ("mean form", "T2")},
                }
            )
    return pd.DataFrame(rows)


def steps(network: nn.Module, *, bits: int) -> np.ndarray:
    """How far each weight is from its level, in steps of its own grid: from 0 to 1/2.

    Channels whose weights are all zero have no step and are left out.

    Args:
        network: not rounded, with batch norms folded.
        bits: width of a code, symmetric, a scale for each channel.
    """
    found = []
    for name, layer in quantize(network, bits=bits).layers.items():
        weight = network.get_submodule(name).weight
        found.append(_in_steps(weight, layer.weight, weight, layer.scale))
    return torch.cat(found).numpy()


def moves(original: nn.Module, network: nn.Module, *, bits: int) -> np.ndarray:
    """How far training moved each weight, in steps of the grid of the original.

    Args:
        original: before training, with batch norms folded.
        network: the same architecture after it.
        bits: width of a code, symmetric, a scale for each channel.
    """
    found = []
    for name, layer in quantize(original, bits=bits).layers.items():
        ours, theirs = (net.get_submodule(name).weight for net in (original, network))
        found.append(_in_steps(ours, theirs, ours, layer.scale))
    return torch.cat(found).numpy()


def _in_steps(one: Tensor, other: Tensor, gridded: Tensor, scale: Tensor) -> Tensor:
    """|one - other| in steps, a flat vector, of channels in which `gridded` is not all zero."""
    apart = (one.detach().double() - other.detach().double()).abs().flatten(1)
    alive = gridded.detach().flatten(1).any(1)
    return (apart / scale.double().reshape(-1, 1))[alive].flatten()


def recoded(original: nn.Module, network: nn.Module, *, bits: int) -> float:
    """Share of the weights whose code is another one after training.

    Args:
        original: before training, with batch norms folded.
        network: the same architecture after it.
        bits: width of a code, symmetric, a scale for each channel.
    """
    ours, theirs = (quantize(net, bits=bits).layers for net in (original, network))
    other = [(ours[name].codes != theirs[name].codes).flatten() for name in ours]
    return torch.cat(other).double().mean().item()


def exchanged(
    original: nn.Module, network: nn.Module, *, bits: int
) -> dict[str, dict[str, nn.Module]]:
    """Rounded networks with weights and biases from before training or from after it.

    Args:
        original: before training, with batch norms folded.
        network: the same architecture after it.
        bits: width of a code, symmetric, a scale for each channel.

    Returns:
        By ``weights`` and ``biases``, each ``before`` or ``after``: the rounded network.
    """
    nets = {"before": original, "after": network}
    rounded = {when: quantize(net, bits=bits).model for when, net in nets.items()}
    return {
        weights: {biases: _with_biases(rounded[weights], rounded[biases]) for biases in rounded}
        for weights in rounded
    }


def _with_biases(network: nn.Module, other: nn.Module) -> nn.Module:
    changed = copy.deepcopy(network)
    for name, parameter in other.named_parameters():
        if name.endswith("bias"):
            changed.get_parameter(name).data = parameter.detach().clone()
    return changed


def layer_norms(networks: Mapping[str, nn.Module], shape: tuple[int, ...]) -> pd.DataFrame:
    """The norms of T5 along the chain: a row a layer (1 … L), a column a network."""
    table = pd.DataFrame(
        {
            name: norms(profile(network, network, input_shape=shape))
            for name, network in networks.items()
        }
    )
    table.index = pd.RangeIndex(1, len(table) + 1, name="layer")
    return table


def _accuracy(found: Tensor, labels: Tensor) -> float:
    return (found.argmax(1) == labels).double().mean().item()
