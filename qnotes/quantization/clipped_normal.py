"""Means of clipped normal variables as tensors, from the expressions that the theory derives."""

from __future__ import annotations

import math
from collections.abc import Callable

import sympy as sp
import torch
from torch import Tensor

from qnotes.theorems.mean_of_clipped_normal import RELU6_MEAN, RELU_MEAN, mu, sigma


def relu_mean(mean: Tensor, std: Tensor) -> Tensor:
    """E max(0, X) of normal variables X; a standard deviation of 0 gives max(0, mean)."""
    return _value(_RELU, mean, std, mean.clamp_min(0))


def relu6_mean(mean: Tensor, std: Tensor) -> Tensor:
    """E min(max(0, X), 6) of normal variables X."""
    return _value(_RELU6, mean, std, mean.clamp(0, 6))


def _function(expression: sp.Expr) -> Callable[[Tensor, Tensor], Tensor]:
    functions = {"exp": torch.exp, "erfc": torch.erfc, "sqrt": math.sqrt, "pi": math.pi}
    return sp.lambdify((mu, sigma), expression, modules=[functions])


_RELU, _RELU6 = _function(RELU_MEAN), _function(RELU6_MEAN)


def _value(function, mean: Tensor, std: Tensor, without: Tensor) -> Tensor:
    constant = std == 0
    return torch.where(constant, without, function(mean, std.masked_fill(constant, 1.0)))
