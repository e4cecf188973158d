"""Try random and optimized networks against every bound and print the largest ratios."""

from __future__ import annotations

import argparse
from pathlib import Path

from qnotes.commands.numbers import positive
from qnotes.commands.tables import as_text
from qnotes.falsification import search


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many networks, which ones, and where to write the table."""
    parser.add_argument("--networks", type=positive, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")


def run(options: argparse.Namespace) -> int:
    """Returns 1 if a bound is violated."""
    table = search(options.networks, seed=options.seed, progress=True)
    print(as_text(table.drop(columns="by_depth")))
    if options.json:
        options.json.write_text(table.to_json(orient="records", indent=1), encoding="utf-8")
    return 1 if table["violations"].any() else 0
