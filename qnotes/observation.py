"""Lower bounds: the error that is really there, on given inputs and on the worst input found."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError

BATCH = 64


@dataclass(frozen=True)
class Observation:
    """The worst input that a search found.

    Attributes:
        error: largest distance of the outputs, in the maximum norm; a lower bound for E.
        sampled: the same for the random inputs alone, before the ascent.
        input: the input that reaches `error`, of shape (1, ...).
        history: largest error after each step of the ascent, first the sampled one.
    """

    error: float
    sampled: float
    input: Tensor
    history: tuple[float, ...]


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


def random_inputs(
    input_shape: tuple[int, ...], *, count: int, radius: float = 1.0, seed: int = 0
) -> Tensor:
    """Inputs from [-radius, radius]: one half uniform, the other half corners, float64.

    Args:
        input_shape: shape of one batch; its first entry is not used.
        count: how many inputs, at least 2.
        radius: D.
        seed: of a generator of its own.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *input_shape[1:])
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    uniform[count // 2 :] = uniform[count // 2 :].sign()
    return radius * uniform


def observe(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...],
    radius: float = 1.0,
    samples: int = 64,
    starts: int = 4,
    steps: int = 20,
    seed: int = 0,
) -> Observation:
    """Search [-radius, radius]^N_0 for the input with the largest error: a lower bound for E.

    Random inputs first; then, from the worst of them, ascent along the sign of the error's gradient
    with steps that shrink from the radius to a hundredth of it, projected onto the domain. All in
    float64: in float32, rounding alone can exceed a bound.

    Args:
        network: the reference.
        quantized: its quantized copy.
        input_shape: shape of one batch, batch dimension first.
        radius: D.
        samples: random inputs, half of them corners.
        starts: how many of the worst go on.
        steps: of the ascent.
        seed: of the random inputs.
    """
    if not 0 < radius < math.inf:
        raise QnotesError(f"radius must be a positive finite number; got {radius!r}")
    if network.training or quantized.training:
        raise QnotesError("a network is in training mode; call .eval() on it first")
    network, quantized = _double(network), _double(quantized)
    inputs = random_inputs(input_shape, count=samples, radius=radius, seed=seed)
    found = output_errors(network, quantized, inputs)
    best = found.topk(min(starts, samples)).indices
    current, worst, error = inputs[best], inputs[best[:1]], found.max().item()
    history = [error]
    for step in range(steps):
        gradient, at_current = _error_gradient(network, quantized, current)
        if at_current.max() > error:
            error, worst = at_current.max().item(), current[at_current.argmax()][None]
        history.append(error)
        length = radius * 100 ** (-step / max(1, steps - 1))
        current = (current + length * gradient.sign()).clamp_(-radius, radius)
    last = output_errors(network, quantized, current)
    if last.max() > error:
        error, worst = last.max().item(), current[last.argmax()][None]
    return Observation(error, found.max().item(), worst, (*history, error))


def _error_gradient(network, quantized, inputs: Tensor) -> tuple[Tensor, Tensor]:
    inputs = inputs.clone().requires_grad_()
    found = distances(network(inputs.clone()), quantized(inputs.clone()))
    (gradient,) = torch.autograd.grad(found.sum(), inputs)
    return gradient, found.detach()


def _double(network: nn.Module) -> nn.Module:
    if all(weight.dtype == torch.float64 for weight in network.parameters()):
        return network
    return copy.deepcopy(network).double()
