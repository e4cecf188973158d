"""The error that is really there on given inputs, and accuracy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BATCH = 64


def outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """Outputs of a network, computed batch by batch in the network's own precision.

    Args:
        network: any network of one input and one output.
        inputs: of shape (inputs, ...), converted to the network's precision.

    Returns:
        One row for each input.
    """
    precision = next(network.parameters()).dtype
    with torch.no_grad():
        batches = inputs.to(precision).split(BATCH)
        # A copy, since a network may overwrite its input.
        return torch.cat([network(batch.clone()) for batch in batches])


def output_errors(network: nn.Module, quantized: nn.Module, inputs: Tensor) -> Tensor:
    """Distance of the two outputs for each input, in the maximum norm.

    Networks run in their own precision: in float32, rounding adds to the error.

    Args:
        network: the reference.
        quantized: its quantized copy.
        inputs: of shape (inputs, ...), converted to the network's precision.

    Returns:
        One error for each input, of shape (inputs,).
    """
    return distances(outputs(network, inputs), outputs(quantized, inputs))


def distances(ours: Tensor, theirs: Tensor) -> Tensor:
    """Distance of two outputs, row by row, in the maximum norm, float64."""
    return (ours.double() - theirs.double()).flatten(1).abs().amax(1)


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of inputs whose largest output is the label's.

    Args:
        network: a classifier, outputs of shape (inputs, classes).
        inputs: of shape (inputs, ...).
        labels: class numbers, of shape (inputs,).
    """
    return (outputs(network, inputs).argmax(1) == labels).double().mean().item()
