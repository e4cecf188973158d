"""Bounds on networks with rational weights: exact values against the log domain."""

import copy
import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction

import mpmath
import pytest
import sympy as sp
import torch

import qnotes as qn
from qnotes.theorems import notation as sy
from tests.falsification.plain_arithmetic import FRACTIONS, direct

BOUNDS = [t for t in qn.theorems() if t.computable and isinstance(t.statement, sp.Le)]
DEPTHS = (1, 2, 3, 6, 12)


def rational_profile(depth: int, seed: int, *, bias: bool) -> qn.Profile:
    """A dense network whose weights are small fractions of 64, and a copy changed by 1/64ths."""
    generator = torch.Generator().manual_seed(seed)
    widths = torch.randint(2, 6, (depth + 1,), generator=generator).tolist()
    layers = [torch.nn.Linear(*sizes, bias=bias).double() for sizes in itertools.pairwise(widths)]
    network = torch.nn.Sequential(*layers).eval()
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), changed.parameters(), strict=True):
            ours.copy_(torch.randint(-96, 97, ours.shape, generator=generator) / 64)
            theirs.copy_(ours + torch.randint(-3, 4, ours.shape, generator=generator) / 64)
    return qn.profile(network, changed, input_shape=(1, widths[0]), radius=1.25)


def exact(theorem, profile: qn.Profile) -> Fraction:
    """The value in fractions; every float of a profile is one."""
    values = {}
    for symbol, quantity in sy.QUANTITIES.items():
        value = quantity.value(profile)
        values[symbol] = (
            [Fraction(x) for x in value] if isinstance(value, list) else Fraction(value)
        )
    return direct(theorem, values, profile.depth, FRACTIONS)


def log10(value: Fraction) -> mpmath.mpf:
    with mpmath.workdps(50):
        return mpmath.log10(mpmath.mpf(value.numerator) / value.denominator)


@pytest.mark.parametrize("theorem", BOUNDS, ids=lambda t: t.key)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("bias", [False, True], ids=["weights", "biases"])
def test_log_domain_agrees_to_12_digits_and_is_never_below(theorem, depth, bias):
    for seed in range(2):
        profile = rational_profile(depth, seed, bias=bias)
        if theorem.assumptions(profile):
            pytest.skip("a hypothesis fails")
        with mpmath.workdps(50):
            value, computed = log10(exact(theorem, profile)), mpmath.mpf(theorem.evaluate(profile))
            assert computed >= value
            # An error of 1e-12 in log10 is one of 2.3e-12 of the bound.
            assert computed - value < 1e-12 * max(1, abs(value)) * (1 + depth)


@pytest.mark.parametrize("theorem", BOUNDS, ids=lambda t: t.key)
def test_never_below_on_hard_profiles(theorem):
    """Huge, tiny, equal and unequal layers: the slack covers what rounding takes."""
    for seed in range(8):
        rng = random.Random(seed)
        depth = rng.choice((1, 2, 5, 20))
        spread = rng.choice((0.0, 1e-12, 1.0, 30.0))
        start = rational_profile(1, seed, bias=False).layers[0]
        layers = [
            replace(start, norm=size, joint_norm=size, gap=size / 7, gap_norm=size / 3)
            for size in (10 ** rng.uniform(-spread, spread) for _ in range(depth))
        ]
        profile = qn.Profile(tuple(layers), 3, 0.7)
        if theorem.assumptions(profile):
            pytest.skip("a hypothesis fails")
        with mpmath.workdps(50):
            value = log10(exact(theorem, profile))
            computed = theorem.evaluate(profile)
            assert math.isfinite(computed) and mpmath.mpf(computed) >= value
