"""The search against `certify`: random networks and regions, in every domain, output by output.

    python -m tests.falsification.certified --networks 100000 --seconds 300

prints a row for each method; the search ends with whichever comes first. With `--csv` the rows are
added to those of earlier searches, which tried other networks. The exit code is 0 if every bound
holds, and 1 otherwise.

A graph is traced once, and then has many weights, copies and regions: tracing takes as long as all
cheap bounds together. The first one goes the whole way, through `certify` as it is, by one method.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

import qnotes as qn
from qnotes.files import write_whole
from qnotes.propagation import certifying, ellipsoids
from qnotes.propagation.certifying import BEST, METHODS
from qnotes.propagation.ellipsoids import Diagonals, tori
from qnotes.propagation.pair import Pair, checked_pair
from qnotes.threads import one_thread
from tests.random_networks import (
    ARCHITECTURES,
    BLOCKS,
    Residual,
    activation,
    change_weights,
    convolution,
    draw_weights,
    hard_inputs,
    move,
    pool,
)

#: What float64 may add to a measured error: relative to it, and to the size of the outputs.
RELATIVE, ABSOLUTE = 1e-9, 1e-12
#: Weights, copies and regions of a graph; the first so many are traced again, for one method.
DRAWS, WHOLE = 32, 1
#: Seconds of descent for T14, one of them at random.
DESCENTS = (*[0.0] * 15, 0.05)
#: One draw in so many for the smallest of all, which computes all others on its way.
SMALLEST = 8


TINY, BENT = "tiny", "bent"
#: What has a slope of its own, which not every method has a rule for.
SLOPED = (
    nn.Tanh, nn.Sigmoid, nn.ELU, nn.Hardsigmoid, nn.Hardswish, nn.SiLU, nn.GELU,
    lambda: nn.LeakyReLU(0.2), lambda: nn.LeakyReLU(-0.5), lambda: nn.LeakyReLU(1.5),
    lambda: nn.Hardtanh(-0.3, 0.8), lambda: nn.Hardtanh(0.1, 0.8), lambda: nn.ELU(2.0),
)  # fmt: skip


def bent(rng: random.Random, bias: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """What `tiny` has none of: other activations, gates, channels side by side, zeros, views."""
    channels, side = rng.randint(1, 2), rng.choice([1, 2, 3])
    return Bent(rng, channels, side, bias), (1, channels, side, side)


class Bent(nn.Module):
    """One or two of a layer and a bend, perhaps a branch, and an end."""

    def __init__(self, rng: random.Random, channels: int, side: int, bias: bool) -> None:
        super().__init__()

        def layer(wide: int) -> nn.Module:
            size = rng.choice([1, 3])
            return nn.Conv2d(wide, channels, size, padding=size // 2, bias=bias)

        zeros = rng.choice([0, 0, 1])
        self.around = nn.ZeroPad2d((zeros, 0, 0, zeros)) if zeros else nn.Identity()
        self.first, self.second = layer(channels), layer(channels)
        self.bends = nn.ModuleList(rng.choice(SLOPED)() for _ in range(2))
        self.branch = rng.choice(["none", "gate", "side", "sum"])
        self.end = rng.choice(["none", "mean", "view", "shuffle"])
        wide = channels * (1 + (self.branch == "side"))
        wide *= (side + zeros) ** 2 if self.end == "view" else 1
        flat = self.end in ("mean", "view") and rng.random() < 0.5
        self.last = nn.Linear(wide, 2, bias=bias) if flat else nn.Identity()

    def forward(self, values: Tensor) -> Tensor:
        made = self.bends[0](self.first(self.around(values)))
        other = self.second(made)
        if self.branch == "gate":
            made = made * torch.sigmoid(other)
        elif self.branch == "side":
            made = torch.cat([made, self.bends[1](other)], 1)
        elif self.branch == "sum":
            made = made + self.bends[1](other)
        if self.end == "mean":
            made = made.mean((2, 3))
        elif self.end == "view":
            made = made.view(made.size(0), -1)
        elif self.end == "shuffle":
            made = made.transpose(2, 3)
        return self.last(made)


def tiny(rng: random.Random, bias: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """A layer or two, or one block: a rule that is wrong shows best where little comes after it."""
    kind = rng.choice(["dense", "convolution", "block"])
    if kind == "dense":
        widths = [rng.randint(1, 4) for _ in range(rng.randint(2, 3))]
        layers = [nn.Linear(*pair, bias=bias) for pair in itertools.pairwise(widths)]
        layers = [part for layer in layers for part in (layer, activation(rng))]
        return nn.Sequential(*layers), (1, widths[0])
    channels, side = rng.randint(1, 2), rng.choice([1, 1, 2, 3, 4])  # of one pixel a ball is a box
    if kind == "block":
        side = rng.choice([1, 1, 2, 4])
        layers = [rng.choice((*BLOCKS, *[wide_block] * 3))(rng, channels, bias)]
    else:
        layer = convolution(rng, channels, side, bias)
        sides = layer(torch.zeros(1, channels, side, side)).shape[2:]
        layers = [layer, activation(rng), pool(rng, min(sides))]
        order = rng.choice([(0,), (0, 1), (1, 0), (0, 1, 2), (0, 2), (1, 0, 2)])
        layers = [layers[place] for place in order]
    return nn.Sequential(*layers), (1, channels, side, side)


def wide_block(rng: random.Random, channels: int, bias: bool) -> nn.Module:
    """To many channels and back, which may be read again beside their own activation."""
    wide = channels * rng.randint(2, 4)
    inner = [rng.choice([nn.ReLU, nn.ReLU6])()]
    if rng.random() < 0.5:
        around = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=bias)
        inner += [around, activation(rng)]
    body = nn.Sequential(*inner)
    if rng.random() < 0.5:
        body = Residual(body, nn.Identity(), nn.Identity())
    first, last = (nn.Conv2d(*both, 1, bias=bias) for both in ((channels, wide), (wide, channels)))
    return nn.Sequential(first, body, last)


@dataclass
class Tally:
    """What the search found about one method; `seconds` are the processor's."""

    method: str
    networks: int = 0
    violations: int = 0
    largest: float = 0.0
    found_in: str = ""
    seconds: float = 0.0

    def add(self, errors: Tensor, noise: float, bound: Tensor, where: str) -> None:
        """Errors and bounds of one network, output by output."""
        self.networks += 1
        errors = (errors * (1 - RELATIVE) - noise).clamp_min(0)
        self.violations += not bool((errors <= bound).all())  # NaN is a violation
        ratio = torch.where(errors > 0, errors / bound, 0.0).max().item()
        if ratio > self.largest:
            self.largest, self.found_in = ratio, where

    def __add__(self, other: Tally) -> Tally:
        """Of both searches."""
        best = max(self, other, key=lambda tally: tally.largest)
        sums = {key: getattr(self, key) + getattr(other, key) for key in ("networks", "violations")}
        seconds = round(self.seconds + other.seconds, 1)
        return replace(best, **sums, seconds=seconds)


def search(
    networks: int,
    *,
    seed: int = 0,
    methods: Sequence[str] = METHODS,
    seconds: float = math.inf,
    progress: bool = False,
) -> pd.DataFrame:
    """Try networks against `certify`, as many as the time allows; returns a row a method."""
    tallies, start = [Tally(method) for method in methods], time.perf_counter()
    with one_thread():
        for number in tqdm(range(networks), disable=not progress):
            if number and time.perf_counter() - start >= seconds:
                break
            if number % DRAWS == 0:
                graph = Graph(f"{seed} {number // DRAWS}")
            graph.attack(tallies, number % DRAWS)
    return pd.DataFrame([vars(tally) for tally in tallies])


class Graph:
    """A network and a copy of it, whose weights are drawn again and again.

    Args:
        key: says all that is random.
    """

    def __init__(self, key: str) -> None:
        self.key, rng = key, random.Random(key)
        torch.manual_seed(rng.getrandbits(60))
        made = {**ARCHITECTURES, TINY: tiny, BENT: bent}
        self.kind = rng.choice([*made, *[TINY] * 2])
        network, self.shape = made[self.kind](rng, rng.random() < 0.7)
        self.network = network.double().eval()
        self.changed = copy.deepcopy(self.network)
        both = self.network, self.changed  # the graphs have their weights, not copies
        self.pair = checked_pair(*both, input_shape=self.shape, radius=1.0)
        self.tori = cache(lambda small: tori(self.pair, small))
        self.diagonals = None

    def attack(self, tallies: list[Tally], draw: int) -> None:
        """Other weights, another region: do the bounds hold?"""
        rng = random.Random(f"{self.key} {draw}")
        torch.default_generator.manual_seed(rng.getrandbits(60))  # torch.manual_seed takes longer
        draw_weights(rng, self.network)
        if draw < WHOLE:
            _become(self.changed, changed := change_weights(rng, self.network))
        else:
            _become(changed := self.changed, self.network)
            _change(rng, changed)
        radius = 10 ** rng.uniform(-3, 1)
        inputs = hard_inputs(self.shape, radius, rng.getrandbits(30))
        region = {"input_shape": self.shape, "radius": radius}
        if rng.random() < 0.5:
            center = torch.randn(1, *self.shape[1:], dtype=torch.float64)
            region, inputs = {"center": center, "radius": radius}, inputs + center
        errors, size = _errors(self.network, changed, inputs, radius)
        where, whole = f"{self.kind}, {self.key}, {draw}", rng.choice(tallies)
        for tally in tallies:
            if tally.method == BEST and draw % SMALLEST and len(tallies) > 1:
                continue
            options = {**region, "method": tally.method, "seconds": rng.choice(DESCENTS)}
            options["diagonals"] = _moved(rng, self.diagonals)
            start = time.process_time()
            try:
                if draw < WHOLE and tally is whole:
                    found = qn.certify(self.network, changed, **options)
                else:
                    with traced(self.pair, self.tori):
                        found = qn.certify(self.network, self.changed, **options)
            except qn.UnsupportedOperation:
                if self.kind == BENT and tally.method == "ellipsoids":  # gates, and steep slopes
                    continue
                raise
            tally.seconds += time.process_time() - start
            self.diagonals = self.diagonals or found.diagonals
            bound = torch.from_numpy(found.bound).reshape(errors.shape)
            tally.add(errors, ABSOLUTE * size, bound, where)


def _moved(rng: random.Random, diagonals: Diagonals | None) -> Diagonals | None:
    """Those of T14, moved at random: any are sound, and the first ones hide what others show."""
    if diagonals is None or rng.random() < 0.25:
        return None
    moved, spread = diagonals.copy(), rng.choice([0.0, 0.5])
    with torch.no_grad():
        for shape, level in moved.found.values():
            shape.add_(spread * torch.randn_like(shape))
            level.fill_(rng.gauss(-0.2, 0.7))
        for share in moved.shares.values():
            share.add_(rng.gauss(0, 1))
    return moved


def _become(network: nn.Module, other: nn.Module) -> None:
    """With the weights of the other one, in place."""
    given = dict(other.named_parameters())
    for name, parameter in network.named_parameters():
        parameter.data.copy_(given[name])


def _change(rng: random.Random, network: nn.Module) -> None:
    """As `change_weights`, in place; its quantizing traces a network, this one rounds."""
    style = rng.choice(["round", "outward", "inward", "upward", "random", "scale"])
    step, biases = 10 ** rng.uniform(-3, 0), rng.random() < 0.5
    codes, by_row = 2 ** rng.randint(1, 3) - 1, rng.random() < 0.5
    for name, parameter in network.named_parameters():
        values = parameter.data
        if name.endswith("bias"):
            values.add_(step * biases)
        elif style == "round":
            rows = values.abs().flatten(1)
            scale = (rows.amax(1) if by_row else rows.max().expand(len(rows))) / codes
            scale = scale.clamp_min(1e-300).view(-1, *[1] * (values.dim() - 1))
            values.div_(scale).round_().mul_(scale)
        else:
            values.add_(move(style, values, step))


@contextmanager
def traced(pair: Pair, known_tori: Callable) -> Iterator[None]:
    """`certify` takes this pair, and tori that are known, whatever networks it gets."""

    def known(network, quantized, *, input_shape, radius) -> Pair:
        return replace(pair, radius=radius)

    with (
        mock.patch.object(certifying, "checked_pair", known),
        mock.patch.object(ellipsoids, "tori", lambda _, small=None: known_tori(small)),
    ):
        yield


def _errors(network: nn.Module, changed: nn.Module, inputs: Tensor, radius: float):
    """The largest of each output, also at corners that gradients point to; and outputs' size."""
    center = (inputs.amax(0) + inputs.amin(0)) / 2
    start = inputs.clone().requires_grad_()
    first = network(start.clone()) - changed(start.clone())
    (slope,) = torch.autograd.grad(first.abs().sum(), start)
    worse = center + radius * (1 - 1e-12) * slope.sign()
    with torch.no_grad():
        ours, theirs = (net(torch.cat([inputs, worse])) for net in (network, changed))
    size = max(ours.abs().max().item(), theirs.abs().max().item())
    return (ours - theirs).abs().amax(0), size


# ---------------------------------------------------------------- what is stored


def earlier(path: Path) -> pd.DataFrame:
    """The rows that are stored."""
    if path.is_file():
        return pd.read_csv(path, dtype={"found_in": str}, keep_default_na=False)
    return pd.DataFrame(columns=["runs", *(field.name for field in fields(Tally))])


def together(stored: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """With those of one more search; methods that it left out stay as they are."""
    runs = stored.set_index("method")["runs"].to_dict()
    both = {row["method"]: Tally(**row) for row in stored.drop(columns="runs").to_dict("records")}
    for row in table.to_dict("records"):
        name = row["method"]
        both[name] = both.get(name, Tally(name)) + Tally(**row)
        runs[name] = runs.get(name, 0) + 1
    return pd.DataFrame([{"runs": runs[name], **vars(tally)} for name, tally in both.items()])


def main(arguments: list[str] | None = None) -> int:
    """Search and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.falsification.certified")
    parser.add_argument("--networks", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, metavar="N", help="(the runs that are stored)")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="a budget")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="add to what is stored there")
    options = parser.parse_args(arguments)
    stored = earlier(options.csv) if options.csv else pd.DataFrame({"runs": []})
    seed = int(stored["runs"].max()) if options.seed is None and len(stored) else options.seed
    start = time.perf_counter()
    table = search(
        options.networks, seed=seed or 0, methods=options.methods, seconds=options.seconds,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    if options.csv:
        text = together(stored, table).to_csv(index=False, lineterminator="\n", float_format="%.6g")
        write_whole(options.csv.parent, {options.csv.name: text.encode()})
    print(table.to_string(index=False, float_format=lambda value: f"{value:.6g}"))
    print(f"{time.perf_counter() - start:.0f} s")
    return int(table["violations"].any())


if __name__ == "__main__":
    sys.exit(main())
