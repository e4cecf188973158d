"""One look for all figures: style, colours of bounds and networks, axes of decades, names in print.

A figure that one chapter shows is drawn in that chapter; here is what several of them share.
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

# Okabe and Ito's colours, which the colour-blind can tell apart.
BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
RED, PINK, YELLOW, GREY, BLACK = "#D55E00", "#CC79A7", "#F0E442", "#999999", "#333333"

THIN = "\u202f"  # a thin space that does not break, between thousands

#: Label, colour and marker of each bound, by (theorem, bound): markers tell them apart in print.
SERIES = {
    ("P1", "entrywise bound"): ("P1, entrywise", GREY, "v"),
    ("P3", "path-metric corollary"): ("P3, path metric", PINK, "^"),
    ("P2", "one norm for all layers"): ("P2, one norm for all layers", RED, "s"),
    ("T5", "mean form"): ("T5, layerwise, mean form", BLUE, "o"),
    ("T5", "product form"): ("T5, layerwise, product form", SKY, "D"),
    ("T2", "recursion along the chain"): ("T2, recursion", GREEN, "P"),
    ("measured", "random inputs"): ("measured, random inputs", ORANGE, "x"),
    ("measured", "digits"): ("measured, digits", "#000000", "*"),
    ("measured", "photographs"): ("measured, photographs", "#000000", "p"),
}

#: The same for bounds that keep what a profile does not have, by method of `qnotes.certify`.
CERTIFIED = {
    "channels": ("T8, a number a channel", YELLOW, "X"),
    "intervals": ("T10, intervals with signs", GREY, "d"),
    "euclidean": ("T11, Euclidean norms", "#44AA99", "<"),
    "ellipsoids": ("T14, ellipsoids", "#332288", ">"),
}

#: A colour for each network, the same in all figures: darker is deeper, MobileNetV2 is warm.
NETWORKS = {
    **dict.fromkeys(("resnet20", "resnet18"), "#9AD0C2"),
    **dict.fromkeys(("resnet32", "resnet34"), "#5DB2AE"),
    **dict.fromkeys(("resnet44", "resnet50"), "#2E8A97"),
    **dict.fromkeys(("resnet56", "resnet101"), "#1F5F82"),
    **dict.fromkeys(("resnet110", "resnet152"), "#1B3358"),
    "mobilenet_v2_x0_25": "#F2A65A",
    "mobilenet_v2_x0_5": "#C8553D",
    **dict.fromkeys(("mobilenet_v2", "mobilenet_v2_features"), "#C8553D"),
    "efficientnet_lite0": "#7B3F61",
}

#: Names in print that their letters do not give.
TITLES = {
    "mobilenet_v2_features": "MobileNetV2",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "imagenet": "ImageNet",
}


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
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#dddddd",
        }
    )


def title(network: str) -> str:
    """The name of a network as people write it, or of weights: ``resnet56`` is ResNet-56."""
    if network in TITLES:
        return TITLES[network]
    family, _, width = network.partition("_x")
    name = family.replace("resnet", "ResNet-").replace("mobilenet_v2", "MobileNetV2")
    return f"{name} ×{width.replace('_', '.')}" if width else name


def power_of_ten(log10: float) -> str:
    """A power of ten in running text, rounded to a whole exponent: 63.8 gives 10⁶⁴."""
    return "10" + str(round(log10)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def decades(axis: Axis) -> None:
    """Label an axis of decimal logarithms with the powers of ten that they stand for."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"$10^{{{value:.0f}}}$"))


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, more of them where it spans few decades.

    Faint lines between them, closer and closer, say that the axis is logarithmic. To be called
    when everything is drawn.
    """
    low, high = axis.get_view_interval()
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = {1: (1, 2, 3, 5), 2: (1, 3)}.get(math.ceil(math.log10(high / low)), (1,))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.7g}".replace(",", THIN)))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axis.set_minor_formatter(NullFormatter())
    axis.grid(visible=True, which="minor", color="#eeeeee", linewidth=0.6)


def legend_below(figure: Figure, panel: Axes, *, columns: int = 3) -> None:
    """One legend for all panels, below them; its entries are those of one panel."""
    figure.tight_layout()
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, 0.0), frameon=False
    )


def lines(panel: Axes, table: pd.DataFrame, x: str) -> None:
    """Bounds and measured errors of one network against a column of its sweep; without P1.

    P1 lies so far above that the other lines would fall together. The table is that of
    `qnotes.sweep`, and x one of its columns, such as ``bits`` or ``depth``.
    """
    for (theorem, bound), (label, colour, marker) in SERIES.items():
        line = table[(table["theorem"] == theorem) & (table["bound"] == bound)].sort_values(x)
        if len(line) and theorem != "P1":
            look = {"ls": "--" if theorem == "measured" else "-", "color": colour, "marker": marker}
            panel.plot(line[x], line["log10"], markersize=5, label=label, **look)
    decades(panel.yaxis)


def ladder(panel: Axes, table: pd.DataFrame) -> None:
    """Every bound as a rung above the measured error, a column of rungs for each network.

    The table is that of `qnotes.sweep`, with one bit-width for each network with its weights.
    """
    shown = {key: look for key, look in SERIES.items() if key[0] != "P1"}
    columns = list(table.groupby(["network", "weights"], sort=False).groups)
    rungs = table.set_index(["theorem", "bound", "network", "weights"])["log10"]
    for key, (label, colour, marker) in shown.items():
        heights = [rungs.get((*key, *column), math.nan) for column in columns]
        if all(map(math.isnan, heights)):
            continue
        panel.plot(heights, marker, color=colour, markersize=8)
        panel.hlines(
            heights,
            [place - 0.3 for place in range(len(columns))],
            [place + 0.3 for place in range(len(columns))],
            color=colour,
            lw=2,
        )
        panel.plot([], [], marker + "-", color=colour, label=label, lw=2)
    names = [(title(network).replace("-Lite", "-\nLite"), title(w)) for network, w in columns]
    labels = [f"{name}\n({weights})" for name, weights in names]
    panel.set_xticks(range(len(columns)), labels, fontsize=8)
    panel.set_xlim(-0.5, len(columns) - 0.5)
    panel.grid(axis="x", visible=False)
    panel.set_ylabel("error of the output")
    decades(panel.yaxis)
