"""Search for the input with the largest error, and set the smallest bound beside it."""

from __future__ import annotations

import argparse
import math
import sys

import pandas as pd

from qnotes.commands.networks import Chosen, choose
from qnotes.commands.numbers import positive
from qnotes.commands.profile import add_measured
from qnotes.commands.scheme import quantized
from qnotes.commands.tables import add_format, show
from qnotes.errors import QnotesError
from qnotes.networks import digits
from qnotes.observation import Observation, observe
from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds

#: What rounding may add to the logarithm of a measured error.
SLACK = 1e-9


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which network, how it is quantized, and how long to search."""
    add_measured(parser)
    search = parser.add_argument_group("search", "as qnotes.observe has them")
    for name, default, text in (
        ("samples", 64, "random inputs"),
        ("starts", 8, "inputs that the ascent goes on from"),
        ("steps", 40, "of the ascent"),
    ):
        search.add_argument(
            f"--{name}", type=positive, default=default, metavar="N", help=f"{text} ({default})"
        )
    search.add_argument(
        "--images", type=positive, metavar="N", help="start from N test digits too (digits only)"
    )
    search.add_argument("--device", metavar="NAME", help="such as cpu or cuda")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Returns 1 if the error found is above a bound."""
    chosen = choose(options)
    model = quantized(options, chosen).model
    domain = {"input_shape": chosen.input_shape, "radius": options.radius}
    table = bounds(profile(chosen.folded, model, **domain))
    seen = observe(
        chosen.folded,
        model,
        **domain,
        images=_images(options, chosen),
        **{name: getattr(options, name) for name in ("samples", "starts", "steps")},
        seed=options.seed,
        device=options.device,
        progress=sys.stderr.isatty(),
    )
    found = _row(options.network, options.bits, seen, table)
    show(pd.DataFrame([found]), options)
    violated = table[table["log10"] < _log10(seen.error) - SLACK]
    for row in violated.itertuples():
        print(f"qnotes: above the bound {row.theorem} {row.bound}", file=sys.stderr)
    return 1 if len(violated) else 0


def _images(options: argparse.Namespace, chosen: Chosen):
    if options.images is None:
        return None
    if chosen.provenance.get("weights") != "digits":
        raise QnotesError("--images takes test digits, for named networks with digits weights only")
    return digits("test")[0][: options.images]


def _row(network: str, bits: int, seen: Observation, table: pd.DataFrame) -> dict[str, object]:
    smallest = table.loc[table["log10"].idxmin()]
    return {
        "network": network,
        "bits": bits,
        "error": seen.error,
        "sampled": seen.sampled,
        "start": seen.start,
        "log10_error": _log10(seen.error),
        "log10_bound": float(smallest["log10"]),
        "theorem": smallest["theorem"],
    }


def _log10(error: float) -> float:
    return math.log10(error) if error else -math.inf
