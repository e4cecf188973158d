"""Figures about norms: a box and its image, one function twice, norms and stretches of layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from qnotes.plots.style import decades, subplots, title
from qnotes.plots.ticks import plain_numbers

BLUE, SKY, GREEN, ORANGE, RED, GREY = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#999999",
)
SUMMARIES = {
    "largest": (RED, "s"),
    "mean": (BLUE, "o"),
    "geometric mean": (GREEN, "D"),
}


def box_image(matrix: np.ndarray) -> Figure:
    """The box [-1, 1]² and what a 2×2 matrix makes of it, inside the smallest box around that."""
    matrix = np.asarray(matrix, dtype=float)
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], dtype=float)
    norm = np.abs(matrix).sum(1).max()
    row = int(np.abs(matrix).sum(1).argmax())
    worst = np.where(matrix[row] < 0, -1.0, 1.0)
    figure, (left, right) = subplots(1, 2, figsize=(8.4, 4.1))
    _shape(left, corners, SKY, "box, radius 1")
    _shape(right, corners @ matrix.T, SKY, "its image")
    _shape(right, norm * corners, RED, f"box of radius {norm:g}", filled=False)
    for panel, point, name in ((left, worst, "$x$"), (right, matrix @ worst, "$Wx$")):
        panel.plot(*point, "o", color=RED, markersize=8, zorder=5)
        panel.annotate(name, point, xytext=(-30, -4), textcoords="offset points", fontsize=12)
        panel.axhline(0, color=GREY, lw=0.8)
        panel.axvline(0, color=GREY, lw=0.8)
        panel.set_aspect("equal")
        panel.set_xlim(-1.15 * norm, 1.15 * norm)
        panel.set_ylim(-1.15 * norm, 1.15 * norm)
        panel.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    left.set_xlabel("first input")
    left.set_ylabel("second input")
    right.set_xlabel("first output")
    right.set_ylabel("second output")
    figure.tight_layout()
    return figure


def parametrizations(networks: Sequence[dict], functions: pd.DataFrame) -> Figure:
    """Two small networks drawn as graphs, and the functions that they and their copies compute.

    Args:
        networks: a title and the lists ``inner``, ``bias``, ``outer`` of hidden weights, hidden
            biases and output weights each; one input, one output.
        functions: a column a function, indexed by x; columns that end in ``rounded`` are dashed.
    """
    figure, panels = subplots(
        1, 1 + len(networks), figsize=(9.4, 3.9), gridspec_kw={"width_ratios": [1, 1, 1.35]}
    )
    for panel, network in zip(panels, networks, strict=False):
        _graph(panel, network)
    looks = [("#333333", "-", 4), (BLUE, "--", 1.8), (RED, ":", 2.4)]
    for (name, values), (colour, line, width) in zip(functions.items(), looks, strict=True):
        panels[-1].plot(functions.index, values, line, color=colour, lw=width, label=name)
    panels[-1].set_xlabel("$x$")
    panels[-1].set_ylabel("output")
    panels[-1].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1))
    figure.tight_layout()
    return figure


def rescaling(table: pd.DataFrame, *, best: float) -> Figure:
    """Product of norms, and worst error after rounding, against the factor of one hidden unit.

    Args:
        table: indexed by the factor, with columns ``product`` and one column an error.
        best: the smallest product that any rescaling reaches.
    """
    figure, (left, right) = subplots(1, 2, figsize=(9, 3.6))
    left.plot(table.index, table["product"], color=BLUE, lw=2, label="product of norms")
    left.axhline(best, color=GREEN, ls="--", lw=1.5, label="path norm")
    left.set_ylabel(r"$\|W_1\| \cdot \|W_2\|$")
    left.legend(frameon=False)
    for column, colour in zip(table.columns[1:], (RED, ORANGE), strict=False):
        right.plot(table.index, table[column], color=colour, lw=1.5, label=column)
    right.set_ylabel("largest error on the box")
    right.legend(frameon=False)
    for panel in (left, right):
        panel.set_xscale("log", base=2)
        panel.axvline(1, color=GREY, lw=0.8)
        panel.set_xlabel(r"factor $\lambda$ of the first hidden unit")
        panel.set_yscale("log")
        plain_numbers(panel.yaxis)
    figure.tight_layout()
    return figure


def norms_by_network(table: pd.DataFrame) -> Figure:
    """Norms of all layers as dots, a column a network, and three summaries of each column.

    Args:
        table: columns network, ``weights``, ``with biases``; a row a layer.
    """
    networks = list(table["network"].unique())
    figure, panel = subplots(figsize=(max(6.5, 1.3 * len(networks) + 1.5), 4.2))
    spread = np.random.default_rng(0)
    for place, network in enumerate(networks):
        rows = table[table["network"] == network]
        for shift, column, colour in ((-0.2, "weights", SKY), (0.2, "with biases", ORANGE)):
            around = place + shift + spread.uniform(-0.09, 0.09, len(rows))
            name = column if place == 0 else None
            panel.plot(around, rows[column], ".", color=colour, markersize=5, label=name)
        for name, value in _summaries(rows["weights"]).items():
            colour, marker = SUMMARIES[name]
            label = f"{name}, weights" if place == 0 else None
            panel.plot(place, value, marker, color=colour, markersize=8, label=label, zorder=5)
    panel.set_yscale("log")
    plain_numbers(panel.yaxis)
    panel.set_xticks(range(len(networks)), [title(network) for network in networks])
    panel.set_xlim(-0.5, len(networks) - 0.5)
    panel.grid(axis="x", visible=False)
    panel.set_ylabel(r"norm of a layer")
    panel.legend(frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.1))
    figure.tight_layout()
    return figure


def stretch(tables: dict[str, pd.DataFrame]) -> Figure:
    """Norm of each layer with weights, and how far differences of inputs are really stretched.

    Args:
        tables: from `qnotes.studies.stretching.stretches`, by network; a panel each.
    """
    figure, panels = subplots(len(tables), 1, figsize=(8.6, 2.5 * len(tables) + 0.5), squeeze=False)
    for panel, (network, table) in zip(panels.flat, tables.items(), strict=True):
        layers = np.arange(1, len(table) + 1)
        panel.plot(layers, table["norm"], "_", color=BLUE, markersize=9, mew=2, label="norm")
        panel.vlines(layers, table["median"], table["norm"], color="#dddddd", lw=2)
        panel.plot(layers, table["largest"], "o", color=RED, markersize=4, label="largest stretch")
        panel.plot(layers, table["median"], "x", color="#333333", markersize=4, label="median")
        panel.set_yscale("log")
        plain_numbers(panel.yaxis)
        panel.set_title(title(network))
        panel.set_ylabel("stretch")
        panel.grid(axis="x", visible=False)
    panels.flat[-1].set_xlabel("layer with weights, in the order of the network")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0)
    )
    figure.tight_layout()
    return figure


def products(table: pd.DataFrame) -> Figure:
    """Decades of the product of norms and of the path norm, a pair of bars for each network."""
    figure, panel = subplots(figsize=(7, 3.6))
    places = np.arange(len(table))
    panel.bar(places - 0.2, table["product"], 0.38, color=BLUE, label="product of the norms")
    panel.bar(places + 0.2, table["path"], 0.38, color=GREEN, label="path norm")
    panel.set_xticks(places, [title(network) for network in table.index])
    panel.grid(axis="x", visible=False)
    decades(panel.yaxis)
    panel.set_ylabel("stretch of the whole chain")
    panel.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    return figure


def _summaries(values: pd.Series) -> dict[str, float]:
    geometric = float(np.exp(np.log(values).mean()))
    return {"largest": values.max(), "mean": values.mean(), "geometric mean": geometric}


def _shape(panel: Axes, corners, colour: str, label: str, *, filled: bool = True) -> None:
    look = {"facecolor": colour, "alpha": 0.45} if filled else {"facecolor": "none", "ls": "--"}
    panel.add_patch(Polygon(corners, edgecolor=colour, lw=2, label=label, **look))


def _graph(panel: Axes, network: dict) -> None:
    """One input, hidden units with their biases, one output; weights stand on the edges."""
    heights = np.linspace(1, -1, len(network["inner"]))
    for height, inner, bias, outer in zip(
        heights, network["inner"], network["bias"], network["outer"], strict=True
    ):
        for start, end, weight in (((0, 0), (1, height), inner), ((1, height), (2, 0), outer)):
            panel.plot(*zip(start, end, strict=True), color=GREY, lw=1 + abs(weight), zorder=1)
            middle = (np.array(start) + end) / 2
            _text(panel, middle, _number(weight), box="white")
        panel.plot(1, height, "o", color=SKY, markersize=26, zorder=2)
        _text(panel, (1, height), "ReLU", size=8)
        _text(panel, (1, height * 1.62), f"bias {_number(bias)}")
    for place, name in ((0, "$x$"), (2, "$y$")):
        panel.plot(place, 0, "o", color=ORANGE, markersize=22, zorder=2)
        _text(panel, (place, 0), name)
    panel.set_xlim(-0.3, 2.3)
    panel.set_ylim(-2, 2)
    panel.set_axis_off()
    panel.set_title(network["title"])


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _text(panel: Axes, place, text: str, *, size: float = 10, box: str | None = None) -> None:
    frame = {"facecolor": box, "edgecolor": "none", "pad": 1.5} if box else None
    panel.text(*place, text, ha="center", va="center", fontsize=size, bbox=frame, zorder=4)
