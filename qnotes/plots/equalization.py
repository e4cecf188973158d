"""Figures about equalization: norms along the chain, bounds by method, a way by degrees."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from qnotes.plots.style import SERIES, decades, subplots, title
from qnotes.plots.ticks import plain_numbers
from qnotes.studies.rescaled import BOUNDS, NONE

#: Colour, marker and line of each method; none of the colours stands for a theorem.
METHODS = {
    NONE: ("#777777", "o", "-"),
    "cle": ("#CC6677", "s", "--"),
    "path": ("#332288", "^", ":"),
    "even": ("#117733", "D", "-."),
}
SHAPES = ("o", "s", "^", "D", "v", "P")


def norms_by_method(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The norm of each layer before and after equalization, a panel a network.

    Args:
        tables: from `qnotes.studies.rescaled.layer_norms`, by network.
    """
    figure, panels = subplots(len(tables), 1, figsize=(8, 2.9 * len(tables) + 0.4), squeeze=False)
    for panel, (network, table) in zip(panels.flat, tables.items(), strict=True):
        for method in table:
            colour, marker, line = METHODS[method]
            look = {"color": colour, "marker": marker, "ls": line, "markersize": 4, "lw": 1.3}
            panel.plot(table.index, table[method], label=method, **look)
        panel.set_yscale("log")
        plain_numbers(panel.yaxis)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(title(network))
        panel.set_ylabel(r"norm $\tilde r_\ell$")
    panels.flat[-1].set_xlabel("layer of the chain")
    return _with_legend(figure, panels.flat[0].get_legend_handles_labels())


def bounds_by_method(table: pd.DataFrame) -> Figure:
    """Three bounds and the path norm for each method, a panel a network.

    Args:
        table: columns network, method, those of `qnotes.studies.rescaled.BOUNDS`, ``path norm``.
    """
    networks = list(table["network"].unique())
    figure, panels = subplots(1, len(networks), figsize=(3.2 * len(networks), 4), squeeze=False)
    for panel, network in zip(panels.flat, networks, strict=True):
        rows = table[table["network"] == network]
        for column, key in BOUNDS.items():
            label, colour, marker = SERIES[key]
            look = {"color": colour, "marker": marker, "markersize": 7, "lw": 1}
            panel.plot(range(len(rows)), rows[column], label=label, **look)
        panel.axhline(rows["path norm"].iloc[0], color="#333333", ls="--", lw=1, label="path norm")
        panel.set_xticks(range(len(rows)), rows["method"])
        panel.set_title(title(network))
        panel.grid(axis="x", visible=False)
        decades(panel.yaxis)
    panels.flat[0].set_ylabel("error of the output; path norm")
    return _with_legend(figure, panels.flat[0].get_legend_handles_labels(), columns=2)


def by_strength(table: pd.DataFrame) -> Figure:
    """Bounds, measured error and accuracy on the way from no equalization to all of it.

    Args:
        table: from `qnotes.studies.rescaled.compare`, several strengths, per tensor and channel.
    """
    drawn = {
        "mean form": "T5, mean form, decades",
        "product form": "T5, product form, decades",
        "median error": "median error of the output",
        "accuracy": "accuracy",
    }
    drawn = {column: name for column, name in drawn.items() if table[column].notna().all()}
    methods = [method for method in METHODS if method != NONE]
    rows = -(-len(drawn) // 2)
    figure, panels = subplots(rows, 2, figsize=(8.4, 3 * rows), squeeze=False, sharex=True)
    for spare in panels.flat[len(drawn) :]:
        spare.set_visible(False)
    for panel, (column, name) in zip(panels.flat, drawn.items(), strict=False):
        for granularity, line in (("tensor", "-"), ("channel", "--")):
            for method in methods:
                found = _way(table, method, granularity)
                colour, marker, _ = METHODS[method]
                wide = method == "path"  # seen under "even", where both round to the same function
                look = {"color": colour, "marker": marker, "ls": line}
                look |= {"lw": 4.5 if wide else 1.6, "markersize": 9 if wide else 5}
                panel.plot(found["strength"], found[column], **look)
        panel.set_ylabel(name)
        panel.set_xlabel("strength")
        panel.xaxis.set_tick_params(labelbottom=True)
    lines = [("-", "per tensor"), ("--", "per channel")]
    handles = [
        *(Line2D([], [], color=METHODS[m][0], marker=METHODS[m][1], label=m) for m in methods),
        *(Line2D([], [], color="#333333", ls=line, label=label) for line, label in lines),
    ]
    return _with_legend(figure, (handles, [handle.get_label() for handle in handles]), columns=5)


def bound_against_error(table: pd.DataFrame) -> Figure:
    """What equalization changes in a bound and in the measured error, a point a variant.

    Args:
        table: columns network, method, granularity, ``bound`` and ``error``: changes in decades.
    """
    networks, methods = (list(table[axis].unique()) for axis in ("network", "method"))
    figure, panel = subplots(figsize=(7, 4.4))
    panel.axhline(0, color="#333333", lw=0.8)
    panel.axvline(0, color="#333333", lw=0.8)
    for row in table.itertuples():
        colour = METHODS[row.method][0]
        filled = colour if row.granularity == "tensor" else "none"
        shape = SHAPES[networks.index(row.network)]
        panel.plot(row.bound, row.error, shape, mec=colour, mfc=filled, mew=1.8, markersize=8)
    panel.set_xlabel("change of T2, decades")
    panel.set_ylabel("change of the median error, decades")
    kinds = [("#333333", "per tensor"), ("none", "per channel")]
    handles = [
        *(Line2D([], [], ls="", marker="o", color=METHODS[m][0], label=m) for m in methods),
        *(
            Line2D([], [], ls="", marker=SHAPES[place], color="#333333", label=title(network))
            for place, network in enumerate(networks)
        ),
        *(Line2D([], [], ls="", marker="o", mec="#333333", mfc=c, label=n) for c, n in kinds),
    ]
    return _with_legend(figure, (handles, [handle.get_label() for handle in handles]))


def _way(table: pd.DataFrame, method: str, granularity: str) -> pd.DataFrame:
    """The rows of a method by strength; the first is the network as it is."""
    chosen = np.isin(table["method"], (NONE, method)) & (table["granularity"] == granularity)
    return table[chosen].sort_values("strength")


def _with_legend(figure: Figure, entries, *, columns: int = 4) -> Figure:
    handles, labels = entries
    figure.tight_layout()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, 0)
    )
    return figure
