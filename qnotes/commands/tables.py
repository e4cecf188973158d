"""Tables on the standard output: for a reader, or as JSON or CSV for a program."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping

import pandas as pd


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` and ``--csv``."""
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print JSON: a list of rows")
    formats.add_argument("--csv", action="store_true", help="print CSV with a header")


def show(table: pd.DataFrame, options: argparse.Namespace, *, note: str = "") -> None:
    """Print a table as it was asked for; a note for the reader goes below the plain one."""
    if options.json:
        print(as_json(table.to_dict("records")))
    elif options.csv:
        table.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        print(as_text(table))
        if note:
            print(f"\n{note}")


def as_text(table: pd.DataFrame) -> str:
    """A table for a reader; empty where there is no number."""
    return table.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.6g}")


def as_json(content: object) -> str:
    """JSON as its standard has it: null for NaN, and infinities as text."""
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(content: object) -> object:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if hasattr(content, "tolist"):  # of numpy or torch
        return _plain(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content
