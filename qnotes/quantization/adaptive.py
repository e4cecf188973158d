"""AdaRound: learn for each weight whether it goes up or down."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import Tensor

from qnotes.quantization.problem import RoundingProblem
from qnotes.threads import one_thread

#: The stretched sigmoid passes 0 and 1, so that they can be reached.
LOW, HIGH = -0.1, 1.1
#: Weight of the regularizer in units of the squared error.
REGULARIZATION = 0.2
#: Exponent of the regularizer, from the first to the last step.
FIRST_POWER, LAST_POWER = 20.0, 2.0
#: Share of the steps that pass before the regularizer begins.
WARM_UP = 0.2
STEPS = 1000
#: Layers of fewer weights are learned on one thread: a step is over before others could help.
SMALL = 1 << 18
LEARNING_RATE = 0.01


def adaptive(problem: RoundingProblem) -> Tensor:
    """Levels by adaptive rounding (Nagel et al. 2020, arXiv:2004.10568).

    Each weight goes to the level below or to the level above, a step d apart. The choice is
    relaxed: a variable V stands for the share h = clip(1.2 sigmoid(V) - 0.1, 0, 1) of the step, and
    V begins where h gives the weight itself. Adam makes the sum of two things small: the objective,
    and λ Σ (1 - |2h - 1|^β), which is zero only where every h is 0 or 1. By the chain rule, with
    e = q - w, its derivative by V is

        (2 d (G e - D w) / unit - 2 λ β sign(2h - 1) |2h - 1|^(β-1)) · dh/dV.

    During the first fifth of the steps there is no regularizer; then β falls from 20, where it
    moves only what is near 0 or 1 already, to 2, along half a cosine. In the end h is rounded.

    The stretch of the sigmoid, the first fifth and the fall of β are the authors', the last two as
    in their toolkit AIMET. Different here: the objective is ‖X w - X̃ q‖² before the activation,
    where theirs is after it. It comes from second moments, so each step sees all inputs, and no
    random number is drawn. It is divided by a unit, the row's mean of s_j² ‖X̃_j‖², so that λ means
    the same for every layer, whatever the size of its inputs and weights; theirs is 0.01 without a
    unit. With λ from 0.1 to 1.6 results differ little; below, many h are still between 0 and 1 in
    the end. There are 1000 steps of rate 0.01, where more gain little.

    Args:
        problem: of a layer.

    Returns:
        Levels, of the weight's shape.
    """
    steps = problem.weight / problem.scale
    below = problem.scale * steps.floor().clamp(problem.lowest, problem.highest)
    above = problem.scale * steps.ceil().clamp(problem.lowest, problem.highest)
    with one_thread() if problem.weight.numel() < SMALL else nullcontext():
        return torch.where(_learned(problem, below, above) >= 0.5, above, below)


def _learned(problem: RoundingProblem, below: Tensor, above: Tensor) -> Tensor:
    """The share of a step that each weight goes up."""
    step = above - below
    factor = 2 * step / _unit(problem)
    pull = problem.weight @ problem.drift.mT
    between = ((problem.weight - below) / step).nan_to_num(0.0).clamp(0, 1)
    variable = torch.logit((between - LOW) / (HIGH - LOW))
    optimizer = torch.optim.Adam([variable], lr=LEARNING_RATE, fused=True)
    for passed in range(STEPS):
        share, slope = _share(variable)
        change = below + step * share - problem.weight
        variable.grad = factor * (change @ problem.gram - pull)
        if passed >= WARM_UP * STEPS:
            variable.grad -= _regularizer_slope(share, _power(passed))
        variable.grad *= slope
        optimizer.step()
    return _share(variable)[0]


def _unit(problem: RoundingProblem) -> Tensor:
    """Mean of s_j² ‖X̃_j‖² over a row; 1 where it is zero."""
    diagonal = problem.gram.diagonal(dim1=1, dim2=2)[:, None]
    mean = (problem.scale.square() * diagonal).mean(2, keepdim=True)
    return torch.where(mean > 0, mean, 1.0)


def _share(variable: Tensor) -> tuple[Tensor, Tensor]:
    """The share that a variable stands for, and its derivative."""
    sigmoid = torch.sigmoid(variable)
    stretched = sigmoid * (HIGH - LOW) + LOW
    share = stretched.clamp(0, 1)
    return share, (HIGH - LOW) * sigmoid * (1 - sigmoid) * (share == stretched)


def _regularizer_slope(share: Tensor, power: float) -> Tensor:
    """How fast λ |2h - 1|^β grows with h."""
    signed = 2 * share - 1
    return 2 * REGULARIZATION * power * signed.sign() * signed.abs() ** (power - 1)


def _power(passed: int) -> float:
    share = (passed / STEPS - WARM_UP) / (1 - WARM_UP)
    return LAST_POWER + (FIRST_POWER - LAST_POWER) * (1 + math.cos(math.pi * share)) / 2
