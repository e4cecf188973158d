"""T2 on a graph, and what ReLU6 adds: after it no number exceeds 6, and no error does.

Both networks stay in [0, 6] after a ReLU6, so the activation is at most 6 and the error is at most
6, whatever came before (theory, section 4). Skip coordinates pass no ReLU6. So every value of the
graph keeps its own two numbers here, where T2 has two for all coordinates of the chain's state.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE, Operation
from qnotes.propagation.channels import Channels, weighted_sums
from qnotes.propagation.outward import log_up, up
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.walk import Bounds, propagate, walk
from qnotes.propagation.weights import bias_of


def relu6_bounds(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...],
    radius: float = 1.0,
    cap_activations: bool = True,
    cap_errors: bool = True,
) -> pd.DataFrame:
    r"""Bounds on activations and errors, value by value, with s ≤ 6 and e ≤ 6 after each ReLU6.

    A layer reads a value with the numbers s and e, the largest of its channels. Row i of what it
    makes has

        s_i = R_i s + |b_i|,   e_i = R_i e + ρ_i s + |b_i - b'_i|,

    with R_i the larger of the row sums of |W| and |W'|, and ρ_i that of |W - W'|. A sum adds rows,
    pooling keeps them, ReLU6 takes the smaller of each number and 6. Without the caps this is T2
    with two differences, and so never above it: a skip connection adds to the error where T2
    multiplies, and the largest entry is taken of a whole row, not of its three parts.

    With ``cap_errors`` the result may be one that says nothing about rounding: where an error has
    reached 6, all that is known is that both networks lie in [0, 6].

    Args:
        network, quantized, input_shape, radius: as for `qnotes.profile`, which raises the same.
        cap_activations: use s ≤ 6 after ReLU6.
        cap_errors: use e ≤ 6 after ReLU6.

    Returns:
        A row for each layer with weights, in order, with the numbers of what it reads, then one for
        the output: ``name``, ``s``, ``e``. All rounding of float64 is rounded up.

    Raises:
        QnotesError: for a bound too large for float64.
    """
    pair = checked_pair(network, quantized, input_shape=input_shape, radius=radius)
    domain = Norms(pair, cap_sizes=cap_activations, cap_errors=cap_errors)
    rows = []
    for visit in walk(pair.operations, domain):
        if visit.operation.kind == AFFINE:
            rows.append(_row(visit.operation.name, visit.reads[0]))
    rows.append(_row("output", visit.result))
    return pd.DataFrame(rows)


def graph_bound(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...],
    radius: float | Sequence[float] = 1.0,
) -> np.ndarray:
    """T2 on the graph: for each channel of the output, a bound on its error (theory, T2, T17).

    Without the caps of ReLU6, and for every covered network: a gate is no layer of the chain, and
    so has no profile, but has its place here.

    Args:
        network, quantized, input_shape, radius: as for `qnotes.propagation.channels.vector_bound`.

    Returns:
        Decimal logarithms, one for each channel of the output; the largest bounds E.
    """
    pair = checked_pair(network, quantized, input_shape=input_shape, radius=radius)
    return log_up(propagate(pair.operations, Norms(pair)).error).numpy() / math.log(10)


class Norms(Channels):
    """A layer reads one number, the largest of its channels, and knows the norms of both networks.

    Sizes bound the activations of both networks, as in T2.
    """

    def products(self, operation: Operation, read: Bounds) -> tuple[Tensor, ...]:
        ones = torch.zeros(
            operation.module.weight.shape[1] * getattr(operation.module, "groups", 1)
        )
        theirs, ours, change = weighted_sums(operation, *[ones.double()] * 3)
        norm, size, error = torch.maximum(ours, theirs), read.size.max(), read.error.max()
        return log_up(norm + size), log_up(norm + error), log_up(change + size)

    def biases(self, operation: Operation) -> tuple[Tensor, Tensor]:
        its, gap = super().biases(operation)
        return torch.maximum(its, bias_of(operation.module).abs().log()), gap


def _exp_up(log: Tensor) -> float:
    """The exponential, rounded up; `up` does not do it to numbers that are not normal."""
    value = up(log.exp().item(), 2)
    return max(value, sys.float_info.min) if log > -math.inf else value


def _row(name: str, read: Bounds) -> dict[str, object]:
    sizes = [_exp_up(logs.max()) for logs in read]
    if not all(map(math.isfinite, sizes)):
        raise QnotesError(f"{name}: a bound is too large for float64; use qnotes.bounds")
    return {"name": name, "s": sizes[0], "e": sizes[1]}
