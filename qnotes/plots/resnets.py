"""Figures of whole families of networks: norms against fan-in, bounds against depth, costs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qnotes.experiments import MEASURED
from qnotes.plots.style import NETWORKS, SERIES, decades, subplots, title
from qnotes.plots.ticks import plain_numbers

#: Markers by the size of the kernel: what a layer reads of each channel.
KERNELS = {"3×3": "s", "1×1": "^", "other": "o"}
#: Theorems in the figure of families; more lines than these would cover each other.
SHOWN = (
    ("P2", "one norm for all layers"),
    ("T5", "mean form"),
    ("T2", "recursion along the chain"),
)
#: What was measured, by the column ``bound``.
MARKERS = {
    "random inputs": SERIES[MEASURED, "random inputs"],
    "search": ("measured, worst input found", "#000000", "*"),
}


def norms_and_fan_ins(table: pd.DataFrame) -> Figure:
    """Norm of each layer against its fan-in, a panel a network, with a line of slope 1/2.

    Args:
        table: a row a layer, columns network, kernel (of `KERNELS`), fan_in, norm.
    """
    networks = list(table["network"].unique())
    figure, panels = subplots(
        len(networks), 1, figsize=(6.5, 3 * len(networks) + 0.6), sharex=True, squeeze=False
    )
    reach = np.array([table["fan_in"].min(), table["fan_in"].max()], dtype=float)
    level = np.median(table["norm"] / np.sqrt(table["fan_in"]))
    for panel, network in zip(panels.flat, networks, strict=True):
        layers = table[table["network"] == network]
        for kernel, marker in KERNELS.items():
            points = layers[layers["kernel"] == kernel]
            look = {"color": NETWORKS[network], "markeredgecolor": "#333333", "mew": 0.5}
            panel.plot(points["fan_in"], points["norm"], marker, ms=6, label=kernel, **look)
        panel.plot(reach, level * np.sqrt(reach), "--", color="#333333", lw=1, label="slope 1/2")
        panel.set(xscale="log", yscale="log", ylabel="norm of a layer", title=title(network))
        plain_numbers(panel.xaxis)
        plain_numbers(panel.yaxis)
    panels[-1, 0].set_xlabel("fan-in $n_\\ell$")
    _legend(figure, panels[0, 0], columns=4)
    return figure


def families(table: pd.DataFrame) -> Figure:
    """Bounds and measured errors against depth, a panel a group, lines that stay in a family.

    Args:
        table: columns group, family, depth, theorem, bound, log10.
    """
    groups = list(table["group"].unique())
    figure, panels = subplots(len(groups), 1, figsize=(6.5, 3.6 * len(groups)), squeeze=False)
    for panel, group in zip(panels.flat, groups, strict=True):
        rows = table[table["group"] == group]
        for name in SHOWN:
            label, colour, marker = SERIES[name]
            _by_family(panel, rows, name, label=label, color=colour, marker=marker)
        for bound, (label, colour, marker) in MARKERS.items():
            look = {"label": label, "color": colour, "marker": marker, "ls": "--"}
            _by_family(panel, rows, (MEASURED, bound), **look)
        panel.set(title=group, ylabel="error of the output", xlabel="depth $L$ (affine layers)")
        panel.set_xticks(sorted(rows["depth"].unique()))
        decades(panel.yaxis)
    _legend(figure, panels[0, 0], columns=2)
    return figure


def costs(table: pd.DataFrame, *, steps: Iterable[str]) -> Figure:
    """Seconds against the number of parameters, a line a step.

    Args:
        table: from `qnotes.studies.full_size.survey`, column network and one a step.
        steps: which columns to show, at most four.
    """
    figure, panel = subplots(figsize=(6.5, 4.2))
    table = table.sort_values("parameters")
    looks = zip(("#0072B2", "#E69F00", "#009E73", "#CC79A7"), "osDv", strict=True)
    for step, (colour, marker) in zip(steps, looks, strict=False):
        panel.plot(table["parameters"] / 1e6, table[step], marker + "-", color=colour, label=step)
    panel.set(xscale="log", yscale="log")
    panel.set(xlabel="parameters, millions", ylabel="seconds")
    plain_numbers(panel.xaxis)
    plain_numbers(panel.yaxis)
    _legend(figure, panel, columns=2)
    return figure


def _by_family(panel: Axes, rows: pd.DataFrame, name: tuple[str, str], **look) -> None:
    theorem, bound = name
    found = rows[(rows["theorem"] == theorem) & (rows["bound"] == bound)]
    for _, line in found.groupby("family", sort=False):
        line = line.sort_values("depth")
        panel.plot(line["depth"], line["log10"], markersize=6, **look)
        look["label"] = None  # one entry in the legend, however many families


def _legend(figure: Figure, panel: Axes, *, columns: int) -> None:
    handles, labels = panel.get_legend_handles_labels()
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    figure.legend(handles, labels, frameon=False, ncols=columns, **below)
    figure.tight_layout()
