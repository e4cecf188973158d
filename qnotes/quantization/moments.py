"""Second moments of what a layer reads: all that its rounding needs to know of the data."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

#: Columns are made in batches of about this many numbers.
BLOCK = 1 << 20


def columns(module: nn.Module, inputs: Tensor) -> Tensor:
    """What the rows of a layer's weight are multiplied with, of shape (groups, fan-in, places).

    A row of a convolution's weight, flattened, meets one patch of the image for each place of the
    output (im2col): with stride, dilation and zeros around the image as the layer has them. Without
    its bias, the output of a group of channels is `rows @ columns`.

    Args:
        module: a linear layer or a convolution of any dimension.
        inputs: of shape (inputs, ...).
    """
    if isinstance(module, nn.Linear):
        return inputs.mT[None]
    patches = F.pad(inputs, _padding(module))
    for axis, size in enumerate(module.kernel_size, start=2):
        dilation, stride = module.dilation[axis - 2], module.stride[axis - 2]
        patches = patches.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    # From (inputs, channels, *places, *kernel) to (channels, *kernel, inputs, *places).
    dimensions = len(module.kernel_size)
    places, kernel = range(2, 2 + dimensions), range(2 + dimensions, 2 + 2 * dimensions)
    fan_in = module.weight[0].numel()
    return patches.permute(1, *kernel, 0, *places).reshape(module.groups, fan_in, -1)


def second_moments(module: nn.Module, inputs: Tensor, *others: Tensor) -> list[Tensor]:
    """Sums of products of inputs with themselves, and with others, over all inputs and places.

    With `columns` as rows of matrices X and Y (a row for each place), these are XᵀX and one XᵀY for
    each other, float64, of shape (groups, fan-in, fan-in).

    Args:
        module: the layer that reads them.
        inputs: of shape (inputs, ...).
        others: of the same shape.
    """
    size = inputs[0].numel() * math.prod(getattr(module, "kernel_size", ()))
    count = max(1, BLOCK // size)
    totals: list[Tensor] = []
    for batch, *rest in zip(*(values.split(count) for values in (inputs, *others)), strict=True):
        own = columns(module, batch.double())
        found = [own @ own.mT, *(own @ columns(module, other.double()).mT for other in rest)]
        totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
    return totals


def _padding(module: nn.Module) -> list[int]:
    """Zeros before and after each axis, the last axis first; "same" puts the odd one after."""
    pairs = []
    for axis, (size, dilation) in enumerate(zip(module.kernel_size, module.dilation, strict=True)):
        if module.padding == "valid":
            pairs.append((0, 0))
        elif module.padding == "same":
            zeros = dilation * (size - 1)
            pairs.append((zeros // 2, zeros - zeros // 2))
        else:
            pairs.append((module.padding[axis], module.padding[axis]))
    return [zeros for pair in reversed(pairs) for zeros in pair]
