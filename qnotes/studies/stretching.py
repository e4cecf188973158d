"""The path norm of a network (T9), for the study of equalization."""

from __future__ import annotations

import copy
import math

import torch
from torch import fx, nn

from qnotes.errors import UnsupportedOperation
from qnotes.networks.operations import AFFINE_MODULES

#: The path norm of a deep network overflows; its input is made small, and the result large again.
SMALL = 200


def path_norm(network: fx.GraphModule, input_shape: tuple[int, ...]) -> float:
    """log10 of the norm of |W_L| ··· |W_1|: the best that rescaling units can do (T9).

    One pass of ones through the network with absolute weights and without biases. Average pooling
    counts as a layer of norm 1.

    Args:
        network: folded, in float64.
        input_shape: shape of one batch.

    Raises:
        UnsupportedOperation: for ReLU6, which is not positively homogeneous.
    """
    absolute = copy.deepcopy(network)
    for name, module in absolute.named_modules():
        if isinstance(module, nn.ReLU6):
            raise UnsupportedOperation(f"{name}: T9 needs ReLU; ReLU6(2 x) is not 2 ReLU6(x)")
        if isinstance(module, AFFINE_MODULES):
            module.weight = nn.Parameter(module.weight.detach().abs())
            module.bias = None
    ones = torch.full((1, *input_shape[1:]), 10.0**-SMALL, dtype=torch.float64)
    with torch.no_grad():
        return math.log10(absolute(ones).max().item()) + SMALL
