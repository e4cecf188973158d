"""A line about a sweep, to stand under a figure."""

from __future__ import annotations

from importlib.metadata import version

import pandas as pd
import torch

from qnotes.sweeps.grid import scheme_options


def describe(table: pd.DataFrame) -> str:
    """Where the numbers of a sweep come from, in one line to stand under a figure.

    Args:
        table: from `sweep`, or rows with weights, bits, granularity, symmetric, radius and seed.
    """
    radii = " or ".join(f"[-{radius:g}, {radius:g}]" for radius in _values(table, "radius"))
    seeds = _values(table, "seed")
    return (
        f"Weights: {_listed(table, 'weights')}. Grid: {_listed(table, 'bits')} bits, "
        f"{'; '.join(_schemes(table))}. {_equalization(table)}Inputs in {radii}. "
        f"Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}. "
        f"qnotes {version('qnotes')}, torch {torch.__version__}."
    )


def _values(table: pd.DataFrame, column: str) -> list:
    return sorted(table[column].unique())


def _listed(table: pd.DataFrame, column: str) -> str:
    return ", ".join(map(str, _values(table, column)))


def _schemes(table: pd.DataFrame) -> list[str]:
    """Each scheme of the table in words."""
    options = [option for option in scheme_options() if option in table]
    return [_scheme(row) for row in table[options].drop_duplicates().to_dict("records")]


def _scheme(options: dict) -> str:
    """A scheme in words; options beside the first three only where they are not the default."""
    grid = "symmetric" if options.pop("symmetric") else "affine"
    granularity, rounding = options.pop("granularity"), options.pop("rounding", "nearest")
    rounded = "rounded to nearest" if rounding == "nearest" else f"{rounding} rounding"
    defaults = scheme_options()
    others = [
        f", {option} {_plain(value)}"
        for option, value in options.items()
        if value != defaults[option] and not pd.isna(value)
    ]
    return f"{grid}, a scale per {granularity}, {rounded}{''.join(others)}"


def _plain(value) -> str:
    """A column with gaps turns whole numbers into floats."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _equalization(table: pd.DataFrame) -> str:
    if "equalization" not in table or table["equalization"].isna().all():
        return ""
    given = table["equalization"].unique()
    methods = ", ".join("none" if pd.isna(method) else method for method in given)
    return f"Equalization: {methods}. "
