"""What networks of full size cost."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qnotes.plots.style import subplots
from qnotes.plots.ticks import plain_numbers


def costs(table: pd.DataFrame, *, steps: Iterable[str]) -> Figure:
    """Seconds against the number of parameters, a line a step.

    Args:
        table: from `qnotes.studies.full_size.survey`, column network and one a step.
        steps: which columns to show, at most four.
    """
    figure, panel = subplots(figsize=(6.5, 4.2))
    table = table.sort_values("parameters")
    looks = zip(("#0072B2", "#E69F00", "#009E73", "#CC79A7"), "osDv", strict=True)
    for step, (colour, marker) in zip(steps, looks, strict=False):
        panel.plot(table["parameters"] / 1e6, table[step], marker + "-", color=colour, label=step)
    panel.set(xscale="log", yscale="log")
    panel.set(xlabel="parameters, millions", ylabel="seconds")
    plain_numbers(panel.xaxis)
    plain_numbers(panel.yaxis)
    _legend(figure, panel, columns=2)
    return figure


def _legend(figure: Figure, panel: Axes, *, columns: int) -> None:
    handles, labels = panel.get_legend_handles_labels()
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    figure.legend(handles, labels, frameon=False, ncols=columns, **below)
    figure.tight_layout()
