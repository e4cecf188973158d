"""What the search for the worst input finds and costs, beside a plain ascent from random inputs.

Run with ``python -m tests.benchmarks.search_effort``; ``--seeds 2`` and names of networks make it
shorter. Fourteen seeds of all take hours on two cores.
"""

from __future__ import annotations

import argparse
import time

import torch

import qnotes as qn
from qnotes.observation.domain import make_domain

NETWORKS = ("resnet20", "resnet56", "mobilenet_v2_x0_5")
WIDTHS = (8, 4)
SHAPE = (1, 1, 32, 32)
#: The plain ascent: starts, steps, and the first step.
STARTS, STEPS, FIRST = 8, 40, 0.25


def main() -> None:
    """Print a row a seed: error, inputs, processor seconds, and ratios to the plain ascent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--seeds", type=int, default=14)
    parser.add_argument("--bits", type=int, nargs="+", default=WIDTHS)
    options = parser.parse_args()
    print(
        "network            bits seed    error forward gradient seconds | plain error  times",
        end="",
    )
    print("   cost  stopped")
    for name in options.networks:
        folded = qn.fold(qn.load(name))
        for bits in options.bits:
            quantized = qn.quantize(folded, bits=bits).model
            for seed in range(options.seeds):
                _row(name, bits, seed, folded, quantized)


def _row(name: str, bits: int, seed: int, *pair) -> None:
    start = time.process_time()
    seen = qn.observe(*pair, input_shape=SHAPE, seed=seed)
    middle = time.process_time()
    plain = plain_ascent(*pair, seed=seed)
    spent, before = middle - start, time.process_time() - middle
    effort = seen.effort
    print(
        f"{name:18} {bits:4} {seed:4} {seen.error:8.3f} {effort.evaluations:7} "
        f"{effort.gradients:8} {spent:7.1f} | {plain:11.3f} {seen.error / plain:6.2f} "
        f"{spent / before:6.2f}  {effort.stopped}",
        flush=True,
    )


def plain_ascent(network, quantized, *, seed: int) -> float:
    """Sign steps from the worst of 64 random inputs, float64, halved when they gain nothing."""
    domain = make_domain(SHAPE, 1.0, None, None)
    drawn = domain.random(64, torch.Generator().manual_seed(seed))
    inputs = torch.cat(list(drawn.values()))
    errors = qn.output_errors(network, quantized, inputs)
    inputs = inputs[errors.topk(STARTS).indices]
    errors, uphill = _uphill(network, quantized, inputs)
    length = torch.full_like(errors, FIRST).view(-1, 1, 1, 1)
    for _ in range(STEPS):
        moved = domain.project(inputs + length * uphill)
        there, way = _uphill(network, quantized, moved)
        better = (there > errors).view(-1, 1, 1, 1)
        inputs, uphill = torch.where(better, moved, inputs), torch.where(better, way, uphill)
        errors = errors.maximum(there)
        length = torch.where(better, length, length / 2)
    return errors.max().item()


def _uphill(network, quantized, inputs):
    inputs = inputs.clone().requires_grad_()
    differences = (network(inputs) - quantized(inputs)).flatten(1)
    errors = differences.abs().amax(1)
    (gradient,) = torch.autograd.grad(errors.sum(), inputs)
    return errors.detach(), gradient.sign()


if __name__ == "__main__":
    main()
