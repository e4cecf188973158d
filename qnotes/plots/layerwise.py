"""Figures about T3 to T5: the inequality of the means, the plain mean, what steps cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from qnotes.plots.style import SERIES, subplots, title

STEPS = {
    "biases in the norms": "#009E73",
    "count times largest": "#F0E442",
    "one gap for all": "#E69F00",
    "one mean for all": "#0072B2",
}


def tangent(*, counts: tuple[int, ...] = (1, 2, 5), reach: float = 2.6) -> Figure:
    """The step of the inequality of the means: a convex curve above its tangent, with A = 1."""
    figure, panel = subplots(figsize=(6.5, 3.8))
    x = np.linspace(0, reach, 300)
    for count, colour in zip(counts, ("#56B4E9", "#0072B2", "#CC79A7"), strict=True):
        curve = ((count + x) / (count + 1)) ** (count + 1)
        panel.plot(x, curve, color=colour, lw=2, label=f"power of the mean, $m = {count}$")
    panel.plot(x, x, color="#D55E00", lw=2, ls="--", label="product with the new number, $A^m x$")
    panel.plot([1], [1], "o", color="#333333", markersize=7)
    panel.annotate("they touch at $x = A$", (1, 1), (1.1, 0.62), fontsize=9.5)
    panel.set_xlabel("new number $x$, in units of the old mean $A$")
    panel.set_ylabel("in units of $A^{m+1}$")
    panel.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    return figure


def plain_mean_map(table: pd.DataFrame) -> Figure:
    """Formula over error, a square a network: left for the plain mean, right for T4.

    Args:
        table: from `qnotes.studies.examples.plain_mean_map`.
    """
    figure, panels = subplots(1, 2, figsize=(8.6, 4.1), sharey=True)
    names = {"plain": "plain mean (not a theorem)", "ours": "leave-one-out mean (T4)"}
    for panel, (column, name) in zip(panels, names.items(), strict=True):
        grid = table.pivot(index="fan_ins", columns="norms", values=column)
        image = panel.pcolormesh(
            grid.columns, grid.index, np.log2(grid), cmap="PuOr", vmin=-1, vmax=1, shading="nearest"
        )
        broken = table[table[column] < 1]
        panel.plot(broken["norms"], broken["fan_ins"], "x", color="#333333", markersize=4)
        panel.set_title(name)
        panel.set_xlabel("$r_1 / r_2$")
        ticks = range(int(table["norms"].min()), int(table["norms"].max()) + 1, 3)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_ticks(list(ticks), [f"$2^{{{tick}}}$" for tick in ticks])
        panel.grid(visible=False)
    panels[0].set_ylabel("$n_2 / n_1$")
    bar = figure.colorbar(image, ax=panels, extend="max", ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.set_yticklabels(["0.5", "0.7", "1", "1.4", "2"])
    bar.set_label("formula / error")
    return figure


def step_costs(table: pd.DataFrame) -> Figure:
    """Decades that each step from T2 to the mean form of T5 adds, a bar a network.

    Args:
        table: a row a network, indexed by name, a column a step (decades).
    """
    figure, panel = subplots(figsize=(8, 1.3 + 0.42 * len(table)))
    positions = np.arange(len(table))[::-1]
    base = np.zeros(len(table))
    for step, colour in STEPS.items():
        panel.barh(positions, table[step], left=base, color=colour, label=step, height=0.65)
        base = base + table[step].to_numpy()
    for position, total in zip(positions, base, strict=True):
        panel.annotate(
            f"{total:.1f}",
            (total, position),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
        )
    panel.set_yticks(positions, [title(network) for network in table.index])
    panel.set_xlabel("decades above T2")
    panel.grid(axis="y", visible=False)
    panel.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.45, 1))
    figure.tight_layout()
    return figure


def sorted_norms(norms: Mapping[str, np.ndarray]) -> Figure:
    """Norms of all layers from the largest to the smallest, with their two means; panel a network.

    Args:
        norms: by network, the norms of its layers, biases included, at least 1.
    """
    figure, panels = subplots(
        1, len(norms), figsize=(min(9, 4.4 * len(norms)), 3.9), sharey=True, squeeze=False
    )
    for panel, (network, values) in zip(panels.flat, norms.items(), strict=True):
        ordered = np.sort(values)[::-1]
        mean = (ordered.sum() - ordered[-1]) / max(1, len(ordered) - 1)
        panel.bar(np.arange(1, len(ordered) + 1), ordered, color="#BBBBBB", width=0.8)
        geometric = np.exp(np.log(ordered).mean())
        arithmetic = {"color": "#0072B2", "label": "leave-one-out mean (mean form)"}
        panel.axhline(mean, lw=2, **arithmetic)
        look = {"color": "#56B4E9", "ls": "--", "label": "geometric mean (product form)"}
        panel.axhline(geometric, lw=2, **look)
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_title(title(network))
        panel.set_xlabel("rank of the layer")
        panel.grid(axis="x", visible=False)
    panels.flat[0].set_ylabel(r"norm $\tilde r_\ell$")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0.02)
    )
    figure.tight_layout()
    return figure


def shares(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Each layer's share of three bounds along the chain, a panel a network.

    Args:
        tables: by network, the rows of `qnotes.bounds`.
    """
    drawn = [("T5", "mean form"), ("T5", "product form"), ("T2", "recursion along the chain")]
    figure, panels = subplots(len(tables), 1, figsize=(8, 2.7 * len(tables) + 0.4), squeeze=False)
    for panel, (network, table) in zip(panels.flat, tables.items(), strict=True):
        parts = table.set_index(["theorem", "bound"])["share"]
        for key in drawn:
            label, colour, marker = SERIES[key]
            layers = np.arange(1, len(parts[key]) + 1)
            look = {"color": colour, "marker": marker, "markersize": 4, "lw": 1.2}
            panel.plot(layers, 100 * np.asarray(parts[key]), label=label, **look)
        panel.set_title(title(network))
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_ylabel("share of the bound, %")
        panel.set_xlabel("layer")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0.0)
    )
    return figure
