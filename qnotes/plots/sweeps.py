"""Figures of a sweep: bounds and measured errors against bits, against depth, as a ladder."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qnotes.plots.style import SERIES, decades, subplots, title
from qnotes.sweeps import MEASURED


def against_bits(table: pd.DataFrame, *, columns: int = 3) -> Figure:
    """Bounds and measured errors of each network against bit-width; table from `qnotes.sweep`."""
    networks = list(table["network"].unique())
    columns = min(columns, len(networks))
    rows = -(-len(networks) // columns)
    figure, panels = subplots(
        rows, columns, figsize=(3.1 * columns, 2.9 * rows), sharey=True, squeeze=False
    )
    for panel, network in zip(panels.flat, networks, strict=False):
        _lines(panel, table[table["network"] == network], "bits")
        panel.set_title(title(network))
        panel.set_xticks(sorted(table["bits"].unique()))
    _finish(figure, panels, "bits per weight", len(networks))
    return figure


def against_depth(table: pd.DataFrame) -> Figure:
    """Bounds and measured errors against depth, one panel for each bit-width of the table."""
    widths = sorted(table["bits"].unique())
    figure, panels = subplots(
        1, len(widths), figsize=(max(6.5, 3.6 * len(widths)), 4), sharey=True, squeeze=False
    )
    for panel, bits in zip(panels.flat, widths, strict=True):
        _lines(panel, table[table["bits"] == bits], "depth")
        panel.set_title(f"{bits} bits")
        panel.set_xticks(sorted(table["depth"].dropna().unique()))
    _finish(figure, panels, "depth $L$ (affine layers)", len(widths))
    return figure


def ladder(table: pd.DataFrame) -> Figure:
    """Every bound as a rung above the measured error, one column of rungs for each network."""
    networks = list(table["network"].unique())
    figure, panel = subplots(figsize=(8, 4.6))
    for position, network in enumerate(networks):
        rungs = table[table["network"] == network]
        for (theorem, bound), (_, colour, marker) in SERIES.items():
            height = rungs[(rungs["theorem"] == theorem) & (rungs["bound"] == bound)]["log10"]
            if theorem != "P1" and len(height):
                panel.plot(position, height.iloc[0], marker, color=colour, markersize=8)
                panel.hlines(height.iloc[0], position - 0.3, position + 0.3, color=colour, lw=2)
    for (theorem, _), (label, colour, marker) in SERIES.items():
        if theorem != "P1" and (table["theorem"] == theorem).any():
            panel.plot([], [], marker + "-", color=colour, label=label, lw=2)
    panel.set_xticks(range(len(networks)), [title(network) for network in networks])
    panel.set_xlim(-0.5, len(networks) - 0.5)
    panel.grid(axis="x", visible=False)
    panel.set_ylabel("error of the output")
    decades(panel.yaxis)
    panel.legend(frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.1))
    figure.tight_layout()
    return figure


def _lines(panel: Axes, table: pd.DataFrame, x: str) -> None:
    for (theorem, bound), (label, colour, marker) in SERIES.items():
        line = table[(table["theorem"] == theorem) & (table["bound"] == bound)].sort_values(x)
        # P1 lies so far above that the other lines would fall together.
        if len(line) and theorem != "P1":
            look = {"ls": "--" if theorem == MEASURED else "-", "color": colour, "marker": marker}
            panel.plot(line[x], line["log10"], markersize=5, label=label, **look)
    decades(panel.yaxis)


def _finish(figure: Figure, panels: np.ndarray, x_label: str, used: int) -> None:
    handles, labels = panels.flat[0].get_legend_handles_labels()
    for spare in panels.flat[used:]:
        spare.set_visible(False)
    for panel in panels.flat[:used]:
        panel.set_xlabel(x_label)
    for row in panels:
        row[0].set_ylabel("error of the output")
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0.0)
    )
    figure.tight_layout()
