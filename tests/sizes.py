"""Sizes of activations and errors that occur: what bounds on them are compared with."""

import pandas as pd
from torch import Tensor, nn

from qnotes.networks.operations import AFFINE
from qnotes.networks.tracing import trace
from qnotes.propagation.values import watched


def read_sizes(network: nn.Module, quantized: nn.Module, inputs: Tensor) -> pd.DataFrame:
    """The largest activation of both networks, and the largest error, measured on inputs.

    Args:
        network: the reference.
        quantized: the same network with other weights.
        inputs: of shape (inputs, ...); both networks run on copies of them in float64.

    Returns:
        A row for each layer with weights and one for the output: ``name``, ``s``, ``e``.
    """
    pair = [trace(net, copied=True).double() for net in (network, quantized)]
    rows = []
    for visit in watched(pair[0], inputs.double(), pair[1]):
        if visit.operation.kind == AFFINE:
            rows.append(_row(visit.operation.name, *visit.reads[0]))
    rows.append(_row("output", *visit.result))
    return pd.DataFrame(rows)


def _row(name: str, ours: Tensor, theirs: Tensor) -> dict[str, object]:
    size = max(value.abs().max().item() for value in (ours, theirs))
    return {"name": name, "s": size, "e": (ours - theirs).abs().max().item()}
