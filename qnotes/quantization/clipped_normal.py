"""Means of clipped normal variables as tensors, from the expressions that the theory derives."""

from __future__ import annotations

import math

import sympy as sp
import torch
from torch import Tensor

from qnotes.theorems.mean_of_clipped_normal import RELU6_MEAN, RELU_MEAN, mu, sigma

_FUNCTIONS = {"exp": torch.exp, "erfc": torch.erfc, "sqrt": math.sqrt, "pi": math.pi}
_RELU = sp.lambdify((mu, sigma), RELU_MEAN, modules=[_FUNCTIONS])
_RELU6 = sp.lambdify((mu, sigma), RELU6_MEAN, modules=[_FUNCTIONS])


def relu_mean(mean: Tensor, std: Tensor) -> Tensor:
    """E max(0, X) of normal variables X; a standard deviation of 0 gives max(0, mean)."""
    return _value(_RELU, mean, std, mean.clamp_min(0))


def relu6_mean(mean: Tensor, std: Tensor) -> Tensor:
    """E min(max(0, X), 6) of normal variables X."""
    return _value(_RELU6, mean, std, mean.clamp(0, 6))


def _value(function, mean: Tensor, std: Tensor, without: Tensor) -> Tensor:
    constant = std == 0
    return torch.where(constant, without, function(mean, std.masked_fill(constant, 1.0)))
