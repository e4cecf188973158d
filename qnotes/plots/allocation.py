"""Figures about shares and bits: heat maps over layers, two rankings, choices of bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qnotes.plots.style import NETWORKS, decades, subplots, title
from qnotes.plots.ticks import plain_numbers

CHOICES = {
    "uniform": ("#999999", "o"),
    "by size alone": ("#E69F00", "v"),
    "by T2": ("#009E73", "P"),
    "by measured error": ("#000000", "*"),
}


def share_maps(maps: Mapping[str, pd.DataFrame], *, network: str) -> Figure:
    """Shares of the layers at each bit-width, a panel a bound, in units of an equal share.

    Args:
        maps: by the name of a bound, a row a bit-width and a column a layer.
        network: whose layers they are.
    """
    figure, panels = subplots(
        len(maps),
        1,
        figsize=(7, 1.55 * len(maps) + 0.9),
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    for panel, (name, table) in zip(panels.flat, maps.items(), strict=True):
        values = table.to_numpy(dtype=float) * table.shape[1]
        with np.errstate(divide="ignore"):
            image = panel.imshow(
                np.log2(values),
                cmap="PuOr",
                vmin=-3,
                vmax=3,
                aspect="auto",
                origin="lower",
                extent=(0.5, values.shape[1] + 0.5, -0.5, len(values) - 0.5),
            )
        panel.set_yticks(range(len(table)), [str(bits) for bits in table.index])
        panel.set_ylabel("bits")
        panel.set_title(name, loc="left")
        panel.grid(visible=False)
    panels.flat[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels.flat[-1].set_xlabel(f"layer of {title(network)}")
    bar = figure.colorbar(
        image,
        ax=panels,
        location="bottom",
        extend="both",
        shrink=0.8,
        aspect=35,
        label="share of the layer, in units of an equal share",
    )
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2**value:g}"))
    return figure


def two_rankings(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Share of the bound against share of the measured error, a dot a layer.

    Args:
        tables: by network, columns ``bound`` and ``measured``, in percent.
    """
    figure, panel = subplots(figsize=(6.5, 4.4))
    for (network, table), marker in zip(tables.items(), "o^s", strict=False):
        look = {"color": NETWORKS[network], "marker": marker, "edgecolor": "#333333"}
        panel.scatter(table["bound"], table["measured"], s=42, label=title(network), **look)
    values = pd.concat(tables.values()).to_numpy()
    ends = [values[values > 0].min(), values.max()]
    panel.plot(ends, ends, color="#999999", ls="--", lw=1, label="equal")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("share of the bound T2, %")
    panel.set_ylabel("share of the measured errors, %")
    for axis in (panel.xaxis, panel.yaxis):
        plain_numbers(axis)
    figure.tight_layout()
    figure.legend(frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0.0))
    return figure


def chosen_bits(tables: Mapping[str, pd.DataFrame], *, network: str) -> Figure:
    """Bits that each choice gives to each layer, a panel a choice.

    Args:
        tables: by the name of a choice, a row a budget and a column a layer.
        network: whose layers they are.
    """
    figure, panels = subplots(
        len(tables),
        1,
        figsize=(7, 1.6 * len(tables) + 0.3),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for panel, (name, table) in zip(panels.flat, tables.items(), strict=True):
        colour = CHOICES[name][0]
        for budget, bits in table.iterrows():
            layers = np.arange(1, len(bits) + 1)
            panel.step(layers, bits, where="mid", color=colour, lw=1.8)
            panel.axhline(budget, color="#999999", lw=1, ls="--")
        panel.set_title(name, loc="left")
        panel.set_ylabel("bits")
        panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    panels.flat[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels.flat[-1].set_xlabel(f"layer of {title(network)}")
    figure.tight_layout()
    return figure


def choices(table: pd.DataFrame, columns: Mapping[str, str]) -> Figure:
    """What each choice of bits buys: a panel a number and network, against the mean bits.

    Args:
        table: columns network, choice, budget, and one for each row of panels.
        columns: from a column to its label; labels that end in ``|log`` are of logarithms.
    """
    networks = list(table["network"].unique())
    figure, panels = subplots(
        len(columns),
        len(networks),
        figsize=(3.5 * len(networks) + 0.6, 2.6 * len(columns) + 0.3),
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    for row, (column, label) in zip(panels, columns.items(), strict=True):
        text, _, log = label.partition("|")
        for panel, network in zip(row, networks, strict=True):
            for choice, (colour, marker) in CHOICES.items():
                at = (table["network"] == network) & (table["choice"] == choice)
                line = table[at].sort_values("budget")
                look = {"color": colour, "marker": marker, "label": choice}
                panel.plot(line["budget"], line[column], markersize=7, **look)
            if log:
                decades(panel.yaxis)
        row[0].set_ylabel(text)
    for panel, network in zip(panels[0], networks, strict=True):
        panel.set_title(title(network))
    for panel in panels[-1]:
        panel.set_xlabel("bits per weight")
        panel.set_xticks(sorted(table["budget"].unique()))
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0.0)
    )
    return figure
