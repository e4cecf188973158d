"""What rounding did to each layer: its largest gap, its gap norm, and what theory promises."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor, fx, nn

from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds
from qnotes.propagation.profiles import Profile
from qnotes.quantization import Quantized, QuantizedLayer, quantize


def gaps(folded: fx.GraphModule, quantized: Quantized) -> pd.DataFrame:
    """A row for each layer with weights: how far rounding moved them.

    Returns:
        Columns name; kind (``depthwise``, ``1×1``, ``k×k`` or ``linear``); fan_in n; gap ε and
        gap_norm δ as in a profile; ``steps``, gap · q / a, the gap in steps of the coarsest grid of
        the layer (at most 1/2 on a symmetric grid); ``filled``, δ / (n ε), at most 1; ``zeros``,
        the share of weights that are zero after rounding.
    """
    rows = []
    for name, stored in quantized.layers.items():
        fan_in, gap = stored.codes[0].numel(), stored.gap
        rows.append(
            {
                "name": name,
                "kind": _kind(folded.get_submodule(name)),
                "fan_in": fan_in,
                "gap": gap,
                "gap_norm": stored.gap_norm,
                "steps": gap / stored.scale.max().item(),
                "filled": stored.gap_norm / (fan_in * gap) if gap else math.nan,
                "zeros": (stored.weight == 0).double().mean().item(),
            }
        )
    return pd.DataFrame(rows)


def half_step_excess(folded: fx.GraphModule, quantized: Quantized) -> float:
    """By how much the largest gap exceeds half a step, relative to it; never positive in theory.

    The gap is measured in float64, whatever the precision of the networks.
    """
    worst = -1.0
    for name, stored in quantized.layers.items():
        before = folded.get_submodule(name).weight.detach().double()
        after = quantized.model.get_submodule(name).weight.detach().double()
        steps = (before - after).abs().flatten(1).amax(1) / stored.scale.double()
        worst = max(worst, (2 * steps.max() - 1).item())
    return worst


def channel_ranges(network: nn.Module, layer: str) -> Tensor:
    """Largest absolute weight of each output channel of a layer."""
    return network.get_submodule(layer).weight.detach().flatten(1).abs().amax(1)


def bits_needed(
    folded: fx.GraphModule,
    input_shape: tuple[int, ...],
    *,
    tolerances: Iterable[float],
    least: int = 8,
    radius: float = 1.0,
) -> pd.DataFrame:
    """Bits that certify an error by T12, for each bound of the ladder that has a value.

    The constant C of a bound must not depend on the number of bits. With at least ``least`` bits no
    weight moves by more than the half-step h of ``least`` bits, so no norm passes ‖W‖ + n h: the
    bound is evaluated with these norms, and divided by h.

    Args:
        folded: the reference.
        input_shape: shape of one batch.
        tolerances: errors τ to be certified.
        least: fewest bits that C is valid for.
        radius: D.

    Returns:
        A row for each bound and tolerance: theorem, bound, log10_constant, tolerance, bits (as
        a real number; round up), never fewer than ``least``.
    """
    exact = profile(folded, folded, input_shape=input_shape, radius=radius)
    largest = max(
        module.weight.detach().abs().max().item()
        for module in folded.modules()
        if isinstance(getattr(module, "weight", None), Tensor)
    )
    half_step = largest / (2 * (2 ** (least - 1) - 1))
    ladder = bounds(_moved(exact, half_step)).dropna(subset="log10")
    rows = []
    for row in ladder.itertuples():
        constant = row.log10 - math.log10(half_step)
        for tolerance in tolerances:
            needed = 1 + _log2_of_one_plus(constant + math.log10(largest / (2 * tolerance)))
            rows.append(
                {
                    "theorem": row.theorem,
                    "bound": row.bound,
                    "log10_constant": constant,
                    "tolerance": tolerance,
                    "bits": max(float(least), needed),
                }
            )
    return pd.DataFrame(rows)


def _moved(exact: Profile, gap: float) -> Profile:
    """The profile of the worst copy whose weights are at most ``gap`` away."""
    layers = [
        replace(
            layer,
            gap=gap if layer.fan_in else 0.0,
            gap_norm=layer.fan_in * gap,
            norm=layer.norm + layer.fan_in * gap,
            joint_norm=layer.joint_norm + layer.fan_in * gap,
            peak=layer.peak + gap,
        )
        for layer in exact.layers
    ]
    return replace(exact, layers=tuple(layers))


def _log2_of_one_plus(log10: float) -> float:
    """log2(1 + 10^x), where 10^x may overflow."""
    if log10 > 100:
        return log10 / math.log10(2)
    return math.log2(1 + 10**log10)


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return "linear"
    if module.groups > 1 and module.groups == module.in_channels:
        return "depthwise"
    return "1×1" if torch.Size(module.kernel_size).numel() == 1 else "k×k"


def stored(weight: Tensor, **scheme: object) -> QuantizedLayer:
    """One matrix on a grid, as `qnotes.quantize` stores a layer.

    Args:
        weight: of shape (channels, weights of a channel).
        scheme: options of `qnotes.quantize`, such as bits, granularity and symmetric.
    """
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    linear.weight = nn.Parameter(weight.detach().clone())
    return quantize(nn.Sequential(linear).eval(), **scheme).layers["0"]


def outlier_table(weight: Tensor, factors: Iterable[float], *, bits: int) -> pd.DataFrame:
    """What growing its largest weight does to the other weights of a layer.

    Args:
        weight: of shape (channels, weights of a channel).
        factors: by which the largest weight is multiplied.
        bits: of symmetric grids.

    Returns:
        Columns factor, granularity, ``zeros`` (share of the others that become zero) and ``error``
        (mean change of the others).
    """
    others = torch.ones(weight.numel(), dtype=torch.bool)
    others[weight.abs().argmax()] = False
    rows = []
    for factor in factors:
        grown = weight.clone()
        grown.view(-1)[~others] *= factor
        for granularity in ("tensor", "channel"):
            after = stored(grown, bits=bits, granularity=granularity).weight.reshape(-1)[others]
            change = (grown.reshape(-1)[others] - after).abs()
            rows.append(
                {
                    "factor": factor,
                    "granularity": granularity,
                    "zeros": (after == 0).double().mean().item(),
                    "error": change.mean().item(),
                }
            )
    return pd.DataFrame(rows)
