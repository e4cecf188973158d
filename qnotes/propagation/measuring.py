"""Measuring a profile: from two sets of weights to a few numbers per layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qnotes.networks.operations import CONVOLUTIONS, Operation
from qnotes.propagation.chain import Link, linked
from qnotes.propagation.outward import EPSILON, up
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.profiles import Layer, Profile
from qnotes.propagation.weights import absolute_blocks, bias_of, check_sums


def profile(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...],
    radius: float = 1.0,
    provenance: dict[str, object] | None = None,
) -> Profile:
    """Measure a network and its quantized copy: all that the bounds need to know.

    The weights are read once, whatever the size of the input. Norms are computed in float64 and
    rounded up: a sum of n terms is off by at most n unit roundoffs, and twice that is added.

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`).
        quantized: the same network with other weights, such as `qnotes.quantize(...).model`. A
            bias that only one of the two has is zero in the other.
        input_shape: shape of one batch, batch dimension first.
        radius: D; inputs lie in [-D, D]^N_0.
        provenance: anything worth remembering: weights, seed, bits, versions.

    Returns:
        The profile, a layer of the chain each (theory, sections 0 and 4).

    Raises:
        UnsupportedOperation: for an operation that the theory does not cover, by name.
        QnotesError: for networks that do not match, an input shape that does not fit, weights that
            are not finite, or a radius that is not positive.
    """
    pair = checked_pair(network, quantized, input_shape=input_shape, radius=radius)
    links = linked(pair.operations, pair.shapes)
    return Profile(tuple(map(_layer, links.links)), links.input_width, radius, provenance or {})


@dataclass(frozen=True)
class _Rows:
    """Absolute row sums of one matrix, a row for each channel, and its largest entry."""

    sums: Tensor
    largest: float


def _layer(link: Link) -> Layer:
    layers = [term.operation for term in link.terms if term.operation is not None]
    identities = len(link.terms) - len(layers)
    rows = [_rows(layer) for layer in layers]
    sums = [_plus(identities, [read[which].sums for read in rows]) for which in (0, 1)]
    modules = [(layer.module, layer.quantized) for layer in layers]
    ours, theirs = ([bias_of(pair[side]) for pair in modules] for side in (0, 1))
    biases = [_joined(ours), _joined(theirs)]
    check_sums(link.name, layers, [*sums, *biases])
    fan_in = sum(layer.module.weight[0].numel() for layer in layers)
    at_least = 1.0 if link.carries else 0.0
    entries = [*ours, *theirs, *biases, *(read[which].largest for read in rows for which in (0, 1))]
    return Layer(
        name=link.name,
        kind=_kind(layers),
        fan_in=fan_in,
        reads=max([_row(link), *(term.source.size for term in link.terms if term.operation)]),
        row=_row(link) + identities,
        width=link.width,
        norm=up(max(at_least, *map(_top, sums)), fan_in),
        joint_norm=up(
            max(at_least, *(_top(a + b) for a, b in zip(sums, biases, strict=True))), fan_in
        ),
        gap=up(max((read[2].largest for read in rows), default=0.0), 1),
        gap_norm=up(_top(_plus(0, [read[2].sums for read in rows])), fan_in),
        bias_norm=up(max(map(_top, biases)), 1),
        bias_gap=up(_top(_joined([a - b for a, b in zip(ours, theirs, strict=True)])), 1),
        peak=max([1.0 if identities else 0.0, *map(_top, entries)]),
    )


def _rows(layer: Operation) -> tuple[_Rows, _Rows, _Rows]:
    """Rows of W, of W' and of W - W', reading both once."""
    ours, theirs = layer.module.weight, layer.quantized.weight
    sums, largest = torch.empty(3, len(ours), dtype=torch.float64), [0.0] * 3
    for rows, matrices in absolute_blocks(ours, theirs):
        for which, matrix in enumerate(matrices):
            sums[which, rows] = matrix.sum(1)
            largest[which] = max(largest[which], matrix.amax().item())
    return tuple(map(_Rows, sums, largest))


def _plus(number: int, rows: list[Tensor]) -> Tensor:
    return sum(rows, torch.full((1,), float(number), dtype=torch.float64))


def _joined(biases: list[Tensor]) -> Tensor:
    """|b_1 + b_2 + …|, raised by what the additions may have lost; zero where there is none."""
    lost = EPSILON * (len(biases) - 1) * _plus(0, [bias.abs() for bias in biases])
    return _plus(0, biases).abs() + lost


def _kind(layers: list[Operation]) -> str:
    if not layers:
        return "sum"
    convolution = any(isinstance(layer.module, CONVOLUTIONS) for layer in layers)
    return "convolution" if convolution else "dense"


def _row(link: Link) -> int:
    """Most coordinates that one row reads through weights; one that two terms read counts twice."""
    weighted = [term for term in link.terms if term.operation]
    return sum(min(term.module.weight[0].numel(), term.source.size) for term in weighted)


def _top(values: Tensor | float) -> float:
    return float(torch.as_tensor(values).abs().max())
