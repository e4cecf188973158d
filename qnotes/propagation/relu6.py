"""The recursion T2 with what ReLU6 knows: after it no number exceeds 6, and no error does.

Both networks stay in [0, 6] after a ReLU6, so the activation is at most 6 and the error is at most
6, whatever came before. Skip coordinates pass no ReLU6. So every value of the graph keeps its own
two numbers here, where T2 (`qnotes.theorems.T2_recursion`) has two for all coordinates of the
chain's state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.chain import chain
from qnotes.networks.measure import check_same_graph
from qnotes.networks.operations import (
    AFFINE,
    AFFINE_MODULES,
    INPUT,
    SUM,
    Operation,
    operations,
)
from qnotes.networks.tracing import trace
from qnotes.observation import distances

CAP = 6.0


@dataclass(frozen=True)
class Sizes:
    """Bounds on a value of the graph: s on the activation, e on the error, for each channel."""

    s: Tensor
    e: Tensor

    def largest(self) -> Sizes:
        """One number for all channels, as T2 has it."""
        return Sizes(self.s.max()[None], self.e.max()[None])

    def capped(self, *, activations: bool, errors: bool) -> Sizes:
        """After a ReLU6."""
        s = self.s.clamp(max=CAP) if activations else self.s
        return Sizes(s, self.e.clamp(max=CAP) if errors else self.e)


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
        network: the reference, with batch norms folded.
        quantized: the same network with other weights.
        input_shape: shape of one batch, batch dimension first.
        radius: D; inputs lie in [-D, D]^N_0.
        cap_activations: use s ≤ 6 after ReLU6.
        cap_errors: use e ≤ 6 after ReLU6.

    Returns:
        A row for each layer with weights, in order, with the numbers of what it reads, then one for
        the output: ``name``, ``s``, ``e``. All rounding of float64 is rounded up.

    Raises:
        UnsupportedOperation: for an operation that the theory does not cover, by name.
        QnotesError: for networks that do not match, an input shape that does not fit, a radius that
            is not positive, or a bound too large for float64.
    """
    if not isinstance(radius, int | float) or not 0 < radius < math.inf:
        raise QnotesError(f"radius must be a positive finite number; got {radius!r}")
    reference, other = trace(network), trace(quantized)
    check_same_graph(reference, other)
    operations(other)
    chain(reference, input_shape)  # refuses shapes that do not fit
    caps = {"activations": cap_activations, "errors": cap_errors}
    known: dict[fx.Node, Sizes] = {}
    rows = []
    for operation in operations(reference):
        read = [known[node] for node in operation.inputs]
        if operation.kind == INPUT:
            known[operation.node] = Sizes(_one(radius), _one(0.0))
        elif operation.kind == AFFINE:
            rows.append(_row(operation.name, read[0]))
            its = other.get_submodule(operation.name)
            known[operation.node] = _through(operation.module, its, read[0].largest())
        elif operation.kind == SUM:
            known[operation.node] = Sizes(_up(read[0].s + read[1].s), _up(read[0].e + read[1].e))
        else:
            known[operation.node] = _after(operation, read[0], caps)
    rows.append(_row("output", read[0]))
    return pd.DataFrame(rows)


def read_sizes(network: nn.Module, quantized: nn.Module, inputs: Tensor) -> pd.DataFrame:
    """The same numbers, measured on inputs: the largest activation of both networks, and error.

    Args:
        network: the reference.
        quantized: the same network with other weights.
        inputs: of shape (inputs, ...); both networks run on copies of them in float64.

    Returns:
        A row for each layer with weights and one for the output: ``name``, ``s``, ``e``.
    """
    ours, theirs = (
        _Reads(trace(net, copied=True).double()).recorded(inputs) for net in (network, quantized)
    )
    rows = [
        {
            "name": name,
            "s": max(mine.abs().max().item(), its.abs().max().item()),
            "e": distances(mine, its).max().item(),
        }
        for (name, mine), (_, its) in zip(ours, theirs, strict=True)
    ]
    return pd.DataFrame(rows)


class _Reads(fx.Interpreter):
    """Runs a network and keeps what every layer with weights reads, and the output."""

    def recorded(self, inputs: Tensor) -> list[tuple[str, Tensor]]:
        self.seen: list[tuple[str, Tensor]] = []
        with torch.no_grad():
            result = self.run(inputs.double().clone())
        return [*self.seen, ("output", result)]

    def call_module(self, target, args, kwargs):
        if isinstance(self.module.get_submodule(target), AFFINE_MODULES):
            self.seen.append((target, args[0].clone()))  # a later operation may write in place
        return super().call_module(target, args, kwargs)


def _after(operation: Operation, read: Sizes, caps: dict[str, bool]) -> Sizes:
    """Past an activation, a pool or a flatten, which joins channels."""
    if isinstance(operation.module, nn.ReLU6):
        return read.capped(**caps)
    return read.largest() if isinstance(operation.module, nn.Flatten) else read


def _through(ours: nn.Module, theirs: nn.Module, read: Sizes) -> Sizes:
    weights = [module.weight.detach().double().flatten(1) for module in (ours, theirs)]
    rows = torch.maximum(*(weight.abs().sum(1) for weight in weights))
    changes = (weights[0] - weights[1]).abs().sum(1)
    biases = [_bias(module) for module in (ours, theirs)]
    size = torch.maximum(*(bias.abs() for bias in biases))
    s = rows * read.s + size
    e = rows * read.e + changes * read.s + (biases[0] - biases[1]).abs()
    return Sizes(*(_up(value, weights[0].shape[1]) for value in (s, e)))


def _bias(module: nn.Module) -> Tensor:
    return _one(0.0) if module.bias is None else module.bias.detach().double()


def _row(name: str, sizes: Sizes) -> dict[str, object]:
    row = {"name": name, "s": sizes.s.max().item(), "e": sizes.e.max().item()}
    if not all(torch.isfinite(numbers).all() for numbers in (sizes.s, sizes.e)):
        raise QnotesError(f"{name}: a bound is too large for float64; use qnotes.bounds")
    return row


def _one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _up(values: Tensor, terms: int = 1) -> Tensor:
    """Sums of some number of positive products, rounded up by more than their rounding errors."""
    return values * (1 + 2 * (terms + 6) * 2.0**-52)
