"""Measuring a profile: from two sets of weights to a few numbers per layer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.chain import Link, Term, chain
from qnotes.networks.operations import AFFINE_MODULES, CONVOLUTIONS, operations
from qnotes.networks.tracing import check_finite, trace
from qnotes.profiles import Layer, Profile

#: Weights are read in blocks that fit the processor's cache, so that each is fetched once.
BLOCK = 1 << 18


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
        The profile, a layer of the chain each (`qnotes.networks.chain`), with
        what `qnotes.theorems.notation` calls its quantities.

    Raises:
        UnsupportedOperation: for an operation that the theory does not cover, by name.
        QnotesError: for networks that do not match, an input shape that does not fit, weights that
            are not finite, or a radius that is not positive.
    """
    reference, other = trace(network), trace(quantized)
    check_same_graph(reference, other)
    operations(other)  # refuses what is covered in one network and not in the other
    links = chain(reference, input_shape)
    layers = tuple(_layer(link, other) for link in links.links)
    return Profile(layers, links.input_width, radius, provenance or {})


def check_same_graph(network: fx.GraphModule, quantized: fx.GraphModule) -> None:
    """Refuse two networks that differ in more than their weights, by the first difference."""
    pairs = zip(network.graph.nodes, quantized.graph.nodes, strict=False)
    for ours, theirs in pairs:
        for side in ("op", "target", "args", "kwargs"):
            mine, its = str(getattr(ours, side)), str(getattr(theirs, side))
            if mine != its:
                raise QnotesError(
                    f"the quantized network does not match: {ours.name} has {side} {mine}, "
                    f"there it is {its}"
                )
        if ours.op == "call_module":
            _check_same_module(
                str(ours.target),
                network.get_submodule(str(ours.target)),
                quantized.get_submodule(str(ours.target)),
            )
    ours, theirs = len(network.graph.nodes), len(quantized.graph.nodes)
    if ours != theirs:
        raise QnotesError(f"the quantized network has {theirs} operations; expected {ours}")


def _check_same_module(name: str, ours: nn.Module, theirs: nn.Module) -> None:
    if _without_bias(ours) != _without_bias(theirs):
        raise QnotesError(f"{name}: is {ours} here and {theirs} in the quantized network")
    mine, its = _options(ours), _options(theirs)
    differing = [option for option in mine if mine[option] != its.get(option)]
    if differing:
        given = ", ".join(f"{option}={mine[option]!r}" for option in differing)
        there = ", ".join(f"{option}={its.get(option)!r}" for option in differing)
        raise QnotesError(f"{name}: has {given} here and {there} in the quantized network")


def _options(module: nn.Module) -> dict[str, object]:
    """What a module was built with, and the shapes of its weights; its repr omits some options."""
    options = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and key != "training" and not isinstance(value, Tensor)
    }
    shapes = {f"shape of {key}": tuple(value.shape) for key, value in module.named_parameters()}
    if isinstance(module, AFFINE_MODULES):
        shapes.setdefault("shape of bias", (len(module.weight),))
    return options | shapes


def _without_bias(module: nn.Module) -> str:
    """What a module is; a layer without a bias computes the same as one whose bias is zero."""
    return re.sub(r", bias=(True|False)", "", repr(module))


@dataclass(frozen=True)
class _Rows:
    """Absolute row sums of one matrix, a row for each channel, and its largest entry."""

    sums: Tensor
    largest: float


def _layer(link: Link, quantized: fx.GraphModule) -> Layer:
    weighted = [term for term in link.terms if term.module is not None]
    pairs = [(term.module, quantized.get_submodule(term.target)) for term in weighted]
    rows = [_rows(ours.weight, theirs.weight) for ours, theirs in pairs]
    fan_in = sum(ours.weight[0].numel() for ours, _ in pairs)
    identities = len(link.terms) - len(weighted)
    biases = [_bias([pair[side] for pair in pairs]) for side in (0, 1)]
    sums = [sum(row[side].sums for row in rows) + identities for side in (0, 1)]
    if not all(torch.isfinite(torch.as_tensor(total)).all() for total in (*sums, *biases)):
        _refuse_values(weighted, pairs)
    at_least = 1.0 if link.carries else 0.0
    return Layer(
        name=link.name,
        kind=_kind(weighted),
        fan_in=fan_in,
        reads=_reads(weighted),
        row=_row(weighted) + identities,
        width=link.width,
        norm=_up(max(at_least, *(_top(total) for total in sums)), fan_in),
        joint_norm=_up(
            max(at_least, *(_top(t + b.abs()) for t, b in zip(sums, biases, strict=True))), fan_in
        ),
        gap=_up(max((row[2].largest for row in rows), default=0.0), 1),
        gap_norm=_up(_top(sum(row[2].sums for row in rows)), fan_in),
        bias_norm=_up(max(_top(bias.abs()) for bias in biases), 1),
        bias_gap=_up(_top((biases[0] - biases[1]).abs()), 1),
        peak=_peak(rows, pairs, biases, identities),
    )


def _refuse_values(weighted: list[Term], pairs: list[tuple[nn.Module, nn.Module]]) -> None:
    for term, pair in zip(weighted, pairs, strict=True):
        for module in pair:
            check_finite(term.target, {"weight": module.weight, "bias": module.bias})
    names = " + ".join(term.target for term in weighted)
    raise QnotesError(f"{names}: a row sum of its weights is too large for float64")


def _rows(ours: Tensor, theirs: Tensor) -> tuple[_Rows, _Rows, _Rows]:
    """Rows of W, of W' and of W - W', reading both once."""
    parts = list(_blocks(ours.detach().flatten(1), theirs.detach().flatten(1)))
    return tuple(
        _Rows(torch.cat([part[which][0] for part in parts]), max(part[which][1] for part in parts))
        for which in range(3)
    )


def _blocks(ours: Tensor, theirs: Tensor) -> Iterator[list[tuple[Tensor, float]]]:
    rows = max(1, BLOCK // ours.shape[1])
    space = torch.empty(min(rows, len(ours)), ours.shape[1], dtype=torch.float64)
    for mine, its in zip(ours.split(rows), theirs.split(rows), strict=True):
        mine, its, free = mine.double(), its.double(), space[: len(mine)]
        yield [
            _sums_and_largest(torch.abs(mine, out=free)),
            _sums_and_largest(torch.abs(its, out=free)),
            _sums_and_largest(torch.sub(mine, its, out=free).abs_()),
        ]


def _sums_and_largest(absolute: Tensor) -> tuple[Tensor, float]:
    return absolute.sum(1), absolute.amax().item()


def _bias(modules: list[nn.Module]) -> Tensor:
    """The bias of the layer: the sum of its terms' biases, zero where there is none."""
    given = [module.bias.detach().double() for module in modules if module.bias is not None]
    return sum(given) if given else torch.zeros(1, dtype=torch.float64)


def _kind(weighted: list[Term]) -> str:
    if not weighted:
        return "sum"
    convolution = any(isinstance(term.module, CONVOLUTIONS) for term in weighted)
    return "convolution" if convolution else "dense"


def _reads(weighted: list[Term]) -> int:
    """Coordinates of the largest map that weights read, or of all that one row reads, if more."""
    return max([_row(weighted), *(term.source.size for term in weighted)])


def _row(weighted: list[Term]) -> int:
    """Most coordinates that one row reads through weights; one that two terms read counts twice."""
    return sum(min(term.module.weight[0].numel(), term.source.size) for term in weighted)


def _peak(rows, pairs, biases: list[Tensor], identities: int) -> float:
    entries = [row[side].largest for row in rows for side in (0, 1)]
    own = [module.bias for pair in pairs for module in pair if module.bias is not None]
    single = [_top(bias.detach().abs()) for bias in own]
    return max([*entries, *single, *(_top(b.abs()) for b in biases), 1.0 if identities else 0.0])


def _top(vector: Tensor | int) -> float:
    return float(torch.as_tensor(vector).max())


def _up(value: float, terms: int) -> float:
    """A sum of some number of positive terms, rounded up by twice its largest rounding error."""
    return value * (1 + (terms + 2) * 2.0**-52)
