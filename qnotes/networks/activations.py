"""Slopes of activations (theory, T17), and what has no slope that the weights bound.

For an activation σ the theory needs five numbers: a slope κ with |σ(x) - σ(y)| ≤ κ |x - y|, a
growth g with |σ(x) - σ(0)| ≤ g |x|, the offset |σ(0)|, a ceiling |σ(x)| ≤ c, and the span between
its smallest and its largest value. Each is exact, or rounded up; tests enclose them by interval
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Slope:
    """What the theory knows of a coordinatewise activation σ.

    Attributes:
        slope: κ with |σ(x) - σ(y)| ≤ κ |x - y|.
        growth: g with |σ(x) - σ(0)| ≤ g |x|; at most κ.
        offset: |σ(0)|.
        ceiling: largest |σ(x)|; infinite where there is none.
        span: largest distance of two values; infinite where there is none.
    """

    slope: float = 1.0
    growth: float = 1.0
    offset: float = 0.0
    ceiling: float = math.inf
    span: float = math.inf

    @property
    def plain(self) -> bool:
        """Whether it is 1-Lipschitz with σ(0) = 0, as the theory of the paper has it."""
        return self.slope <= 1 and self.growth <= 1 and self.offset == 0


#: Largest slopes, rounded up in the last digit.
SILU = 1.0998393202  # where x tanh(x/2) = 2
GELU = 1.1289041452  # at √2: Φ(√2) + √2 φ(√2) = (1 + erf(1))/2 + 1/(e √π)
GELU_TANH = 1.1289930687  # of the approximation with tanh, at 1.4185

SIXTH = math.nextafter(1 / 6, 1)


def _leaky(module: nn.LeakyReLU) -> Slope:
    steepest = max(1.0, abs(module.negative_slope))
    return Slope(steepest, steepest)


def _prelu(module: nn.PReLU) -> Slope:
    steepest = max(1.0, module.weight.detach().abs().max().item())
    return Slope(steepest, steepest)


def _elu(module: nn.ELU) -> Slope:
    steepest = max(1.0, abs(module.alpha))
    return Slope(steepest, steepest)


def _gelu(module: nn.GELU) -> Slope:
    return Slope(slope=GELU if module.approximate == "none" else GELU_TANH)


def _hardtanh(module: nn.Hardtanh) -> Slope:
    low, high = module.min_val, module.max_val
    at_zero = abs(min(max(0.0, low), high))
    return Slope(offset=at_zero, ceiling=max(abs(low), abs(high)), span=high - low)


#: By exact type: of a module, its slope.
SLOPES: dict[type[nn.Module], Callable[[nn.Module], Slope]] = {
    nn.ReLU: lambda module: Slope(),
    nn.ReLU6: lambda module: Slope(ceiling=6.0, span=6.0),
    nn.LeakyReLU: _leaky,
    nn.PReLU: _prelu,
    nn.ELU: _elu,
    nn.Hardtanh: _hardtanh,
    nn.Hardswish: lambda module: Slope(slope=1.5),  # x (x + 3)/6 before x = 3
    nn.SiLU: lambda module: Slope(slope=SILU),
    nn.GELU: _gelu,
    nn.Sigmoid: lambda module: Slope(0.25, 0.25, 0.5, 1.0, 1.0),
    nn.Hardsigmoid: lambda module: Slope(SIXTH, SIXTH, 0.5, 1.0, 1.0),
    nn.Tanh: lambda module: Slope(ceiling=1.0, span=2.0),
}
#: Slope 1 and σ(0) = 0: a part of the layer before, whatever the bound.
PLAIN = (nn.ReLU, nn.ReLU6)
#: All others have a rule of their own.
SLOPED = tuple(module for module in SLOPES if module not in PLAIN)
#: Their range is known and is always used: what they give is a gate.
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh)


def slope_of(module: nn.Module) -> Slope:
    """The slope of an activation in the table."""
    return SLOPES[type(module)](module)


NORMALIZES = (
    "divides by the spread of what it reads. Its slope is finite, but all that bounds it is 1/√ε "
    "times a constant, whatever the weights: the bounds of this theory are made of weights, and "
    "have nothing to say about it"
)
RESCALES = (
    "divides by the size of what it reads. Its slope is finite, but its constants bound it and not "
    "the weights; this theory has no rule for it"
)
ATTENDS = (
    "multiplies values by weights that it makes of the same values: its slope grows with the size "
    "of what it reads, and over all inputs is not finite (Kim, Papamakarios and Mnih 2021, "
    "arXiv:2006.04710)"
)
#: Modules and functions, by name, whose slope no number of their weights bounds.
WITHOUT_SLOPE = {
    **dict.fromkeys(
        ("LayerNorm", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "RMSNorm",
         "layer_norm", "group_norm", "instance_norm", "rms_norm"),
        NORMALIZES,
    ),
    **dict.fromkeys(("LocalResponseNorm", "local_response_norm", "normalize"), RESCALES),
    **dict.fromkeys(
        ("MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer",
         "scaled_dot_product_attention", "multi_head_attention_forward",
         "shifted_window_attention"),
        ATTENDS,
    ),
}
