"""Figures of chains: a residual block as a graph and as matrices, a network layer by layer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import MaxNLocator

from qnotes.plots.style import subplots, title
from qnotes.plots.ticks import plain_numbers
from qnotes.propagation.profiles import Profile

WEIGHTS, SKIP, STATE, SUM = "#56B4E9", "#E69F00", "#dddddd", "#009E73"
QUANTITIES = (
    ("width", r"width $N_\ell$"),
    ("fan_in", r"fan-in $n_\ell$"),
    ("norm", r"norm $r_\ell$"),
)
LOOKS = {
    "plain": ("#0072B2", "o"),
    "a skip connection joins": (SUM, "s"),
    "depthwise": ("#D55E00", "^"),
}


def block_graph(layers: list[str], skip: str | None = None, *, activated: bool = True) -> Figure:
    """A residual block twice: as people draw it, and as a chain whose state carries the input.

    Args:
        layers: what stands on the main path, first layer first, such as ``$W_1$``.
        skip: the projection on the skip connection; None for the identity.
        activated: whether an activation follows the sum.
    """
    figure, (top, bottom) = subplots(2, 1, figsize=(9, 4.2))
    _as_drawn(top, layers, skip, activated)
    _as_chain(bottom, layers, skip)
    top.set_title("the block", loc="left")
    bottom.set_title("the same block as a chain", loc="left")
    for panel in (top, bottom):
        panel.set_xlim(-0.6, 2 * len(layers) + 1.6)
        panel.set_axis_off()
    figure.tight_layout()
    return figure


def block_matrices(block: dict, names: dict[str, list[list[str]]]) -> Figure:
    """The two matrices of a residual block, entry by entry, with the names of their parts.

    Args:
        block: from `qnotes.studies.blocks.basic_block`.
        names: for ``inner`` and ``outer``, the names of the parts, a list for each row of parts.
    """
    figure, panels = subplots(
        1, 2, figsize=(9, 4.6), gridspec_kw={"width_ratios": [1, 1.5]}, layout="constrained"
    )
    limit = max(np.abs(block[key]).max() for key in ("inner", "outer")) * 0.6
    titles = {"inner": "first layer: $x$ to $(h, x)$", "outer": "last layer: $(h, x)$ to the sum"}
    for panel, key in zip(panels, ("inner", "outer"), strict=True):
        image = panel.imshow(block[key], cmap="PuOr", vmin=-limit, vmax=limit, aspect="equal")
        panel.set_title(titles[key])
        panel.set_xticks([])
        panel.set_yticks([])
        panel.grid(visible=False)
        _name_parts(panel, block[key].shape, block["hidden"], names[key])
    figure.colorbar(image, ax=panels, shrink=0.7, label="entry", extend="both")
    return figure


def along_chain(profiles: dict[str, Profile], kinds: dict[str, list[str]]) -> Figure:
    """Width, fan-in and norm of each layer of some chains, a column a network.

    Args:
        profiles: by network.
        kinds: for each network the kinds of its layers, from `qnotes.studies.blocks.kinds`.
    """
    figure, panels = subplots(
        3,
        len(profiles),
        figsize=(4.5 * len(profiles), 6.6),
        sharex="col",
        sharey="row",
        squeeze=False,
    )
    for column, (network, profile) in zip(panels.T, profiles.items(), strict=True):
        for panel, (attribute, label) in zip(column, QUANTITIES, strict=True):
            values = np.array([getattr(layer, attribute) for layer in profile.layers], dtype=float)
            _along(panel, values, kinds[network])
            panel.set_yscale("log")
            plain_numbers(panel.yaxis)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            if panel in panels[:, 0]:
                panel.set_ylabel(label)
        column[0].set_title(title(network))
        column[-1].set_xlabel(r"layer $\ell$ of the chain")
    found = {label: handle for panel in panels.flat for handle, label in _handles(panel)}
    figure.legend(
        found.values(),
        found.keys(),
        frameon=False,
        loc="upper center",
        ncols=len(found),
        bbox_to_anchor=(0.5, 0),
    )
    figure.tight_layout()
    return figure


def _along(panel: Axes, values: np.ndarray, kinds: list[str]) -> None:
    layers = np.arange(1, len(values) + 1)
    panel.plot(layers, values, color="#cccccc", lw=1, zorder=1)
    for kind, (colour, marker) in LOOKS.items():
        at = np.array([found == kind for found in kinds])
        if at.any():
            panel.plot(layers[at], values[at], marker, color=colour, markersize=5, label=kind)


def _handles(panel: Axes):
    return zip(*panel.get_legend_handles_labels(), strict=True)


def _as_drawn(panel: Axes, layers: list[str], skip: str | None, activated: bool) -> None:
    last = 2 * len(layers)
    for place, name in enumerate(layers):
        _box(panel, (2 * place + 1, 0), name, WEIGHTS)
        _arrow(panel, (2 * place, 0), (2 * place + 0.53, 0))
        if place:
            _arrow(panel, (2 * place - 0.55, 0), (2 * place - 0.13, 0))
            _dot(panel, (2 * place, 0), r"$\sigma$")
    _arrow(panel, (last - 0.55, 0), (last - 0.13, 0))
    _dot(panel, (last, 0), "+", SUM)
    _arrow(panel, (last + 0.1, 0), (last + 0.87, 0))
    _dot(panel, (last + 1, 0), r"$\sigma$" if activated else "$y$")
    _dot(panel, (-0.2, 0), "$x$")
    panel.plot([-0.2, -0.2, last, last], [0.25, 1, 1, 0.3], color=SKIP, lw=2)
    if skip:
        _box(panel, (last / 2, 1), skip, SKIP)
    else:
        panel.text(last / 2, 1.12, "identity", ha="center", fontsize=9.5)
    panel.set_ylim(-0.6, 1.5)


def _as_chain(panel: Axes, layers: list[str], skip: str | None) -> None:
    last = len(layers) - 1
    carried = [0.55 if place else 0 for place in range(len(layers))]
    for place, name in enumerate(layers):
        start, end = 2 * place, 2 * place + 2
        low = -0.55
        if place:
            _state(panel, (start, 0.55), "$x$", SKIP)
            _state(panel, (start, low), f"$h_{place}$" if len(layers) > 2 else "$h$", STATE)
        else:
            _state(panel, (start - 0.2, 0), "$x$", SKIP)
        begin = (start, low) if place else (start - 0.2, 0)
        target = (end + 0.27, 0) if place == last else (end - 0.13, low)
        _arrow(panel, begin, target)
        _label(panel, begin, target, name, WEIGHTS)
        begin = (start, carried[place]) if place else (start - 0.2, 0)
        target = (end + 0.27, 0) if place == last else (end - 0.13, 0.55)
        _arrow(panel, begin, target, SKIP)
        _label(panel, begin, target, (skip or "$I$") if place == last else "$I$", SKIP)
    _state(panel, (2 * last + 2.4, 0), "$y$", STATE)
    panel.set_ylim(-1.1, 1.1)


def _name_parts(panel: Axes, shape, hidden: int, names: list[list[str]]) -> None:
    rows = [0, hidden, shape[0]] if len(names) > 1 else [0, shape[0]]
    columns = [0, hidden, shape[1]] if len(names[0]) > 1 else [0, shape[1]]
    for line, (top, bottom) in enumerate(pairwise(rows)):
        for at, (left, right) in enumerate(pairwise(columns)):
            box = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, lw=1.5)
            panel.add_patch(box)
            place = (left + 0.78 * (right - left) - 0.5, top + 0.2 * (bottom - top) - 0.5)
            frame = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
            panel.text(*place, names[line][at], ha="center", va="center", fontsize=14, bbox=frame)


def _box(panel: Axes, place, text: str, colour: str) -> None:
    corner = (place[0] - 0.45, place[1] - 0.3)
    patch = FancyBboxPatch(corner, 0.9, 0.6, boxstyle="round,pad=0.02", facecolor=colour)
    panel.add_patch(patch)
    panel.text(*place, text, ha="center", va="center", fontsize=12)


def _dot(panel: Axes, place, text: str, colour: str = STATE) -> None:
    panel.plot(*place, "o", color=colour, markersize=22, zorder=3)
    panel.text(*place, text, ha="center", va="center", fontsize=12, zorder=4)


def _state(panel: Axes, place, text: str, colour: str) -> None:
    panel.plot(*place, "s", color=colour, markersize=24, zorder=3)
    panel.text(*place, text, ha="center", va="center", fontsize=12, zorder=4)


def _label(panel: Axes, start, end, text: str, colour: str) -> None:
    middle = (np.array(start) + end) / 2
    frame = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": "none"}
    panel.text(*middle, text, ha="center", va="center", fontsize=11, bbox=frame, zorder=3)


def _arrow(panel: Axes, start, end, colour: str = "#333333") -> None:
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", end, start, arrowprops=look, zorder=1)
