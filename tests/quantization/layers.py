"""One matrix through `qnotes.quantize`, for tests that look at a single layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import qnotes as qn


def stored(weight: Tensor, **scheme) -> qn.QuantizedLayer:
    """What is stored for a matrix; the model holds the same weights, bit for bit."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    linear.weight = nn.Parameter(weight.clone())
    quant = qn.quantize(nn.Sequential(linear).eval(), **scheme)
    layer = quant.layers["0"]
    assert torch.equal(layer.weight, quant.model.get_submodule("0").weight)
    assert layer.qmin <= int(layer.codes.min()) and int(layer.codes.max()) <= layer.qmax
    return layer


def normal(rows: int, columns: int, *, seed: int = 0, dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64).to(dtype)
