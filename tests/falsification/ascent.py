"""Ascent: an optimizer that makes error/bound as large as it can."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from qnotes.theorems.theorem import Theorem
from tests.falsification.draw import Batch
from tests.falsification.forward import outputs
from tests.falsification.measured import TENSORS, measure
from tests.falsification.plain_arithmetic import direct

STEPS = 100
RATE = 0.08


def ascend(batch: Batch, theorem: Theorem, *, steps: int = STEPS) -> Batch:
    """Climb log(error) - log(bound) over weights, biases, their changes and one input.

    Weights and changes are multiplied by e to the power of free variables, inputs pass through a
    hyperbolic tangent: signs and zeros stay, sizes are free. Networks with an error of zero stay.

    Returns:
        The same networks with the parameters and inputs that were reached.
    """
    if theorem.assumptions(
        measure(batch.architecture, batch.parameters, batch.quantized, batch.radius).one(0)
    ):
        return batch
    variables = _Variables(batch)
    optimizer = torch.optim.Adam(variables.free, lr=RATE)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -_log_ratio(variables.batch(), theorem)
        loss.backward()
        optimizer.step()
        slower.step()
    with torch.no_grad():
        return variables.batch()


def _log_ratio(batch: Batch, theorem: Theorem) -> Tensor:
    measured = measure(batch.architecture, batch.parameters, batch.quantized, batch.radius)
    ours = outputs(batch.architecture, batch.parameters, batch.inputs)
    theirs = outputs(batch.architecture, batch.quantized, batch.inputs)
    error = (ours - theirs).abs().amax((1, 2))
    value = direct(theorem, measured.quantities(), measured.depth, TENSORS)
    value = value * torch.ones_like(error)
    alive = (error > 0) & (value > 0)
    return (error[alive].log() - value[alive].log()).sum()


class _Variables:
    """Free variables, all zero at the networks that the ascent starts from."""

    def __init__(self, batch: Batch) -> None:
        self.start = batch
        self.fixed = [
            None if ours is None else (ours, theirs - ours)
            for pair in zip(batch.parameters, batch.quantized, strict=True)
            for ours, theirs in zip(*pair, strict=True)
        ]
        self.logs = [
            None if given is None else tuple(_zeros(part) for part in given) for given in self.fixed
        ]
        radius = batch.radius.view(-1, *[1] * (batch.inputs.dim() - 1))
        inside = (batch.inputs / radius).clamp(-0.99, 0.99)
        self.inputs = inside.atanh().requires_grad_()
        self.free = [part for pair in self.logs if pair for part in pair] + [self.inputs]

    def batch(self) -> Batch:
        """The networks at the present values."""
        moved = [
            (None, None) if given is None else self._moved(given, logs)
            for given, logs in zip(self.fixed, self.logs, strict=True)
        ]
        layers = list(zip(moved[0::2], moved[1::2], strict=True))
        radius = self.start.radius.view(-1, *[1] * (self.inputs.dim() - 1))
        return replace(
            self.start,
            parameters=[(weight[0], bias[0]) for weight, bias in layers],
            quantized=[(weight[1], bias[1]) for weight, bias in layers],
            inputs=radius * self.inputs.tanh(),
        )

    @staticmethod
    def _moved(given, logs) -> tuple[Tensor, Tensor]:
        weight, change = (part * log.exp() for part, log in zip(given, logs, strict=True))
        return weight, weight + change


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros_like(like).requires_grad_()
