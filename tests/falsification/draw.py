"""Random batches of networks: signs, sizes, biases, changes and inputs, each drawn on its own.

Bounds are reached by special networks: all signs alike, all rows equally large, one layer changed.
No special network is written down here. Each property is one of several that a batch may draw, so
that special networks turn up by chance.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.falsification.architectures import Architecture, placed
from tests.falsification.forward import Parameters


@dataclass(frozen=True)
class Batch:
    """Networks of one architecture, their quantized copies, radii and inputs."""

    architecture: Architecture
    parameters: list[Parameters]
    quantized: list[Parameters]
    radius: Tensor
    inputs: Tensor


class _Numbers:
    """Random tensors from one generator."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        unit = torch.rand(self.count, *shape, generator=self.generator, dtype=torch.float64)
        return low + (high - low) * unit

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator, dtype=torch.float64)

    def power(self, low: float, high: float) -> Tensor:
        """One number for each network, 10 to a uniform power."""
        return 10 ** self.uniform(low=low, high=high)


def draw_batch(rng: random.Random, architecture: Architecture, count: int) -> Batch:
    """A batch of networks, changed copies of them, and inputs."""
    numbers = _Numbers(count, rng.getrandbits(60))
    places = list(placed(architecture.items, architecture.shape))
    weights = _weights(rng, numbers, places)
    biases = [None] * len(places)
    if architecture.biases:
        biases = _biases(rng, numbers, places)
    parameters = list(zip(weights, biases, strict=True))
    quantized = _changed(rng, numbers, parameters)
    if rng.random() < 0.3:
        parameters, quantized = quantized, parameters
    radius = rng.choice((torch.ones(count, dtype=torch.float64), numbers.power(-1.5, 1.5)))
    return Batch(
        architecture, parameters, quantized, radius, _inputs(numbers, architecture.shape, radius)
    )


def _weights(rng, numbers: _Numbers, places) -> list[Tensor]:
    sign = rng.choice(("any", "positive", "constant", "constant", "sparse"))
    scale = rng.choice(("free", "free", "equal rows", "unit rows"))
    common = numbers.power(-0.2, 0.6)
    weights = []
    for place in places:
        weight = _signed(sign, numbers, place.weight_shape)
        if scale == "free":
            factor = numbers.power(-1.5, 1.0)
        else:
            rows = weight.abs().flatten(2).sum(2).clamp(min=1e-12)
            weight = weight / rows.view(*rows.shape, *[1] * (weight.dim() - 2))
            factor = common if scale == "equal rows" else torch.ones_like(common)
        weights.append(weight * _broad(factor, weight))
    return weights


def _signed(sign: str, numbers: _Numbers, shape: tuple[int, ...]) -> Tensor:
    if sign == "constant":
        return torch.ones(numbers.count, *shape, dtype=torch.float64)
    weight = numbers.normal(*shape)
    if sign == "sparse":
        return weight * (numbers.uniform(*shape) > 0)
    return weight.abs() if sign == "positive" else weight


def _biases(rng, numbers: _Numbers, places) -> list[Tensor]:
    kind = rng.choice(("any", "positive", "constant", "tiny"))
    size = {"tiny": 1e-6 * numbers.power(-1, 0), "constant": torch.ones(numbers.count)}.get(
        kind, numbers.power(-2, 1)
    )
    biases = []
    for place in places:
        bias = numbers.normal(place.layer.out)
        if kind == "positive":
            bias = bias.abs()
        elif kind == "constant":
            bias = torch.ones_like(bias)
        biases.append(bias * size[:, None].double())
    return biases


def _changed(rng, numbers: _Numbers, parameters: list[Parameters]) -> list[Parameters]:
    kind = rng.choice(("grid", "grid", "down", "down", "noise", "other"))
    only = rng.randrange(len(parameters)) if rng.random() < 0.3 else None
    biases_too = rng.random() < 0.5
    step = numbers.power(-6, -0.5)
    bits = rng.randint(2, 8)
    changed = []
    for layer, (weight, bias) in enumerate(parameters):
        if only not in (None, layer):
            changed.append((weight, bias))
            continue
        own = _change(kind, numbers, weight, step, bits)
        other = bias if bias is None or not biases_too else bias - _broad(step, bias)
        changed.append((own, other))
    return changed


def _change(kind: str, numbers: _Numbers, weight: Tensor, step: Tensor, bits: int) -> Tensor:
    if kind == "grid":
        scale = weight.abs().flatten(1).amax(1).clamp(min=1e-12) / (2 ** (bits - 1) - 1)
        return (weight / _broad(scale, weight)).round() * _broad(scale, weight)
    if kind == "down":
        return weight - _broad(step, weight)
    if kind == "noise":
        return weight + _broad(step, weight) * numbers.uniform(*weight.shape[1:])
    return weight * _broad(numbers.power(-3, 0.3), weight)


def _inputs(numbers: _Numbers, shape: tuple[int, ...], radius: Tensor) -> Tensor:
    """The two constant inputs, corners and a point inside."""
    corners = [numbers.uniform(*shape).sign() for _ in range(2)]
    ones = torch.ones_like(corners[0])
    found = torch.stack([ones, -ones, *corners, numbers.uniform(*shape)], dim=1)
    return found * _broad(radius, found)


def _broad(factor: Tensor, like: Tensor) -> Tensor:
    return factor.view(-1, *[1] * (like.dim() - 1))
