"""The search against `certify`: random networks and regions, in every domain, output by output.

    python -m tests.falsification.certified --networks 100000 --seconds 300

prints a row for each method; the search ends with whichever comes first. The exit code is 0 if
every bound holds, and 1 otherwise.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

import qnotes as qn
from qnotes.propagation.certifying import METHODS
from qnotes.threads import one_thread
from tests.random_networks import ARCHITECTURES, change_weights, draw_weights, hard_inputs

#: What float64 may add to a measured error: relative to it, and to the size of the outputs.
RELATIVE, ABSOLUTE = 1e-9, 1e-12


@dataclass
class Tally:
    """What the search found about one method."""

    method: str
    networks: int = 0
    violations: int = 0
    largest: float = 0.0
    found_in: str = ""

    def add(self, errors: Tensor, noise: float, bound: Tensor, where: str) -> None:
        """Errors and bounds of one network, output by output."""
        self.networks += 1
        errors = (errors * (1 - RELATIVE) - noise).clamp_min(0)
        self.violations += not bool((errors <= bound).all())  # NaN is a violation
        ratio = torch.where(errors > 0, errors / bound, 0.0).max().item()
        if ratio > self.largest:
            self.largest, self.found_in = ratio, where


def search(
    networks: int,
    *,
    seed: int = 0,
    methods=METHODS,
    seconds: float = math.inf,
    progress: bool = False,
):
    """Try networks against `certify`, as many as the time allows; returns a row a method."""
    tallies, start = [Tally(method) for method in methods], time.perf_counter()
    with one_thread():
        for number in tqdm(range(networks), disable=not progress):
            if number and time.perf_counter() - start >= seconds:
                break
            kind = list(ARCHITECTURES)[number % len(ARCHITECTURES)]
            _try(tallies, kind, f"{seed} {number}")
    return pd.DataFrame([vars(tally) for tally in tallies])


def _try(tallies: list[Tally], kind: str, key: str) -> None:
    rng = random.Random(f"{kind} {key}")
    torch.manual_seed(rng.getrandbits(60))
    network, shape = ARCHITECTURES[kind](rng, rng.random() < 0.7)
    network = network.double().eval()
    draw_weights(rng, network)
    changed = change_weights(rng, network)
    radius = 10 ** rng.uniform(-3, 1)
    inputs = hard_inputs(shape, radius, rng.getrandbits(30))
    region = {"input_shape": shape, "radius": radius}
    if rng.random() < 0.5:
        center = torch.randn(1, *shape[1:], dtype=torch.float64)
        region, inputs = {"center": center, "radius": radius}, inputs + center
    errors, size = _errors(network, changed, inputs, radius)
    for tally in tallies:
        seconds = rng.choice((0, 0, 0, 0.05))
        found = qn.certify(network, changed, **region, method=tally.method, seconds=seconds)
        bound = torch.from_numpy(found.bound).reshape(errors.shape)
        tally.add(errors, ABSOLUTE * size, bound, f"{kind}, {key}")


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


def main(arguments: list[str] | None = None) -> int:
    """Search and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.falsification.certified")
    parser.add_argument("--networks", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="a budget")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    table = search(
        options.networks,
        seed=options.seed,
        seconds=options.seconds,
        progress=sys.stderr.isatty(),
    )
    print(table.to_string(index=False, float_format=lambda value: f"{value:.6g}"))
    print(f"{time.perf_counter() - start:.0f} s")
    return int(table["violations"].any())


if __name__ == "__main__":
    sys.exit(main())
