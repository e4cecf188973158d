"""One look for all figures: colours and markers of the theorems, decades, names in print."""

from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qnotes.experiments import MEASURED

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

#: A colour for each network, the same in all figures: darker is deeper, MobileNetV2 is warm.
NETWORKS = {
    **dict.fromkeys(("resnet20", "resnet18"), "#9AD0C2"),
    **dict.fromkeys(("resnet32", "resnet34"), "#5DB2AE"),
    **dict.fromkeys(("resnet44", "resnet50"), "#2E8A97"),
    **dict.fromkeys(("resnet56", "resnet101"), "#1F5F82"),
    **dict.fromkeys(("resnet110", "resnet152"), "#1B3358"),
    "mobilenet_v2_x0_25": "#F2A65A",
    "mobilenet_v2_x0_5": "#C8553D",
    "mobilenet_v2": "#C8553D",
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
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#dddddd",
        }
    )


def title(network: str) -> str:
    """The name of a network as people write it: ``resnet56`` is ResNet-56."""
    family, _, width = network.partition("_x")
    name = family.replace("resnet", "ResNet-").replace("mobilenet_v2", "MobileNetV2")
    return f"{name} ×{width.replace('_', '.')}" if width else name


def power_of_ten(log10: float) -> str:
    """A power of ten in running text, rounded to a whole exponent: 63.8 gives 10⁶⁴."""
    return "10" + str(round(log10)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def decades(axis) -> None:
    """Label an axis of decimal logarithms with the powers of ten that they stand for."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"$10^{{{value:.0f}}}$"))


def subplots(*args, **options):
    """A figure that pyplot does not show by itself; whoever asked for it does."""
    figure, panels = plt.subplots(*args, **options)
    plt.close(figure)
    return figure, panels
