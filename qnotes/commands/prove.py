"""Derive every step of the proofs again and print each with its time."""

from __future__ import annotations

import argparse

import pandas as pd

from qnotes.commands.tables import add_format, show
from qnotes.theorems.proof_report import proofs, select


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which theorems, and how to print."""
    parser.add_argument(
        "numbers", nargs="*", metavar="NUMBER", help="theorems, such as T4; default: all"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Returns 1 if a step of a proof fails."""
    chosen = select(options.numbers)
    table = proofs(chosen)
    stated = [theorem.key for theorem in chosen if not theorem.proof]
    if options.json or options.csv:
        show(table, options)
    else:
        show(table.drop(columns="remaining"), options, note=_summary(table, stated))
    return 0 if table["ok"].all() else 1


def _summary(table: pd.DataFrame, stated: list[str]) -> str:
    lines = [
        f"{table['theorem'].nunique()} theorems, {len(table)} steps, "
        f"{table['seconds'].sum():.1f} s, {int((~table['ok']).sum())} failed"
    ]
    if stated:
        lines.append(f"stated, without a proof here: {', '.join(stated)}")
    failed = table[~table["ok"]]
    lines += [f"{row.theorem}, step {row.step!r}: {row.remaining}" for row in failed.itertuples()]
    return "\n".join(lines)
