"""Figures about MobileNetV2: depthwise channels, ReLU6 along the network, grids compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from qnotes.experiments import MEASURED
from qnotes.plots.style import NETWORKS, SERIES, decades, subplots, title
from qnotes.plots.ticks import plain_numbers

T2 = ("T2", "recursion along the chain")
CAPS = {
    "T2": (SERIES[T2][1], "-"),
    "skips kept apart": ("#CC79A7", "--"),
    "and s ≤ 6": ("#56B4E9", "-"),
    "and e ≤ 6": ("#0072B2", "-"),
    "measured": (SERIES[MEASURED, "random inputs"][1], "--"),
}
GRANULARITIES = {"tensor": ("-", "o"), "channel": ("--", "D")}


def channel_spread(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Range of the largest channel over that of the median one, a dot a layer, a panel a network.

    Args:
        tables: by network, columns ``depthwise`` and ``spread``, a row a layer.
    """
    figure, panels = subplots(
        len(tables), 1, figsize=(6.5, 2.6 * len(tables) + 0.3), sharey=True, squeeze=False
    )
    for panel, (network, table) in zip(panels.flat, tables.items(), strict=True):
        layers = np.arange(1, len(table) + 1)
        for depthwise, look in {False: ("#0072B2", "o"), True: ("#D55E00", "^")}.items():
            at = (table["depthwise"] == depthwise).to_numpy()
            label = "depthwise" if depthwise else "other layers"
            panel.plot(layers[at], table["spread"][at], look[1], color=look[0], label=label)
        panel.set_yscale("log")
        panel.set_title(title(network))
        panel.set_ylabel("largest / median range")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel in panels.flat:
        plain_numbers(panel.yaxis)
    panels.flat[-1].set_xlabel("layer")
    _legend(figure, panels, columns=2)
    return figure


def caps_along(lines: Mapping[str, np.ndarray]) -> Figure:
    """Bounds on the error along a network, and what is measured; log10, by the names of `CAPS`."""
    figure, panel = subplots(figsize=(6.5, 4.2))
    for name, values in lines.items():
        colour, style = CAPS[name]
        panel.plot(np.arange(len(values)), values, ls=style, color=colour, lw=2, label=name)
    panel.axhline(np.log10(6), color="#999999", lw=1)
    panel.annotate("6", (0.2, np.log10(6)), (0, 4), textcoords="offset points", fontsize=9.5)
    panel.set_xlabel(r"layers passed, $\ell$")
    panel.set_ylabel("error")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    decades(panel.yaxis)
    _legend(figure, np.array([panel]), columns=2)
    return figure


def granularity(table: pd.DataFrame, columns: Mapping[str, str]) -> Figure:
    """Numbers against bits with a scale for each tensor and for each channel, a panel a number.

    Args:
        table: columns network, granularity, bits, and a column for each panel.
        columns: from a column to the label of its axis; labels with a ``|log`` are of logarithms.
    """
    figure, panels = subplots(
        len(columns), 1, figsize=(6.5, 2.7 * len(columns) + 0.4), sharex=True, squeeze=False
    )
    for panel, (column, label) in zip(panels.flat, columns.items(), strict=True):
        for (network, grid), line in table.groupby(["network", "granularity"], sort=False):
            style, marker = GRANULARITIES[grid]
            name = f"{title(network)}, a scale per {grid}"
            look = {"ls": style, "marker": marker, "color": NETWORKS[network], "label": name}
            panel.plot(line["bits"], line[column], **look)
        text, _, log = label.partition("|")
        panel.set_ylabel(text)
        if log:
            decades(panel.yaxis)
        else:
            panel.yaxis.set_minor_formatter(NullFormatter())
    panels.flat[-1].set_xlabel("bits per weight")
    panels.flat[-1].set_xticks(sorted(table["bits"].unique()))
    _legend(figure, panels, columns=1 if table["network"].nunique() > 1 else 2)
    return figure


def _legend(figure: Figure, panels: np.ndarray, *, columns: int) -> None:
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, 0.0)
    )
