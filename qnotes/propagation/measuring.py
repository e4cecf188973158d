"""Measuring a profile: from two sets of weights to a few numbers per layer."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from qnotes.networks.operations import CONVOLUTIONS, Operation
from qnotes.propagation.chain import Block, Link, linked
from qnotes.propagation.outward import EPSILON, up
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.profiles import Layer, Profile, check_radius
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
        radius: D; inputs lie in :math:`[-D, D]^{N_0}`.
        provenance: anything worth remembering: weights, seed, bits, versions.

    Returns:
        The profile, with an entry for each layer of the chain.

    Raises:
        UnsupportedOperation: for an operation that the theory does not cover, by name.
        QnotesError: for networks that do not match, an input shape that does not fit, weights that
            are not finite, or a radius that is not positive.
    """
    radius = check_radius(radius)  # one number: all closed forms start from D
    pair = checked_pair(network, quantized, input_shape=input_shape, radius=radius)
    links = linked(pair.operations, pair.shapes)
    return Profile(tuple(map(_layer, links.links)), links.input_width, radius, provenance or {})


def _layer(link: Link) -> Layer:
    """Blocks side by side have the largest of their numbers each: they are rows of one matrix."""
    blocks = [_block(block, link) for block in link.blocks]
    largest = {
        entry.name: max(getattr(block, entry.name) for block in blocks)
        for entry in fields(Layer)
        if entry.name not in ("name", "kind")
    }
    kinds = {block.kind for block in blocks}
    kind = next(kind for kind in ("convolution", "dense", "sum") if kind in kinds)
    return Layer(name=link.name, kind=kind, **largest)


def _block(block: Block, link: Link) -> Layer:
    layers = [term.operation for term in block.terms if term.operation]
    identities = len(block.terms) - len(layers)
    zeros = torch.zeros(3, 1, dtype=torch.float64)
    weights = [_rows(layer) for layer in layers] or [(zeros, zeros[:, 0])]
    sums = sum(rows for rows, _ in weights)  # of W, W' and W - W'; sum() makes a new tensor
    sums[:2] += identities
    biases = [_biases(layer) for layer in layers] or [zeros]
    joined = _joined(biases)
    check_sums(block.name, layers, [sums, joined])
    largest = torch.stack([entries for _, entries in weights]).amax(0)
    fan_in = sum(layer.module.weight[0].numel() for layer in layers)
    reads = [term.size for term in block.terms if term.operation]
    row = sum(min(o.module.weight[0].numel(), size) for o, size in zip(layers, reads, strict=True))
    at_least = 1.0 if link.carries else 0.0  # what a carried coordinate's row sums to
    peak = max(float(identities > 0), *(_top(v[:2]) for v in (largest, joined, *biases)))
    plain = block.slope == 1 and block.offset == 0

    def sloped(value: float, terms: int = 1, offset: float = 0.0) -> float:
        """Of κ W and κ b, and what the activation makes of 0; rounded up (theory, T17)."""
        return up(value, terms) if plain else up(block.slope * value + offset, terms + 2)

    return Layer(
        name=block.name,
        kind=_kind(layers),
        fan_in=fan_in,
        reads=max([row, *reads]),
        row=row + identities,
        width=link.width,
        norm=max(at_least, sloped(_top(sums[:2]), fan_in)),
        joint_norm=max(at_least, sloped(_top(sums[:2] + joined[:2]), fan_in, block.offset)),
        gap=sloped(_top(largest[2])),
        gap_norm=sloped(_top(sums[2]), fan_in),
        bias_norm=sloped(_top(joined[:2]), offset=block.offset),
        bias_gap=sloped(_top(joined[2])),
        peak=peak if plain else sloped(peak, offset=block.offset),
        slope=block.slope,
    )


def _rows(layer: Operation) -> tuple[Tensor, Tensor]:
    """Row sums of |W|, |W'| and |W - W'|, and their largest entries, reading both once."""
    ours, theirs = layer.module.weight, layer.quantized.weight
    sums, largest = torch.empty(3, len(ours), dtype=torch.float64), []
    for rows, matrices in absolute_blocks(ours, theirs):
        sums[:, rows] = matrices.sum(2)
        largest.append(matrices.amax((1, 2)))
    return sums, torch.stack(largest).amax(0)


def _biases(layer: Operation) -> Tensor:
    """b, b' and b - b'."""
    ours, theirs = bias_of(layer.module), bias_of(layer.quantized)
    return torch.stack([ours, theirs, ours - theirs])


def _joined(biases: list[Tensor]) -> Tensor:
    """|b_1 + b_2 + …|, raised by what the additions may have lost."""
    total = sum(biases).abs()
    if len(biases) == 1:
        return total
    return total + EPSILON * len(biases) * sum(bias.abs() for bias in biases)


def _kind(layers: list[Operation]) -> str:
    if not layers:
        return "sum"
    return "convolution" if any(type(o.module) in CONVOLUTIONS for o in layers) else "dense"


def _top(values: Tensor) -> float:
    return values.abs().max().item()
