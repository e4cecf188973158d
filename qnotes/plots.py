"""One look for all figures: a colour and a marker for each theorem, decades on the error axis."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qnotes.sweeping import MEASURED

# Okabe and Ito's colours, which the colour-blind can tell apart; markers tell them apart in print.
SERIES = {
    ("P1", "entrywise bound"): ("P1, entrywise", "#999999", "v"),
    ("P3", "path-metric corollary"): ("P3, path metric", "#CC79A7", "^"),
    ("P2", "one norm for all layers"): ("P2, one norm for all layers", "#D55E00", "s"),
    ("T5", "mean form"): ("T5, layerwise, mean form", "#0072B2", "o"),
    ("T5", "product form"): ("T5, layerwise, product form", "#56B4E9", "D"),
    ("T2", "recursion along the chain"): ("T2, recursion", "#009E73", "P"),
    (MEASURED, "random inputs"): ("measured, random inputs", "#E69F00", "x"),
    (MEASURED, "digits"): ("measured, digits", "#000000", "*"),
}
FACTORS = {"depth": "#009E73", "width": "#56B4E9", "norms": "#0072B2"}


def use_style() -> None:
    """Set the look of all figures that follow."""
    sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "savefig.bbox": "tight",
            "axes.titlesize": 11,
            "axes.labelsize": 10.5,
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "legend.fontsize": 9.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#dddddd",
        }
    )


def decades(axis) -> None:
    """Label an axis of decimal logarithms with the powers of ten that they stand for."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"$10^{{{value:.0f}}}$"))


def title(network: str) -> str:
    """The name of a network as people write it: ``resnet56`` is ResNet-56."""
    family, _, width = network.partition("_x")
    name = family.replace("resnet", "ResNet-").replace("mobilenet_v2", "MobileNetV2")
    return f"{name} ×{width.replace('_', '.')}" if width else name


def power_of_ten(log10: float) -> str:
    """A power of ten in running text, rounded to a whole exponent: 63.8 gives 10⁶⁴."""
    return "10" + str(round(log10)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def against_bits(table: pd.DataFrame, *, columns: int = 3) -> Figure:
    """Bounds and measured errors of each network against bit-width; table from `qnotes.sweep`."""
    networks = list(table["network"].unique())
    columns = min(columns, len(networks))
    rows = -(-len(networks) // columns)
    figure, panels = _subplots(
        rows, columns, figsize=(3.1 * columns, 2.9 * rows), sharey=True, squeeze=False
    )
    for panel, network in zip(panels.flat, networks, strict=False):
        _lines(panel, table[table["network"] == network], "bits")
        panel.set_title(title(network))
        panel.set_xticks(sorted(table["bits"].unique()))
    _finish(figure, panels, "bits per weight", len(networks))
    return figure


def against_depth(table: pd.DataFrame) -> Figure:
    """Bounds and measured errors against depth, one panel for each bit-width of the table."""
    widths = sorted(table["bits"].unique())
    figure, panels = _subplots(
        1, len(widths), figsize=(max(6.5, 3.6 * len(widths)), 4), sharey=True, squeeze=False
    )
    for panel, bits in zip(panels.flat, widths, strict=True):
        _lines(panel, table[table["bits"] == bits], "depth")
        panel.set_title(f"{bits} bits")
        panel.set_xticks(sorted(table["depth"].unique()))
    _finish(figure, panels, "depth $L$ (affine layers)", len(widths))
    return figure


def gain(table: pd.DataFrame) -> Figure:
    """Decades gained over P2 against depth, split into the factors of T7.

    Args:
        table: a row a network, indexed by depth, with the columns depth, width, norms (decades).
    """
    figure, panel = _subplots(figsize=(6.5, 4))
    positions = np.arange(len(table))
    base = np.zeros(len(table))
    for factor, colour in FACTORS.items():
        panel.bar(positions, table[factor], bottom=base, color=colour, label=factor, width=0.6)
        base = base + table[factor].to_numpy()
    for position, height in zip(positions, base, strict=True):
        panel.annotate(f"{height:.1f}", (position, height), ha="center", va="bottom", fontsize=9.5)
    panel.set_xticks(positions, [str(depth) for depth in table.index])
    panel.set_xlabel("depth $L$ (affine layers)")
    panel.set_ylabel("gain of T5 (mean form) over P2, decades")
    panel.grid(axis="x", visible=False)
    panel.legend(title="factor of T7", frameon=False)
    figure.tight_layout()
    return figure


def ladder(table: pd.DataFrame) -> Figure:
    """Every bound as a rung above the measured error, one column of rungs for each network."""
    networks = list(table["network"].unique())
    figure, panel = _subplots(figsize=(8, 4.6))
    for position, network in enumerate(networks):
        rungs = table[table["network"] == network]
        for (theorem, bound), (_, colour, marker) in SERIES.items():
            height = rungs[(rungs["theorem"] == theorem) & (rungs["bound"] == bound)]["log10"]
            if theorem != "P1" and len(height):
                panel.plot(position, height.iloc[0], marker, color=colour, markersize=8)
                panel.hlines(height.iloc[0], position - 0.3, position + 0.3, color=colour, lw=2)
    for (theorem, _), (label, colour, marker) in SERIES.items():
        if theorem != "P1" and (table["theorem"] == theorem).any():
            panel.plot([], [], marker + "-", color=colour, label=label, lw=2)
    panel.set_xticks(range(len(networks)), [title(network) for network in networks])
    panel.set_xlim(-0.5, len(networks) - 0.5)
    panel.grid(axis="x", visible=False)
    panel.set_ylabel("error of the output")
    decades(panel.yaxis)
    panel.legend(frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.1))
    figure.tight_layout()
    return figure


def rounding(weights: np.ndarray, rounded: np.ndarray, *, scale: float) -> Figure:
    """Weights of one channel before and after rounding: the staircase, and the error it leaves."""
    figure, (stairs, saw) = _subplots(1, 2, figsize=(9, 3.6))
    order = np.argsort(weights.ravel())
    before, after = weights.ravel()[order], rounded.ravel()[order]
    reach = 1.08 * np.abs(before).max()
    fine = np.linspace(-reach, reach, 2000)
    stairs.plot(fine, np.round(fine / scale) * scale, color="#56B4E9", lw=1.5, label="grid")
    stairs.plot(before, after, "o", color="#0072B2", markersize=4, label="weights")
    stairs.plot(fine, fine, ":", color="#999999", lw=1, label="no rounding")
    stairs.set_xlabel("weight before")
    stairs.set_ylabel("weight after")
    stairs.legend(frameon=False, loc="upper left")
    saw.plot(before, before - after, "o", color="#D55E00", markersize=4)
    for side in (-1, 1):
        saw.axhline(side * scale / 2, color="#333333", ls="--", lw=1)
    saw.annotate("half a step", (0.02, 0.93), xycoords="axes fraction", fontsize=9.5)
    saw.set_ylim(-0.62 * scale, 0.62 * scale)
    saw.set_xlabel("weight before")
    saw.set_ylabel("rounding error")
    figure.tight_layout()
    return figure


def image_and_outputs(image: np.ndarray, outputs: pd.DataFrame) -> Figure:
    """An image, and the outputs of the networks that look at it.

    Args:
        image: of shape (height, width).
        outputs: a row a class, a column a network.
    """
    figure, (left, right) = _subplots(
        1, 2, figsize=(9, 3.4), gridspec_kw={"width_ratios": [1, 2.6]}
    )
    left.imshow(image, cmap="gray")
    left.set_axis_off()
    colours = sns.color_palette("viridis", outputs.shape[1])
    outputs.plot.bar(ax=right, width=0.8, rot=0, color=colours)
    right.axhline(0, color="#333333", lw=0.8)
    right.set_xlabel("class")
    right.set_ylabel("output")
    right.grid(axis="x", visible=False)
    right.legend(frameon=False, ncols=2)
    figure.tight_layout()
    return figure


def layer_norms(norms: np.ndarray, *, mean: float, largest: float) -> Figure:
    """Norm of each layer of a chain, beside the mean that T5 uses and the maximum that P2 uses."""
    figure, panel = _subplots(figsize=(8, 3.6))
    panel.bar(np.arange(1, len(norms) + 1), norms, color="#56B4E9", width=0.8)
    panel.axhline(mean, color="#0072B2", lw=2, label="mean, as in T5")
    panel.axhline(largest, color="#D55E00", lw=2, label="one norm for all layers, as in P2")
    panel.set_xlabel("layer")
    panel.set_ylabel(r"norm $\tilde r_\ell$")
    panel.grid(axis="x", visible=False)
    panel.legend(frameon=False, loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1))
    figure.tight_layout()
    return figure


def _subplots(*args, **options):
    """A figure that pyplot does not show by itself; whoever asked for it does."""
    figure, panels = plt.subplots(*args, **options)
    plt.close(figure)
    return figure, panels


def _lines(panel: Axes, table: pd.DataFrame, x: str) -> None:
    for (theorem, bound), (label, colour, marker) in SERIES.items():
        line = table[(table["theorem"] == theorem) & (table["bound"] == bound)].sort_values(x)
        # P1 lies so far above that the other lines would fall together.
        if len(line) and theorem != "P1":
            look = {"ls": "--" if theorem == MEASURED else "-", "color": colour, "marker": marker}
            panel.plot(line[x], line["log10"], markersize=5, label=label, **look)
    decades(panel.yaxis)


def _finish(figure: Figure, panels: np.ndarray, x_label: str, used: int) -> None:
    handles, labels = panels.flat[0].get_legend_handles_labels()
    for spare in panels.flat[used:]:
        spare.set_visible(False)
    for panel in panels.flat[:used]:
        panel.set_xlabel(x_label)
    for row in panels:
        row[0].set_ylabel("error of the output")
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0.0)
    )
    figure.tight_layout()
