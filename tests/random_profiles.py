"""Profiles without networks: made-up layers whose numbers could be those of a network."""

from __future__ import annotations

import random

import qnotes as qn

PLAIN = {
    "name": "layer",
    "kind": "convolution",
    "fan_in": 3,
    "reads": 5,
    "row": 3,
    "width": 5,
    "norm": 1.5,
    "joint_norm": 2.0,
    "gap": 0.125,
    "gap_norm": 0.25,
    "bias_norm": 0.5,
    "bias_gap": 0.0,
    "peak": 0.75,
}


def layer(**given) -> qn.Layer:
    return qn.Layer(**{**PLAIN, **given})


def random_layer(rng: random.Random, biases: bool) -> qn.Layer:
    fan_in = rng.randint(1, 9)
    norm, gap = 10 ** rng.uniform(-2, 3), 10 ** rng.uniform(-4, 0)
    bias = 10 ** rng.uniform(-3, 2) if biases else 0.0
    reads = fan_in + rng.randint(1, 9)
    return layer(
        fan_in=fan_in,
        reads=reads,
        row=fan_in,
        width=rng.randint(1, 20),
        norm=norm,
        joint_norm=norm + bias * rng.random(),
        gap=gap,
        gap_norm=gap * fan_in * rng.uniform(0.1, 1),
        bias_norm=bias,
        bias_gap=bias * rng.choice([0.0, 1e-3]),
        peak=norm,
    )


def random_profile(rng: random.Random, *, depth: int, biases: bool) -> qn.Profile:
    layers = tuple(random_layer(rng, biases) for _ in range(depth))
    return qn.Profile(layers, rng.randint(1, 20), 10 ** rng.uniform(-1, 1))
