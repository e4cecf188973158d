"""Figures about T6: the matrix of a convolution, fan-in against width, size of the image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from qnotes.plots.style import SERIES, decades, subplots, title

# Nine weights of a 3×3 kernel, neighbours told apart: Okabe and Ito's colours and a grey.
WEIGHTS = ListedColormap(
    [
        "#E69F00",
        "#56B4E9",
        "#009E73",
        "#F0E442",
        "#0072B2",
        "#D55E00",
        "#CC79A7",
        "#999999",
        "#000000",
    ]
)
FAN_IN, READS = "#0072B2", "#D55E00"


def matrices(named: Mapping[str, np.ndarray], *, columns: int = 2, height: float = 3.4) -> Figure:
    """Matrices of convolutions with weights 1, 2, 3, …: a colour for each weight of a kernel.

    Args:
        named: by title, the matrix; zero entries stay white.
        columns: panels in a row.
        height: of a row of panels, in inches.
    """
    rows = -(-len(named) // columns)
    figure, panels = subplots(rows, columns, figsize=(8.6, height * rows), squeeze=False)
    for spare in panels.flat[len(named) :]:
        spare.set_visible(False)
    for panel, (name, matrix) in zip(panels.flat, named.items(), strict=False):
        colours = np.where(matrix != 0, (matrix - 1) % WEIGHTS.N, np.nan)
        panel.imshow(colours, cmap=WEIGHTS, vmin=-0.5, vmax=WEIGHTS.N - 0.5, interpolation="none")
        panel.set_title(f"{name}\n{matrix.shape[0]} × {matrix.shape[1]}")
        panel.set_xlabel("input coordinate")
        panel.set_ylabel("output coordinate")
        panel.set_xticks([])
        panel.set_yticks([])
        for axis, count in ((panel.xaxis, matrix.shape[1]), (panel.yaxis, matrix.shape[0])):
            if count <= 40:  # lines between entries help as long as there are few of them
                axis.set_minor_locator(FixedLocator(np.arange(0.5, count - 1)))
        panel.grid(which="minor", color="#eeeeee", lw=0.5)
        panel.tick_params(which="minor", length=0)
        for side in panel.spines.values():
            side.set_visible(True)
            side.set_color("#999999")
    figure.tight_layout()
    return figure


def fan_in_and_width(tables: Mapping[str, pd.DataFrame], *, columns: int = 2) -> Figure:
    """Fan-in of each layer, and the size of the map that it reads; a panel a network.

    Args:
        tables: by panel title, a table of `qnotes.studies.examples.fan_ins`.
        columns: panels in a row.
    """
    columns = min(columns, len(tables))
    rows = -(-len(tables) // columns)
    figure, panels = subplots(
        rows, columns, figsize=(4.3 * columns, 2.8 * rows), sharey=True, squeeze=False
    )
    spare = list(panels.flat[len(tables) :])
    for panel in spare:
        panel.set_axis_off()
    for panel, (name, table) in zip(panels.flat, tables.items(), strict=False):
        layers = np.arange(1, len(table) + 1)
        read = {"color": READS, "marker": "s", "markersize": 3, "lw": 1.2}
        panel.plot(layers, table["reads"], label=r"width: coordinates of the map", **read)
        fan_in = {"color": FAN_IN, "marker": "o", "markersize": 3, "lw": 1.2}
        panel.plot(layers, table["n"], label=r"fan-in $n_\ell$: weights an output reads", **fan_in)
        alone = table["depthwise"].to_numpy()
        if alone.any():
            look = {"color": "#000000", "ls": "", "marker": "o", "markersize": 5, "zorder": 3}
            panel.plot(layers[alone], table["n"][alone], label="depthwise", **look)
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.set_title(name)
        panel.set_xlabel("layer")
    for row in panels:
        row[0].set_ylabel("number")
    found = [panel.get_legend_handles_labels() for panel in panels.flat[: len(tables)]]
    handles, labels = max(found, key=lambda pair: len(pair[1]))
    figure.tight_layout()
    if spare:
        spare[0].legend(handles, labels, frameon=False, loc="center")
    else:
        below = {"loc": "upper center", "ncols": 3, "bbox_to_anchor": (0.5, 0.0)}
        figure.legend(handles, labels, frameon=False, **below)
    return figure


def image_sizes(table: pd.DataFrame) -> Figure:
    """Bounds against the side of the image, from the same weights; a panel a network.

    Args:
        table: columns network, side, theorem, bound, log10.
    """
    networks = list(table["network"].unique())
    figure, panels = subplots(
        1, len(networks), figsize=(min(8.6, 4.3 * len(networks)), 3.5), squeeze=False
    )
    drawn = {("P2", "one norm for all layers"): None, ("T5", "mean form"): "T6, convolutional form"}
    for panel, network in zip(panels.flat, networks, strict=True):
        rows = table[table["network"] == network].set_index(["theorem", "bound"]).sort_index()
        for key, other in drawn.items():
            label, colour, marker = SERIES[key]
            theorem = rows.loc[("T6", "mean form")] if other else rows.loc[key]
            start = theorem["log10"].iloc[0]
            panel.plot(
                theorem["side"],
                theorem["log10"] - start,
                marker=marker,
                color=colour,
                label=other or label,
            )
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(rows["side"].unique()), sorted(rows["side"].unique()))
        panel.xaxis.set_minor_locator(NullLocator())
        decades(panel.yaxis)
        panel.set_title(title(network))
        panel.set_xlabel("side of the image, pixels")
    panels.flat[0].set_ylabel("bound / bound at the smallest side")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0.0)
    )
    return figure


def counting(table: pd.DataFrame) -> Figure:
    """Sum over layers of what an output reads, counted in three ways; a line a network.

    Args:
        table: a row a network, indexed by name; columns reads, without groups, n.
    """
    figure, panel = subplots(figsize=(8, 1.4 + 0.36 * len(table)))
    names = {
        "n": (r"$n$: $p_h p_w c\,/\,\mathrm{groups}$", FAN_IN, "o", 7),
        "without groups": (r"$p_h p_w c$", "#000000", "|", 14),
        "reads": ("dense: width of the map", READS, "s", 7),
    }
    positions = np.arange(len(table))[::-1]
    panel.hlines(positions, table["n"], table["reads"], color="#bbbbbb", lw=1.5, zorder=1)
    for column, (label, colour, marker, size) in names.items():
        look = {"color": colour, "marker": marker, "markersize": size, "mew": 2, "ls": ""}
        panel.plot(table[column], positions, label=label, **look)
    panel.set_xscale("log")
    panel.set_yticks(positions, [title(network) for network in table.index])
    panel.set_xlabel("sum over the layers")
    panel.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1))
    figure.tight_layout()
    return figure
