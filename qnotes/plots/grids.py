"""Figures about grids: levels and codes, outliers, and what rounding does to layers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qnotes.plots.style import subplots, title
from qnotes.plots.ticks import plain_numbers

KINDS = {
    "depthwise": ("#D55E00", "^"),
    "1×1": ("#56B4E9", "o"),
    "k×k": ("#0072B2", "s"),
    "linear": ("#000000", "*"),
}
LINES = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#999999")


def number_lines(weights: np.ndarray, grids: dict[str, object]) -> Figure:
    """Weights on a line, and where they go on each grid; codes stand beneath the levels.

    Args:
        weights: a few numbers.
        grids: stored layers (`QuantizedLayer`) with one scale each, by name.
    """
    weights = np.asarray(weights).ravel()
    figure, panels = subplots(len(grids), 1, figsize=(8.6, 1.75 * len(grids)), sharex=True)
    for panel, (name, stored) in zip(np.atleast_1d(panels), grids.items(), strict=True):
        scale, zero = stored.scale.item(), stored.zero_point.item()
        codes = np.arange(stored.qmin, stored.qmax + 1)
        levels = (codes - zero) * scale
        panel.hlines(0, levels[0], levels[-1], color="#999999", lw=1)
        panel.plot(levels, np.zeros(len(levels)), "|", color="#0072B2", markersize=16, mew=2)
        for level, code in zip(levels, codes, strict=True):
            panel.text(level, -0.5, str(code), ha="center", va="top", color="#0072B2", fontsize=10)
        for before, after in zip(weights, stored.weight.numpy().ravel(), strict=True):
            panel.annotate(
                "",
                (after, 0.05),
                (before, 0.85),
                arrowprops={"arrowstyle": "->", "color": "#D55E00", "lw": 1.3},
            )
        panel.plot(weights, np.full(len(weights), 0.9), "o", color="#D55E00", markersize=6)
        panel.set_ylim(-1, 1.15)
        panel.set_yticks([])
        panel.set_title(name, loc="left")
        panel.grid(visible=False)
        panel.spines["left"].set_visible(False)
    panel.set_xlabel("weight")
    figure.tight_layout()
    return figure


def staircase(limit: float = 2.45) -> Figure:
    """Rounding to the nearest integer with ties to even, and the error that is left."""
    figure, (left, right) = subplots(1, 2, figsize=(8.6, 3.3))
    x = np.linspace(-limit, limit, 4001)
    left.plot(x, np.where(np.abs(x - np.round(x)) > 0.4985, np.nan, np.round(x)), color="#0072B2")
    ties = np.arange(np.ceil(-limit - 0.5) + 0.5, limit, 1)
    left.plot(ties, np.round(ties), "o", color="#0072B2", markersize=5, label="a tie goes here")
    left.plot(ties, 2 * ties - np.round(ties), "o", mfc="white", color="#0072B2", markersize=5)
    left.plot(x, x, ":", color="#999999")
    left.set_xlabel("weight / scale")
    left.set_ylabel("nearest integer")
    left.legend(frameon=False)
    right.plot(x, x - np.round(x), color="#D55E00")
    for side in (-0.5, 0.5):
        right.axhline(side, color="#333333", ls="--", lw=1)
    right.set_xlabel("weight / scale")
    right.set_ylabel("rounding error / scale")
    figure.tight_layout()
    return figure


def outlier(table: pd.DataFrame) -> Figure:
    """What one growing weight does to the others: share of zeros, and their mean error.

    Args:
        table: columns factor, granularity, zeros, error.
    """
    figure, (left, right) = subplots(1, 2, figsize=(8.6, 3.5))
    looks = {"tensor": ("#D55E00", "s-"), "channel": ("#0072B2", "o-")}
    for granularity, rows in table.groupby("granularity", sort=False):
        colour, line = looks[granularity]
        label = f"a scale per {granularity}"
        left.plot(rows["factor"], rows["zeros"], line, color=colour, markersize=4, label=label)
        right.plot(rows["factor"], rows["error"], line, color=colour, markersize=4, label=label)
    left.set_ylabel("share of weights that become 0")
    right.set_ylabel("mean change of the other weights")
    right.set_yscale("log")
    plain_numbers(right.yaxis)
    for panel in (left, right):
        panel.set_xscale("log")
        plain_numbers(panel.xaxis)
        panel.set_xlabel("one weight, multiplied by")
    left.legend(frameon=False)
    figure.tight_layout()
    return figure


def layer_gaps(table: pd.DataFrame) -> Figure:
    """Gap in steps, and the part of n ε that δ fills, for each layer.

    Args:
        table: rows of `qnotes.studies.gaps.gaps`, with a column bits.
    """
    figure, (left, right) = subplots(1, 2, figsize=(9.2, 3.9))
    spread = np.random.default_rng(0)
    widths = sorted(table["bits"].unique())
    place = table["bits"].map(widths.index) + spread.uniform(-0.3, 0.3, len(table))
    for kind, (colour, marker) in KINDS.items():
        rows = table["kind"] == kind
        if not rows.any():
            continue
        look = {"color": colour, "markersize": 4, "alpha": 0.6}
        left.plot(place[rows], table.loc[rows, "steps"], marker, **look)
        right.plot(table.loc[rows, "fan_in"], table.loc[rows, "filled"], marker, label=kind, **look)
    left.axhline(0.5, color="#333333", ls="--", lw=1)
    left.set_ylim(0, 0.55)
    left.set_xticks(range(len(widths)), [str(width) for width in widths])
    left.set_xlabel("bits per weight")
    left.set_ylabel(r"$\varepsilon_\ell \, q \, / \, a$")
    right.axhline(1, color="#333333", ls="--", lw=1)
    right.axhline(0.5, color="#999999", ls=":", lw=1.5)
    right.set_ylim(0, 1.05)
    right.set_xscale("log", base=2)
    right.set_xlabel(r"fan-in $n_\ell$")
    right.set_ylabel(r"$\delta_\ell \, / \, (n_\ell \, \varepsilon_\ell)$")
    right.legend(frameon=False, ncols=2, loc="lower left")
    figure.tight_layout()
    return figure


def gap_against_bits(table: pd.DataFrame) -> Figure:
    """Largest gap of each network against bits, and a line that halves with each bit.

    Args:
        table: columns network, bits, gap (ε), range (a).
    """
    figure, panel = subplots(figsize=(6.8, 4))
    for colour, (network, rows) in zip(LINES, table.groupby("network", sort=False), strict=False):
        look = {"color": colour, "markersize": 4, "lw": 1.3}
        panel.plot(rows["bits"], rows["gap"] / rows["range"], "o-", label=title(network), **look)
    bits = np.linspace(table["bits"].min(), table["bits"].max(), 200)
    panel.plot(bits, 0.5 / (2 ** (bits - 1) - 1), "--", color="#333333", label="half a step")
    panel.set_yscale("log", base=10)
    panel.set_xticks(sorted(table["bits"].unique()))
    panel.set_xlabel("bits per weight")
    panel.set_ylabel(r"$\varepsilon \,/\, a$")
    panel.legend(frameon=False)
    figure.tight_layout()
    return figure
