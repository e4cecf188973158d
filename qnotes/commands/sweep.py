"""Bounds and measured errors of named networks at several bit-widths, as one table."""

from __future__ import annotations

import argparse
import inspect
import sys

from qnotes.commands.numbers import positive
from qnotes.commands.tables import add_format, show
from qnotes.networks import names
from qnotes.networks.weights import SOURCES
from qnotes.sweeps import sweep


def add_options(parser: argparse.ArgumentParser) -> None:
    """The grid, and how to print."""
    parser.add_argument(
        "networks", nargs="+", metavar="NETWORK", help=f"a name, such as {', '.join(names())}"
    )
    parser.add_argument(
        "--weights", choices=SOURCES, default="digits", help="of all networks (default: digits)"
    )
    parser.add_argument(
        "--bits", type=positive, nargs="+", default=[8], metavar="N", help="widths (default: 8)"
    )
    default = inspect.signature(sweep).parameters["granularity"].default
    parser.add_argument(
        "--granularity", default=default, metavar="NAME", help=f"of scales (default: {default})"
    )
    parser.add_argument("--affine", action="store_true", help="affine grids instead of symmetric")
    parser.add_argument(
        "--radius", type=float, default=1.0, metavar="D", help="inputs lie in [-D, D] (default: 1)"
    )
    parser.add_argument(
        "--inputs", type=positive, default=64, metavar="N", help="that errors are measured on (64)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Returns 0."""
    table = sweep(
        options.networks,
        weights=options.weights,
        bits=options.bits,
        granularity=options.granularity,
        symmetric=not options.affine,
        radius=options.radius,
        inputs=options.inputs,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    shown = ["network", "bits", "depth", "theorem", "bound", "log10"]
    show(table if options.json or options.csv else table[shown], options)
    return 0
