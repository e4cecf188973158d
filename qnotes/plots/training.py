"""Figures about training with quantization: what became better, and what stayed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from qnotes.plots.style import SERIES, decades, subplots
from qnotes.plots.ticks import plain_numbers

#: Colour and marker by kind of network; none of the colours stands for a theorem.
KINDS = {
    "original": ("#777777", "o"),
    "control": ("#CC6677", "s"),
    "trained": ("#332288", "^"),
}

#: Markers that lie on top of each other, the first at the bottom.
SIZES = {"original": 12, "control": 8, "trained": 4}


def trained_networks(table: pd.DataFrame) -> Figure:
    """Accuracy, two errors and two bounds against bits, for networks by the way they were trained.

    Args:
        table: rows of `qnotes.studies.trained.compare` with a column ``kind`` of `KINDS`, a row a
            kind and width.
    """
    figure, panels = subplots(2, 2, figsize=(8.4, 6.4))
    drawn = {
        "rounded": "accuracy after rounding",
        "error": "error, against the own network",
        "from original": "error, against the original",
    }
    widths = sorted(table["bits"].unique())
    for panel, (column, name) in zip(panels.flat, drawn.items(), strict=False):
        for kind, (colour, marker) in KINDS.items():
            line = table[table["kind"] == kind].sort_values("bits")
            panel.plot(line["bits"], line[column], color=colour, marker=marker, lw=1.8)
        panel.set_ylabel(name)
        if column != "rounded":
            panel.set_yscale("log")
            plain_numbers(panel.yaxis)
    _bounds(panels.flat[-1], table)
    for panel in panels.flat:
        panel.set_xticks(widths)
        panel.set_xlabel("bits per weight")
        panel.margins(x=0.12)
    panels.flat[0].set_ylim(0, 1.03)
    handles = [
        *(Line2D([], [], color=c, marker=m, label=kind) for kind, (c, m) in KINDS.items()),
        *(
            Line2D([], [], color=colour, lw=5, alpha=0.5, label=label)
            for label, colour, _ in map(SERIES.get, _SHOWN)
        ),
    ]
    figure.tight_layout()
    figure.legend(
        handles=handles, frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0)
    )
    return figure


_SHOWN = {("T5", "mean form"): "mean form", ("T2", "recursion along the chain"): "T2"}


def _bounds(panel, table: pd.DataFrame) -> None:
    for key, column in _SHOWN.items():
        spread = table.groupby("bits")[column].mean()
        panel.plot(spread.index, spread, color=SERIES[key][1], lw=6, alpha=0.35)
        for kind, (colour, marker) in KINDS.items():
            line = table[table["kind"] == kind]
            look = {"marker": marker, "ls": "", "color": colour, "markersize": SIZES[kind]}
            panel.plot(line["bits"], line[column], **look)
    panel.set_ylabel("bounds, against the own network")
    decades(panel.yaxis)


def distances_and_moves(steps: Mapping[str, np.ndarray], moves: Mapping[str, np.ndarray]) -> Figure:
    """Where weights lie between two levels, and how far training moved them, as distributions.

    Args:
        steps: by kind, distances of weights from their levels, from `qnotes.studies.trained.steps`.
        moves: by kind, from `qnotes.studies.trained.moves`.
    """
    figure, (left, right) = subplots(1, 2, figsize=(8.6, 3.7))
    for kind, values in steps.items():
        share, edges = np.histogram(values, bins=20, range=(0, 0.5))
        look = {"color": KINDS[kind][0], "label": kind, "lw": 2}
        left.stairs(20 * share / share.sum(), edges, **look)
    left.set_xlabel("distance to the level, in steps")
    left.set_ylabel("density (evenly spread: 1)")
    left.set_ylim(0, 1.4)
    for kind, values in moves.items():
        share, edges = np.histogram(np.log10(values[values > 0]), bins=40, range=(-5, 1))
        right.stairs(share / len(values), 10.0**edges, color=KINDS[kind][0], label=kind, lw=2)
    right.axvline(0.5, color="#333333", ls="--", lw=1)
    place = {"xycoords": ("data", "axes fraction"), "ha": "left", "va": "top"}
    right.annotate("half a step", (0.6, 0.96), fontsize=9.5, **place)
    right.set_xscale("log")
    right.set_xlabel("move of a weight, in steps")
    right.set_ylabel("share of the weights")
    figure.tight_layout()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0)
    )
    return figure


def norms_before_and_after(table: pd.DataFrame) -> Figure:
    """The norm of each layer, before training and after it.

    Args:
        table: from `qnotes.studies.trained.layer_norms`, a column a kind.
    """
    figure, panel = subplots(figsize=(8, 3.4))
    for kind in table:
        colour, marker = KINDS[kind]
        look = {"marker": marker, "ls": "", "color": colour, "markersize": SIZES[kind]}
        panel.plot(table.index, table[kind], label=kind, **look)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("layer of the chain")
    panel.set_ylabel(r"norm $\tilde r_\ell$")
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.22))
    figure.tight_layout()
    return figure
