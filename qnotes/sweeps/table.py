"""The table of a sweep: a row a number, and beside it what it is the number of."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

import pandas as pd
import torch

from qnotes.sweeps.grid import Cell, scheme_options

NETWORK = ("network", "depth", "weights", "sha256", "scheme")
AXES = ("bits", "equalization", "relu6", "radius", "seed", "inputs", "precision")
RESULTS = ("theorem", "bound", "log10", "accuracy", "reference_accuracy", "reason")
VERSIONS = ("qnotes", "torch")


def table(found: Iterable[tuple[Cell, list[dict]]]) -> pd.DataFrame:
    """All rows of some cells, with provenance in each."""
    rows = [{**facts, **row} for cell, rows in found for facts in [_facts(cell)] for row in rows]
    return pd.DataFrame(rows, columns=[*NETWORK, *scheme_options(), *AXES, *RESULTS, *VERSIONS])


def _facts(cell: Cell) -> dict[str, object]:
    known = {name: getattr(cell, name) for name in (*NETWORK, *AXES) if hasattr(cell, name)}
    versions = {"qnotes": version("qnotes"), "torch": torch.__version__}
    return {**known, **scheme_options(), **cell.options, **versions}
