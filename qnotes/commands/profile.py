"""Measure the profile of a network and its quantized copy, and print or save it as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from qnotes.commands.networks import add_network, choose
from qnotes.commands.numbers import positive
from qnotes.commands.scheme import add_scheme, quantized
from qnotes.propagation.measuring import profile
from qnotes.propagation.profiles import Profile
from qnotes.storing import versions


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which network, how it is quantized, and where to write."""
    add_measured(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there, not to stdout")


def add_measured(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Add a network and how it is quantized; `also` ends the explanation of the network."""
    add_network(parser, also)
    parser.add_argument(
        "--bits", type=positive, default=8, metavar="N", help="width of a code (default: 8)"
    )
    add_scheme(parser)


def run(options: argparse.Namespace) -> int:
    """Returns 0."""
    measured = measure(options)
    if options.output:
        measured.save(options.output)
    else:
        print(measured.to_json())
    return 0


def measure(options: argparse.Namespace) -> Profile:
    """The profile that a call asks for."""
    chosen = choose(options)
    quant = quantized(options, chosen)
    return profile(
        chosen.folded,
        quant.model,
        input_shape=chosen.input_shape,
        radius=options.radius,
        provenance={**chosen.provenance, **quant.scheme, "versions": versions()},
    )
