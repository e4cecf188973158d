"""Figures about schemes: their levels, what they do to bound and error, accuracy and storage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qnotes.plots.style import SERIES, decades, subplots, title

#: A colour and a marker for each kind of choice.
FAMILIES = {
    "default": ("#000000", "*"),
    "granularity": ("#0072B2", "s"),
    "grid": ("#009E73", "o"),
    "range": ("#E69F00", "D"),
    "rounding": ("#D55E00", "^"),
    "rounding with data": ("#CC79A7", "v"),
}
LINES = ("#000000", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#999999")
MARKERS = "osD^vPX*"
#: A change of more decades than this is drawn at the edge, with its number.
EDGE = 2.0
#: Points whose changes disagree by less than this many decades are not named.
NAMED = 0.1


def channel_levels(weights: np.ndarray, levels: dict[str, np.ndarray]) -> Figure:
    """The weights of a channel as a histogram, and under it the levels of each scheme.

    Args:
        weights: of one channel.
        levels: for each scheme the levels that these weights may take.
    """
    figure, (top, below) = subplots(
        2, 1, figsize=(7, 1.9 + 0.42 * len(levels)), sharex=True, height_ratios=(1.6, len(levels))
    )
    top.hist(weights, bins=40, color="#999999")
    top.set_ylabel("weights")
    for place, found in enumerate(levels.values()):
        below.plot(found, np.full(len(found), place), "|", color="#0072B2", markersize=13, mew=1.8)
    for end in (weights.min(), weights.max()):
        below.axvline(end, color="#D55E00", ls="--", lw=1)
    below.set_yticks(range(len(levels)), list(levels))
    below.set_ylim(len(levels) - 0.4, -0.6)
    below.grid(axis="x", visible=False)
    below.set_xlabel("weight")
    figure.tight_layout()
    return figure


def bound_and_error(changes: pd.DataFrame, families: dict[str, str], error: str) -> Figure:
    """Change of the bound against change of the error, a point a scheme, a panel a network.

    Args:
        changes: from `qnotes.studies.schemes.against`, at one number of bits.
        families: for each scheme one of `FAMILIES`.
        error: column of the measured error.
    """
    networks = list(changes["network"].unique())
    figure, panels = subplots(len(networks), 1, figsize=(6.4, 3.5 * len(networks)), squeeze=False)
    for panel, network in zip(panels.flat, networks, strict=True):
        rows = changes[changes["network"] == network]
        for family, (colour, marker) in FAMILIES.items():
            points = rows[rows["scheme"].map(families) == family]
            look = {"color": colour, "markersize": 8, "label": family}
            panel.plot(points["mean form"], points[error].clip(-EDGE, EDGE), marker, **look)
        _name_points(panel, rows, error)
        panel.axhline(0, color="#333333", ls="--", lw=1)
        panel.axvline(0, color="#333333", ls="--", lw=1)
        panel.margins(x=0.2, y=0.12)
        panel.set_title(title(network))
        panel.set_ylabel("measured error, decades")
    panel.set_xlabel("bound T5, mean form, decades")
    _legend_below(figure, panel, 3)
    return figure


def _name_points(panel, rows: pd.DataFrame, error: str) -> None:
    """Names of the points where bound and error clearly disagree, or that lie beyond the edge."""
    far = rows[error].abs() > EDGE
    clear = rows[["mean form", error]].abs().min(axis=1) > NAMED
    apart = rows[(rows["mean form"] * rows[error] < 0) & clear | far]
    points = apart.sort_values(error)[["scheme", "mean form", error]]
    for number, (scheme, x, y) in enumerate(points.itertuples(index=False, name=None)):
        side, shift = ("left", 8) if number % 2 else ("right", -8)
        look = {"textcoords": "offset points", "ha": side, "va": "center", "fontsize": 9.5}
        name = scheme if abs(y) <= EDGE else f"{scheme} {y:+.0f}"
        panel.annotate(name, (x, np.clip(y, -EDGE, EDGE)), (shift, 0), **look)


def scheme_changes(changes: pd.DataFrame, error: str) -> Figure:
    """For each scheme how far bound and error move from the default, a panel a network.

    A change of more than `EDGE` decades is drawn there, with its number.

    Args:
        changes: from `qnotes.studies.schemes.against`, at one number of bits.
        error: column of the measured error.
    """
    networks = list(changes["network"].unique())
    names = list(changes["scheme"].unique())
    figure, panels = subplots(
        1, len(networks), figsize=(3.1 * len(networks), 1 + 0.29 * len(names)), sharey=True
    )
    _, colour, marker = SERIES["T5", "mean form"]
    _, black, star = SERIES["measured", "digits"]
    for panel, network in zip(np.atleast_1d(panels), networks, strict=True):
        rows = changes[changes["network"] == network].set_index("scheme")
        places = [names.index(name) for name in rows.index]
        shown = rows[error].clip(-EDGE, EDGE)
        panel.hlines(places, rows["mean form"], shown, color="#bbbbbb", lw=1.5)
        panel.plot(rows["mean form"], places, marker, color=colour, label="bound T5, mean form")
        panel.plot(shown, places, star, color=black, markersize=8, label="measured error")
        panel.axvline(0, color="#333333", ls="--", lw=1)
        for place, value in zip(places, rows[error], strict=True):
            if abs(value) > EDGE:
                at = (np.clip(value, -EDGE, EDGE), place)
                look = {"textcoords": "offset points", "ha": "center", "fontsize": 9.5}
                panel.annotate(f"{value:+.0f}", at, (0, 6), **look)
        panel.set_title(title(network))
        panel.set_xlabel("decades")
    first = np.atleast_1d(panels)[0]
    first.set_yticks(range(len(names)), names)
    first.set_ylim(len(names) - 0.5, -0.5)
    _legend_below(figure, first, 2)
    return figure


def scheme_accuracy(rows: pd.DataFrame, reference: dict[str, float]) -> Figure:
    """Accuracy against bits, a line a scheme, a panel a network.

    Args:
        rows: from `qnotes.studies.schemes.side_by_side`.
        reference: accuracy of each network before quantization, a dotted line.
    """
    networks = list(rows["network"].unique())
    figure, panels = subplots(
        1, len(networks), figsize=(3.1 * len(networks), 3.6), sharey=True, squeeze=False
    )
    for panel, network in zip(panels.flat, networks, strict=True):
        lines = rows[rows["network"] == network].groupby("scheme", sort=False)
        for (scheme, line), colour, marker in zip(lines, LINES, MARKERS, strict=False):
            look = {"color": colour, "marker": marker, "markersize": 5, "label": scheme}
            panel.plot(line["bits"], line["accuracy"], lw=1.3, **look)
        panel.axhline(reference[network], color="#333333", ls=":", lw=1.3)
        panel.set_xticks(sorted(rows["bits"].unique()))
        panel.set_title(title(network))
        panel.set_xlabel("bits per weight")
    panels.flat[0].set_ylabel("accuracy")
    _legend_below(figure, panels.flat[0], 3)
    return figure


def storage(rows: pd.DataFrame) -> Figure:
    """Measured error against stored bits for each weight, a line a scheme, a panel a network.

    Args:
        rows: columns network, scheme, stored (bits per weight), error (decimal logarithm).
    """
    networks = list(rows["network"].unique())
    figure, panels = subplots(
        1, len(networks), figsize=(4 * len(networks), 3.6), sharey=True, squeeze=False
    )
    for panel, network in zip(panels.flat, networks, strict=True):
        lines = rows[rows["network"] == network].groupby("scheme", sort=False)
        for (scheme, line), colour, marker in zip(lines, LINES, MARKERS, strict=False):
            look = {"color": colour, "marker": marker, "markersize": 5, "label": scheme}
            panel.plot(line["stored"], line["error"], lw=1.3, **look)
        panel.set_title(title(network))
        panel.set_xlabel("stored bits per weight")
        decades(panel.yaxis)
    panels.flat[0].set_ylabel("measured error")
    _legend_below(figure, panels.flat[0], 3)
    return figure


def _legend_below(figure: Figure, panel, columns: int) -> None:
    figure.legend(
        *panel.get_legend_handles_labels(),
        frameon=False,
        loc="upper center",
        ncols=columns,
        bbox_to_anchor=(0.5, 0.0),
    )
    figure.tight_layout()
