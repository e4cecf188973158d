"""Bounds of `certify` over the largest error itself, which is known for networks of two inputs.

    python -m tests.falsification.truth --csv data/tiny_truth.csv

A square of inputs is cut along the lines at which a unit of either network bends, one layer after
the other: the pieces are the activation patterns that occur. On each of them both networks are
affine, so the largest error is at a corner of a piece.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import Tensor, fx, nn
from tqdm import tqdm

import qnotes as qn
from qnotes.files import write_whole
from qnotes.networks.operations import ACTIVATION, AFFINE, INPUT, SUM, Operation
from qnotes.propagation.certifying import METHODS
from qnotes.propagation.pair import checked_pair
from qnotes.threads import one_thread
from tests.random_networks import Residual

NETWORKS, BITS = 40, 4
#: For descents: a clock that goes on by a tick when it is read. So they take as many steps on every
#: machine, about a hundred, and `best` those of its parts.
SECONDS, TICK = 1.0, 0.005
#: A corner so near to a line, relative to the farthest one, is on it.
ON_THE_LINE = 1e-12


def largest_error(network: nn.Module, quantized: nn.Module, shape: tuple[int, ...]) -> float:
    """Over [-1, 1]², for networks of affine layers, sums and ReLUs."""
    operations = checked_pair(network, quantized, input_shape=shape, radius=1.0).operations
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return max(
        float(np.abs(_at(ours - theirs, piece)).max())
        for piece, (ours, theirs) in _pieces(operations, shape, square)
    )


def _pieces(operations: tuple[Operation, ...], shape, square: np.ndarray) -> Iterator[tuple]:
    """Each piece by its corners, and both networks on it: (3, outputs) for x, y and 1."""
    start = torch.eye(3, dtype=torch.float64)[:, :2].reshape(3, *shape[1:])
    waiting: list[tuple[int, np.ndarray, Mapping[fx.Node, list[Tensor]]]] = [(0, square, {})]
    while waiting:
        place, piece, values = waiting.pop()
        operation = operations[place]
        reads = [values[node] for node in operation.inputs]
        if operation.kind == INPUT:
            made = [start, start]
        elif operation.kind == ACTIVATION:
            cut = _cut(piece, reads[0])
            if cut is not None:
                waiting += [(place, half, values) for half in cut]
                continue
            inside = piece.mean(0, keepdims=True)
            made = [value * torch.from_numpy(_at(value, inside) > 0) for value in reads[0]]
        elif operation.kind == AFFINE:
            both = operation.module, operation.quantized
            made = [_affine(module, value) for module, value in zip(both, reads[0], strict=True)]
        elif operation.kind == SUM:
            made = [one + other for one, other in zip(*reads, strict=True)]
        else:  # flattens, or does nothing
            made = [operation.module(value) if operation.module else value for value in reads[0]]
        if place == len(operations) - 1:
            yield piece, made
        else:
            waiting.append((place + 1, piece, {**values, operation.node: made}))


def _affine(module: nn.Module, value: Tensor) -> Tensor:
    """A layer on the coefficients of x, y and 1; only the last gets the bias."""
    with torch.no_grad():
        constant = module(torch.zeros_like(value[:1]))
        return module(value) - constant * torch.tensor([1.0, 1.0, 0.0]).view(-1, *[1] * (
            value.dim() - 1))  # fmt: skip


def _at(value: Tensor, points: np.ndarray) -> np.ndarray:
    """(points, ...)."""
    flat = np.c_[points, np.ones(len(points))] @ value.flatten(1).numpy()
    return flat.reshape(len(points), *value.shape[1:])


def _cut(piece: np.ndarray, values: list[Tensor]) -> list[np.ndarray] | None:
    """Both halves of a piece where a unit bends inside of it; None where none does."""
    heights = np.concatenate([_at(value, piece).reshape(len(piece), -1) for value in values], 1)
    heights[np.abs(heights) <= ON_THE_LINE * np.abs(heights).max(0)] = 0
    bends = np.flatnonzero((heights.max(0) > 0) & (heights.min(0) < 0))
    if not len(bends):
        return None
    own = heights[:, bends[0]]
    return [_half(piece, side * own) for side in (1, -1)]


def _half(piece: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The corners where heights are not negative, and where its border crosses 0."""
    corners = []
    for one, other, low, high in zip(
        piece, np.roll(piece, -1, 0), heights, np.roll(heights, -1), strict=True
    ):
        if low >= 0:
            corners.append(one)
        if low * high < 0:
            corners.append(one + (other - one) * (low / (low - high)))
    return np.array(corners)


# ---------------------------------------------------------------- the table


def _dense() -> nn.Module:
    layers = [nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)]
    return nn.Sequential(*layers)


def _skip() -> nn.Module:
    body = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    more = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    blocks = [Residual(part, nn.Identity(), nn.ReLU()) for part in (body, more)]
    return nn.Sequential(*blocks, nn.Linear(2, 2))


def _convolutional() -> nn.Module:
    layers = [nn.Conv1d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv1d(3, 2, 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2, 2))


#: Networks of two inputs, with the shapes of these.
TINY = {
    "dense": (_dense, (1, 2)),
    "with skips": (_skip, (1, 2)),
    "convolutional": (_convolutional, (1, 1, 2)),
}


def drawn(kind: str, seed: int) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """A network of normal weights, rounded, and the shape of its input."""
    made, shape = TINY[kind]
    torch.manual_seed(seed)
    network = qn.fold(made().double().eval())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return network, qn.quantize(network, bits=BITS).model, shape


def bound(network: nn.Module, quantized: nn.Module, shape: tuple[int, ...], method: str) -> float:
    """What `certify` says of the largest error, after as many steps on every machine."""
    ticks = itertools.count()
    options = {"input_shape": shape, "method": method, "seconds": SECONDS}
    with mock.patch("time.perf_counter", lambda: TICK * next(ticks)):
        return qn.certify(network, quantized, **options).bound.max()


def ratios(networks: int, progress: bool = False) -> pd.DataFrame:
    """Bound over truth: a row for each kind of network, seed and method."""
    rows = []
    with one_thread(), tqdm(total=networks * len(TINY), disable=not progress) as bar:
        for kind in TINY:
            for seed in range(networks):
                network, quantized, shape = drawn(kind, seed)
                truth = largest_error(network, quantized, shape)
                for method in METHODS if truth else ():  # where both are constant it may be 0
                    row = {"kind": kind, "seed": seed, "method": method}
                    rows.append({**row, "ratio": bound(network, quantized, shape, method) / truth})
                bar.update()
    return pd.DataFrame(rows)


def main(arguments: list[str] | None = None) -> int:
    """Compute and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.falsification.truth")
    parser.add_argument("--networks", type=int, default=NETWORKS, metavar="N", help="of each kind")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all ratios there")
    options = parser.parse_args(arguments)
    table = ratios(options.networks, progress=sys.stderr.isatty())
    if options.csv:
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        write_whole(options.csv.parent, {options.csv.name: text.encode()})
    by_method = table.groupby(["kind", "method"], sort=False)["ratio"]
    print(by_method.describe(percentiles=[0.5])[["count", "min", "50%", "max"]].to_string())
    return int((table["ratio"] < 1 - 1e-9).any())


if __name__ == "__main__":
    sys.exit(main())
