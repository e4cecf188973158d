"""Bounds and measured errors of named networks at several bit-widths, as one table."""

from __future__ import annotations

import argparse
import sys

from qnotes.commands.numbers import positive
from qnotes.commands.scheme import add_scheme, scheme
from qnotes.commands.tables import add_format, show
from qnotes.networks import input_shape, names
from qnotes.networks.weights import SOURCES
from qnotes.quantization.equalization import METHODS, RELU6
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
    parser.add_argument(
        "--equalization",
        choices=METHODS,
        help="rescale hidden units first; ReLU6 then needs --relu6 relu",
    )
    parser.add_argument(
        "--relu6", choices=RELU6, default=RELU6[0], help="what to do with ReLU6 (default: refuse)"
    )
    parser.add_argument("--accuracy", action="store_true", help="measure it too, on the digits")
    parser.add_argument(
        "--memory", metavar="FOLDER", help="keep finished cells there, and compute none twice"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes; -1 for one a core (default: as needed)"
    )
    parser.add_argument(
        "--radius", type=float, default=1.0, metavar="D", help="inputs lie in [-D, D] (default: 1)"
    )
    parser.add_argument(
        "--inputs", type=positive, default=64, metavar="N", help="that errors are measured on (64)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)"
    )
    add_scheme(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Returns 0, or 1 if a cell failed; its row says why."""
    for name in options.networks:
        input_shape(name, options.weights)  # an unknown name is a wrong call, not a failed cell
    table = sweep(
        options.networks,
        weights=options.weights,
        bits=options.bits,
        schemes=_scheme(options),
        equalization=options.equalization,
        relu6=options.relu6,
        accuracy=options.accuracy,
        memory=options.memory,
        jobs=options.jobs,
        radius=options.radius,
        inputs=options.inputs,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    failed = table["reason"].ne("") & table["theorem"].isna()
    shown = ["network", "bits", "depth", "theorem", "bound", "log10"]
    shown += ["accuracy"] if options.accuracy else []
    shown += ["reason"] if failed.any() else []
    show(table if options.json or options.csv else table[shown], options)
    return int(failed.any())


def _scheme(options: argparse.Namespace) -> dict[str, object]:
    chosen = {name: value for name, value in scheme(options).items() if name != "seed"}
    return chosen | ({"calibration": options.calibration} if options.calibration else {})
