"""Figures of the chapters on bits and on looseness: waterfalls, certified bits, what bits do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qnotes.plots.style import NETWORKS, SERIES, subplots, title

#: Colour of a step by the theorem that it arrives at; the step below all theorems is black.
STEPS = {
    "search": "#000000",
    "signs": "#F0E442",
    "rows": SERIES["T2", "recursion along the chain"][1],
    "biases": SERIES["T5", "product form"][1],
    "means": SERIES["T5", "mean form"][1],
    "one norm": SERIES["P2", "one norm for all layers"][1],
    "width": SERIES["P3", "path-metric corollary"][1],
}
#: Where each of these steps arrives, as it is written beside its bar.
ARRIVES = {
    "search": "found",
    "signs": "T8",
    "rows": "T2",
    "biases": "T5 product",
    "means": "T5 mean",
    "one norm": "P2",
    "width": "P3",
}
#: Bounds in the order of a legend, with T8, which no other figure shows. P1 lies too far out.
CERTIFIED = {
    ("P3", "path-metric corollary"): SERIES["P3", "path-metric corollary"],
    ("P2", "one norm for all layers"): SERIES["P2", "one norm for all layers"],
    ("T5", "mean form"): SERIES["T5", "mean form"],
    ("T5", "product form"): SERIES["T5", "product form"],
    ("T2", "recursion along the chain"): SERIES["T2", "recursion along the chain"],
    ("T8", "vector form"): ("T8, a number a channel", "#F0E442", "X"),
}


def waterfall(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Decades from the sampled error up to P3, a bar a step, a panel a network.

    Args:
        tables: for each network a row a step of `STEPS`, with the columns start and decades.
    """
    figure, panels = subplots(len(tables), 1, figsize=(4.4, 2.4 * len(tables) + 0.4), squeeze=False)
    for panel, (network, table) in zip(panels.flat, tables.items(), strict=True):
        places = np.arange(len(table))[::-1]
        span = (table["start"] + table["decades"]).max() - table["start"].min()
        for place, (step, row) in zip(places, table.iterrows(), strict=True):
            look = {"color": STEPS[step], "edgecolor": "#333333", "lw": 0.6}
            panel.barh(place, row["decades"], left=row["start"], height=0.72, **look)
            end = max(row["start"], row["start"] + row["decades"])
            panel.annotate(
                f"{row['decades']:+.1f}",
                (end, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
            )
        panel.axvline(0, color="#333333", lw=0.8)
        panel.set_yticks(places, [f"{step} → {ARRIVES[step]}" for step in table.index])
        panel.set_xlim(table["start"].min() - 0.04 * span, None)
        panel.margins(x=0.14)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"$10^{{{x:.0f}}}$"))
        panel.grid(axis="y", visible=False)
        panel.set_title(title(network))
    panels.flat[-1].set_xlabel("error of the output, and its bounds")
    figure.tight_layout()
    return figure


def side_by_side(table: pd.DataFrame) -> Figure:
    """Errors of typical and worst inputs, and below them the same beside bounds, a row a network.

    Args:
        table: a row a network, with log10 columns typical, sampled, observed, T8, T2 and P2.
    """
    marks = {
        "typical": ("typical error", SERIES["measured", "digits"][1:]),
        "sampled": ("largest of random inputs", SERIES["measured", "random inputs"][1:]),
        "observed": ("worst input found", ("#AA3377", "o")),
        "T8": ("T8, a number a channel", CERTIFIED["T8", "vector form"][1:]),
        "T2": ("T2, recursion", SERIES["T2", "recursion along the chain"][1:]),
        "P2": ("P2, one norm for all layers", SERIES["P2", "one norm for all layers"][1:]),
    }
    figure, panels = subplots(2, 1, figsize=(4.4, 2.2 + 0.7 * len(table)))
    places = np.arange(len(table))[::-1]
    rows = (["typical", "sampled", "observed"], list(marks)[2:])
    for panel, stages in zip(panels, rows, strict=True):
        ends = table[stages]
        panel.hlines(places, ends.min(axis=1), ends.max(axis=1), color="#cccccc", lw=2, zorder=1)
        for stage in stages:
            label, (colour, marker) = marks[stage]
            edge = {} if marker in "x*" else {"mec": "#333333", "mew": 0.7}
            name = label if panel is panels[0] or stage != "observed" else None
            panel.plot(table[stage], places, marker, color=colour, markersize=8, label=name, **edge)
        panel.axvline(0, color="#333333", lw=0.8)
        panel.set_yticks(places, [title(network) for network in table.index])
        panel.set_ylim(-0.6, len(table) - 0.4)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"$10^{{{x:g}}}$"))
        panel.grid(axis="y", visible=False)
    ticks = [low * 10.0**power for power in range(-6, 4) for low in (1, 3)]
    panels[0].xaxis.set_major_locator(FixedLocator(np.log10(ticks)))
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{10**x:.1g}"))
    panels[0].set_xlabel("error of the output")
    panels[1].set_xlabel("the same, and its bounds")
    drawn = [panel.get_legend_handles_labels() for panel in panels]
    handles, labels = ([*first, *second] for first, second in zip(*drawn, strict=True))
    figure.legend(
        handles, labels, frameon=False, ncols=1, loc="upper center", bbox_to_anchor=(0.5, 0.02)
    )
    figure.tight_layout()
    return figure


def certified_bits(table: pd.DataFrame, used: pd.Series) -> Figure:
    """Bits that each bound asks for, a row a network, and how many are enough in practice.

    Args:
        table: columns network, theorem, bound, bits.
        used: by network, the fewest bits tried whose measured error is small enough; NaN if none.
    """
    networks = list(table["network"].unique())
    figure, panel = subplots(figsize=(4.4, 1.9 + 0.8 * len(networks)))
    places = dict(zip(networks, range(len(networks) - 1, -1, -1), strict=True))
    heights = np.linspace(0.33, -0.33, len(CERTIFIED))  # so that marks do not hide each other
    for height, (key, (label, colour, marker)) in zip(heights, CERTIFIED.items(), strict=True):
        rows = table[(table["theorem"] == key[0]) & (table["bound"] == key[1])]
        look = {"color": colour, "mec": "#333333", "mew": 0.7, "markersize": 7, "ls": ""}
        panel.plot(rows["bits"], rows["network"].map(places) + height, marker, label=label, **look)
    enough = used.dropna()
    black = {"color": "#000000", "markersize": 11, "ls": ""}
    panel.plot(enough, enough.index.map(places), "*", label="measured", **black)
    panel.axvline(32, color="#333333", lw=1, ls=":")
    panel.set_xscale("log", base=2)
    ticks = [2, 8, 32, 128, 512, 2048]
    most = table.loc[table["theorem"] != "P1", "bits"].max()
    panel.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick < 1.4 * most]))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_xlim(1.8, 1.4 * most)
    panel.set_yticks(list(places.values()), [title(network) for network in places])
    panel.set_ylim(-0.6, len(networks) - 0.4)
    panel.grid(axis="y", visible=False)
    for place in range(len(networks) - 1):
        panel.axhline(place + 0.5, color="#eeeeee", lw=1)
    panel.set_xlabel("bits per weight")
    _legend_below(figure, panel)
    figure.tight_layout()
    return figure


def bits_saved(table: pd.DataFrame) -> Figure:
    """Bits that T5 (mean form) saves over P2 and P3, two bars a network.

    Args:
        table: a row a network, columns P2 and P3.
    """
    figure, panel = subplots(figsize=(4.4, 1.4 + 0.6 * len(table)))
    places = np.arange(len(table))[::-1]
    keys = {"P2": ("P2", "one norm for all layers"), "P3": ("P3", "path-metric corollary")}
    for shift, (column, key) in zip((0.2, -0.2), keys.items(), strict=True):
        label, colour, _ = SERIES[key]
        panel.barh(places + shift, table[column], color=colour, height=0.38, label=f"over {label}")
        for place, value in zip(places, table[column], strict=True):
            panel.annotate(
                f"{value:.0f}",
                (value, place + shift),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
            )
    panel.set_yticks(places, [title(network) for network in table.index])
    panel.margins(x=0.12)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("bits per weight that T5 (mean form) saves")
    _legend_below(figure, panel)
    figure.tight_layout()
    return figure


def practice(table: pd.DataFrame, tolerance: float) -> Figure:
    """Measured error against bits, and accuracy below it.

    Args:
        table: columns network, bits, error (log10) and accuracy, NaN where not measured.
        tolerance: drawn as a line.
    """
    accurate = table.dropna(subset="accuracy")
    count = 2 if len(accurate) else 1
    figure, panels = subplots(count, 1, figsize=(4.4, 2.9 * count), sharex=True, squeeze=False)
    error, below = panels[0, 0], panels[-1, 0]
    for network, rows in table.groupby("network", sort=False):
        look = {"color": NETWORKS[network], "marker": "o", "markersize": 5}
        error.plot(rows["bits"], rows["error"], label=title(network), **look)
    error.axhline(np.log10(tolerance), color="#333333", lw=1, ls=":")
    error.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"$10^{{{y:g}}}$"))
    error.set_ylabel("largest measured error")
    for network, rows in accurate.groupby("network", sort=False):
        look = {"color": NETWORKS[network], "marker": "o", "markersize": 5}
        below.plot(rows["bits"], 100 * rows["accuracy"], **look)
        below.axhline(
            100 * rows["reference_accuracy"].iloc[0], lw=0.8, ls="--", color=NETWORKS[network]
        )
    if len(accurate):
        below.set_ylabel("accuracy, %")
    below.set_xlabel("bits per weight")
    below.set_xticks(sorted(table["bits"].unique()))
    figure.legend(
        *error.get_legend_handles_labels(),
        frameon=False,
        ncols=2,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.02),
    )
    figure.tight_layout()
    return figure


def _legend_below(figure: Figure, panel) -> None:
    """One column below the panel, which a phone has room for."""
    handles = panel.get_legend_handles_labels()
    figure.legend(*handles, frameon=False, ncols=1, loc="upper center", bbox_to_anchor=(0.5, 0.02))
