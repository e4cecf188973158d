"""Figures of the chapter on how an error travels: carried on, made anew, and bounded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qnotes.plots.style import SERIES, decades, subplots, title

OLD, NEW, TRUTH = "#0072B2", "#E69F00", "#000000"
MADE_TEXT = "#8a5f00"  # the orange of NEW, dark enough to be read
BOUND = SERIES["T2", "recursion along the chain"][1]
#: Column, label and look of the curves between T2 and the measured error.
CURVES = (
    ("e", "T2, $e_\\ell$", {"color": BOUND, "lw": 2.2}),
    ("e_activations", "T2 with measured activations", {"color": "#56B4E9", "lw": 1.8}),
    ("e_errors", "one step from the measured error", {"color": "#D55E00", "lw": 1.4, "ls": "--"}),
    ("e_both", "one step, both measured", {"color": "#CC79A7", "lw": 1.8}),
    ("error", "measured error", {"color": TRUTH, "lw": 1.8}),
)


# -- the drawing -----------------------------------------------------------------------------------


def error_path(layers: int = 3) -> Figure:
    """The error on its way through the layers: carried by W, joined by what W - W' makes."""
    figure, panel = subplots(figsize=(9, 3.1))
    for layer in range(1, layers + 1):
        _stage(panel, 3.2 * (layer - 1), layer, width=1.6 * layer)
    _label(panel, 3.2 * layers - 0.02, 0, rf"$\Delta_{layers}$", color=OLD)
    panel.set_xlim(-0.75, 3.2 * layers + 0.25)
    panel.set_ylim(-0.75, 2.2)
    panel.set_axis_off()
    figure.tight_layout()
    return figure


def _stage(panel: Axes, x: float, layer: int, *, width: float) -> None:
    """One layer: its old error enters from the left, its new error from above."""
    before = r"$\Delta_0=0$" if layer == 1 else rf"$\Delta_{layer - 1}$"
    source = "$S'_0=x$" if layer == 1 else rf"$S'_{layer - 1}$"
    _label(panel, x - 0.02, 0, before, ha="right" if layer == 1 else "center", color=OLD)
    _arrow(panel, (x + 0.2, 0), (x + 0.6, 0), OLD, max(1.0, width - 1.6))
    _box(panel, x + 0.92, 0, rf"$W_{layer}$", OLD)
    _arrow(panel, (x + 1.24, 0), (x + 1.6, 0), OLD, max(1.0, width - 1.6))
    panel.plot(x + 1.82, 0, "o", markersize=21, mfc="white", mec="#333333", mew=1.2)
    _label(panel, x + 1.82, 0, "+", color="#333333", size=15)
    _box(panel, x + 1.82, 1.12, rf"$W_{layer}-W'_{layer}$", NEW)
    _arrow(panel, (x + 1.82, 0.82), (x + 1.82, 0.28), NEW, 2.4)
    _label(panel, x + 1.82, 2.05, source, color=MADE_TEXT)
    _arrow(panel, (x + 1.82, 1.85), (x + 1.82, 1.44), NEW, 1.2)
    _arrow(panel, (x + 2.04, 0), (x + 2.34, 0), OLD, width)
    _box(panel, x + 2.54, 0, r"$\sigma$", "#333333")
    _arrow(panel, (x + 2.74, 0), (x + 3.02, 0), OLD, width)
    _label(panel, x + 0.92, -0.5, "carries\nold error", color=OLD, size=9.5)
    _label(panel, x + 2.42, 0.56, "makes\nnew error", color=MADE_TEXT, size=9.5)


def _arrow(panel: Axes, start, end, colour: str, width: float) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", xy=end, xytext=start, arrowprops={**look, "mutation_scale": 8 + 1.2 * width})


def _box(panel: Axes, x: float, y: float, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": colour, "lw": 1.8}
    panel.text(x, y, text, ha="center", va="center", fontsize=11.5, bbox=box)


def _label(panel: Axes, x, y, text: str, *, color: str, ha: str = "center", size=12) -> None:
    panel.text(x, y, text, ha=ha, va="center", color=color, fontsize=size)


# -- measured --------------------------------------------------------------------------------------


def carried_and_made(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The parts of T1 at each layer, a panel a network; tables from `layer_errors`."""
    figure, panels = subplots(1, len(tables), figsize=(9, 3.3), sharey=True, squeeze=False)
    for panel, (network, table) in zip(panels.flat, tables.items(), strict=True):
        carried = table.loc[2:, "carried"]  # before the first layer there is no error
        panel.plot(carried.index, carried, "-", color=OLD, label="carried: old error")
        panel.plot(table.index, table["made"], "-", color=NEW, label="made: new error")
        panel.set_title(title(network))
        panel.set_xlabel("layer")
        panel.set_yscale("log")
    panels[0, 0].set_ylabel("largest entry")
    _legend(figure, panels[0, 0], columns=2)
    return figure


def bounds_and_truth(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """What T2 promises and what is measured, layer by layer, in decades.

    Args:
        tables: for each network a row a layer with the columns s, activation, and those of
            `CURVES`; all are decimal logarithms.
    """
    figure, panels = subplots(
        2, len(tables), figsize=(9, 6), sharex="col", sharey="row", squeeze=False
    )
    for (upper, lower), (network, table) in zip(panels.T, tables.items(), strict=True):
        upper.plot(table.index, table["s"], color=BOUND, lw=2.2)
        upper.plot(table.index, table["activation"], color=TRUTH, lw=1.8)
        upper.set_title(title(network))
        for column, label, look in CURVES:
            rows = table.loc[1:, column]
            lower.plot(rows.index, rows, label=label, **look)
        lower.set_xlabel("layer")
        for panel in (upper, lower):
            decades(panel.yaxis)
    upper, lower = panels[:, 0]
    upper.annotate("$s_\\ell$", (0.55, 0.72), xycoords="axes fraction", color=BOUND, fontsize=12)
    upper.annotate("measured", (0.55, 0.12), xycoords="axes fraction", color=TRUTH, fontsize=9.5)
    upper.set_ylabel("activations")
    lower.set_ylabel("errors")
    _legend(figure, lower, columns=2)
    return figure


def losses(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """What one step of T2 loses on old error, in decades, a bar a layer.

    Args:
        tables: for each network a row a layer with the columns sizes and signs, in decades.
    """
    figure, panels = subplots(1, len(tables), figsize=(9, 3.4), sharey=True, squeeze=False)
    for panel, (network, table) in zip(panels.flat, tables.items(), strict=True):
        base = np.zeros(len(table))
        for column, colour in (("sizes", "#56B4E9"), ("signs", "#D55E00")):
            look = {"color": colour, "label": column, "width": 0.9, "lw": 0}
            panel.bar(table.index, table[column], bottom=base, **look)
            base = base + table[column].to_numpy()
        panel.set_title(title(network))
        panel.set_xlabel("layer")
        panel.grid(axis="x", visible=False)
    panels[0, 0].set_ylabel("decades lost")
    _legend(figure, panels[0, 0], columns=2)
    return figure


def _legend(figure: Figure, panel: Axes, *, columns: int) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, 0)
    )
    figure.tight_layout()
