"""The error that is really there on given inputs, and accuracy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError, foreign
from qnotes.networks.probing import place_of, plain, precision_of
from qnotes.networks.tracing import check_evaluation, check_module, check_values, own_copy

BATCH = 64


def outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """Outputs of a network, computed batch by batch in the network's own precision.

    Args:
        network: any network of one input and one output, all of it in evaluation mode. What it
            writes into its attributes and buffers goes to a copy.
        inputs: of shape (inputs, ...), converted to the network's precision, and copied to where
            it is.

    Returns:
        One row for each input, where the network is.

    Raises:
        QnotesError: for a network of which a part is in training mode, that cannot take the inputs,
            or that returns anything but a tensor with a row for each.
    """
    _check_tensor("inputs", inputs)
    check_module(network)
    check_evaluation(network)
    check_values(network)
    running = own_copy(network)
    with torch.no_grad():
        batches = inputs.to(place_of(network), precision_of(network)).split(BATCH)
        # A copy, since a network may overwrite its input.
        return torch.cat([run_rows(running, batch.clone()) for batch in batches])


def run_rows(network: nn.Module, inputs: Tensor) -> Tensor:
    """What a network returns for a batch: a tensor with a row for each input, or an error."""
    kind = type(network).__name__
    own_precision = torch.autocast(inputs.device.type, enabled=False)
    said = f"the network, {kind}, cannot take inputs of shape {tuple(inputs.shape)}"
    with foreign(said), own_precision:
        found = network(inputs)
    if not isinstance(found, Tensor):
        raise QnotesError(
            f"{kind} returns {type(found).__name__}; expected one tensor: wrap it in a module that "
            "returns the one that counts"
        )
    if not found.dim() or len(found) != len(inputs):
        raise QnotesError(
            f"{kind} returns a tensor of shape {tuple(found.shape)} for {len(inputs)} inputs; "
            "expected a row for each"
        )
    return found


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
    if ours.shape != theirs.shape:  # else a single output would be compared with each of many
        raise QnotesError(
            f"outputs have the shapes {tuple(ours.shape)} and {tuple(theirs.shape)}; expected the "
            "same: compare a network with its own quantized copy"
        )
    apart = ours.double() - theirs.to(ours.device).double()
    return apart.reshape(len(ours), -1).abs().amax(1)


def margins(scores: Tensor) -> Tensor:
    """How far the two largest scores of each row lie apart; 0 for a tie.

    An error below half of it leaves the class on top as it is.
    """
    first, second = scores.topk(2, dim=1).values.unbind(1)
    return first - second


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of inputs whose largest output is the label's.

    Args:
        network: a classifier, outputs of shape (inputs, classes).
        inputs: of shape (inputs, ...).
        labels: class numbers, of shape (inputs,).

    Raises:
        QnotesError: for labels of another shape, or no inputs at all.
    """
    _check_tensor("inputs", inputs)
    _check_tensor("labels", labels)
    if not len(inputs) or labels.shape != inputs.shape[:1]:  # else labels would be broadcast
        raise QnotesError(
            f"labels must be one class number for each of at least one input; got the shape "
            f"{tuple(labels.shape)} for {len(inputs)} inputs"
        )
    scores = outputs(network, inputs)
    if scores.dim() != 2:
        raise QnotesError(
            f"{type(network).__name__} returns the shape {tuple(scores.shape)}; expected a score "
            "for each class, (inputs, classes)"
        )
    return (scores.argmax(1).cpu() == labels.cpu()).double().mean().item()


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or not value.ndim:
        raise QnotesError(
            f"{name} must be a tensor, with a row for each input; got {type(value).__name__}"
        )
    plain(name, value)
