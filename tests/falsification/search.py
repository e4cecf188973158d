"""The search: random networks, then ascent on error/bound, against every bound."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
import sympy as sp
import torch
from torch import Tensor
from tqdm import tqdm

from qnotes import theorems
from qnotes.theorems.theorem import UNIT_ROUNDOFF, Theorem
from qnotes.threads import one_thread
from tests.falsification.architectures import KINDS, MAX_DEPTH, draw_architecture
from tests.falsification.ascent import ascend
from tests.falsification.draw import Batch, draw_batch
from tests.falsification.forward import outputs
from tests.falsification.measured import TENSORS, Measured, measure
from tests.falsification.plain_arithmetic import direct

#: Networks in one random batch, and in one ascent.
BATCH, CLIMBERS = 256, 16
#: One ascent for so many random batches.
ASCENT_EVERY = 4
#: A value computed in plain float64 may lie this much below the exact one, relatively.
VALUE_ERROR = 1e-12


@dataclass
class Record:
    """What the search found about one bound."""

    theorem: Theorem
    networks: int = 0
    violations: int = 0
    largest: float = 0.0
    found_in: str = ""
    by_depth: dict[int, float] = field(default_factory=dict)

    def add(self, ratios: Tensor, violated: Tensor, depth: int, where: str) -> None:
        """Note the ratios error/bound of a batch, less what rounding may have added."""
        if not len(ratios):
            return
        self.networks += len(ratios)
        self.violations += int(violated.sum())
        top = float(ratios.max())
        self.by_depth[depth] = max(top, self.by_depth.get(depth, 0.0))
        if top > self.largest:
            self.largest, self.found_in = top, where

    def row(self) -> dict:
        return {
            "theorem": self.theorem.key,
            "tight": self.theorem.tight,
            "networks": self.networks,
            "violations": self.violations,
            "largest": self.largest,
            "found in": self.found_in,
            "by_depth": {str(depth): self.by_depth[depth] for depth in sorted(self.by_depth)},
        }


def on_error() -> tuple[Theorem, ...]:
    """The theorems that bound the error and have a value for a profile."""
    return tuple(t for t in theorems() if t.computable and isinstance(t.statement, sp.Le))


def search(
    networks: int,
    *,
    seed: int = 0,
    bounds: Iterable[Theorem] | None = None,
    ascents: bool = True,
    progress: bool = False,
) -> pd.DataFrame:
    """Try networks against bounds: is any error above a bound, and how near does one come?

    Every network, quantized copy and input is random; some batches go on with an optimizer that
    climbs error/bound of one theorem over weights, changes and inputs.

    Args:
        networks: how many to try, rounded up to whole batches.
        seed: of everything.
        bounds: theorems, or broken ones; by default all that bound the error.
        ascents: whether to climb at all.
        progress: whether to show a progress bar.

    Returns:
        A row a bound: ``theorem``, ``tight``, ``networks`` to which it applied, ``violations``,
        ``largest`` ratio error/bound (never above 1 for a true bound), the kind of network
        ``found in``, and the largest ratio ``by_depth``.
    """
    rng = random.Random(seed)
    records = [Record(theorem) for theorem in (on_error() if bounds is None else bounds)]
    with one_thread():
        _fill(records, networks, rng, ascents, progress)
    return pd.DataFrame([record.row() for record in records])


def _fill(records: list[Record], networks: int, rng, ascents: bool, progress: bool) -> None:
    with tqdm(total=networks, unit=" networks", disable=not progress) as bar:
        tried = batches = 0
        while tried < networks:
            count = min(BATCH, max(CLIMBERS, networks - tried))
            batch = _draw(rng, count)
            _try(batch, records, "random")
            batches += 1
            if ascents and batches % ASCENT_EVERY == 0:
                target = records[batches // ASCENT_EVERY % len(records)]
                start = _start(rng, target.theorem)
                _try(ascend(start, target.theorem), records, "ascent")
                count += CLIMBERS
            tried += count
            bar.update(count)


def _draw(rng: random.Random, count: int) -> Batch:
    kind, depth = rng.choice(KINDS), rng.choice((1, 2, 2, 3, 3, *range(1, MAX_DEPTH + 1)))
    return draw_batch(rng, draw_architecture(rng, kind, depth), count)


def _start(rng: random.Random, theorem: Theorem) -> Batch:
    """Networks to climb from, most of them shallow, that meet the hypotheses if a few draws do."""
    for _ in range(20):
        depth = rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 6, MAX_DEPTH))
        architecture = draw_architecture(rng, rng.choice(KINDS), depth)
        batch = draw_batch(rng, architecture, CLIMBERS)
        if not theorem.assumptions(_measured(batch).one(0)):
            break
    return batch


def _measured(batch: Batch) -> Measured:
    return measure(batch.architecture, batch.parameters, batch.quantized, batch.radius)


def _try(batch: Batch, records: list[Record], how: str) -> None:
    measured = _measured(batch)
    error = largest_error(batch)
    noise = rounding_noise(measured)
    quantities = measured.quantities()
    example = measured.one(0)
    where = f"{batch.architecture.kind}, depth {measured.depth}, {how}"
    for record in records:
        # Hypotheses concern the architecture and its biases, which a batch shares.
        if record.theorem.assumptions(example):
            continue
        value = _value(record.theorem, quantities, measured)
        if value is None:
            continue
        shown = (error - noise).clamp(min=0)
        counted = (error > 0) | (value > 0)
        violated = shown > value * (1 + VALUE_ERROR)
        ratios = torch.where(shown > 0, shown / value, 0.0)
        record.add(ratios[counted], violated[counted], measured.depth, where)


def _value(theorem: Theorem, quantities: dict, measured: Measured) -> Tensor | None:
    """The bound of each network; None where a broken statement has no value: 0/0, or layer 0."""
    try:
        value = direct(theorem, quantities, measured.depth, TENSORS)
    except (ZeroDivisionError, IndexError, KeyError):
        return None
    return value * torch.ones_like(measured.radius)


def largest_error(batch: Batch) -> Tensor:
    """The largest distance of outputs over the inputs of a batch, and one step to worse inputs."""
    errors = [_errors(batch, batch.inputs), _errors(batch, _worse_inputs(batch))]
    return torch.cat(errors, dim=1).amax(1)


def _errors(batch: Batch, inputs: Tensor) -> Tensor:
    ours = outputs(batch.architecture, batch.parameters, inputs)
    theirs = outputs(batch.architecture, batch.quantized, inputs)
    return (ours - theirs).abs().amax(2)


def _worse_inputs(batch: Batch) -> Tensor:
    """The corner that the gradient of the error points to, from each input."""
    inputs = batch.inputs.clone().requires_grad_()
    _errors(batch, inputs).sum().backward()
    radius = batch.radius.view(-1, *[1] * (inputs.dim() - 1))
    return (radius * inputs.grad.sign()).detach()


def rounding_noise(measured: Measured) -> Tensor:
    """What rounding may add to an observed error: twice the forward error of a network.

    Each output of layer ℓ is a sum of at most n_ℓ + 2 terms, so computed S_ℓ is off by at most
    (Σ_{k≤ℓ} (n_k + 3)) · u · s_ℓ, to first order; a pool adds at most 25 additions. Doubled.
    """
    size = measured.radius
    for layer in measured.layers:
        size = layer.norm * size + layer.bias_norm
    additions = sum(layer.fan_in + 3 + 25 for layer in measured.layers)
    biases = sum(layer.bias_norm for layer in measured.layers)
    return 4 * additions * UNIT_ROUNDOFF * (_growth(measured) * (measured.radius + biases) + size)


def _growth(measured: Measured) -> Tensor:
    """Product of max(1, r_ℓ): no partial product is larger."""
    return math.prod((layer.norm.clamp(min=1) for layer in measured.layers), start=1.0)
