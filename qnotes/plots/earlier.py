"""Figures of the chapter on earlier bounds: what each factor of a bound costs, in decades."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qnotes.plots.style import SERIES, subplots, title

PARTS = {
    "depth": ("depth", {"color": "#009E73"}),
    "fan_in": ("width, as far as one output reads", {"color": "#56B4E9"}),
    "map": (
        "width, the rest of the map",
        {"color": "white", "edgecolor": "#56B4E9", "hatch": "////"},
    ),
    "norms": ("power of the norm", {"color": "#0072B2"}),
}


def stacked_factors(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """P1, and beside it P2 and P3, as bars that start at ε and end at the bound.

    Args:
        tables: for each network a row a bound (its number), with the columns domain, rounding and
            those of `PARTS`, in decades.
    """
    figure, (left, right) = subplots(
        1, 2, figsize=(9, 1.6 + 0.72 * len(tables)), gridspec_kw={"width_ratios": [1, 1.15]}
    )
    for panel, numbers in ((left, ["P1"]), (right, ["P2", "P3"])):
        rows = pd.concat({title(name): table.loc[numbers] for name, table in tables.items()})
        _bars(panel, rows, gap=len(numbers) > 1)
        panel.set_title(" and ".join(numbers))
        panel.set_xlabel("decades (powers of ten)")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0.0)
    )
    figure.tight_layout()
    return figure


def _bars(panel: Axes, rows: pd.DataFrame, *, gap: bool) -> None:
    """A bar a row of (network, number); with `gap`, those of a network stand together."""
    networks = rows.index.get_level_values(0)
    places = np.arange(len(rows)) + 0.6 * gap * pd.factorize(networks)[0]
    left = (rows["rounding"] + rows["domain"]).to_numpy()
    for part, (label, look) in PARTS.items():
        panel.barh(places, rows[part], left=left, label=label, lw=0.8, height=0.75, **look)
        left = left + rows[part].to_numpy()
    for place, end in zip(places, left, strict=True):
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "size": 9.5}
        panel.annotate(f"{end:.1f}", (end, place), **beside)
    labels = [number for _, number in rows.index] if gap else list(networks)
    panel.set_yticks(places, labels)
    panel.invert_yaxis()
    panel.axvline(0, color="#333333", lw=0.8)
    panel.set_xlim(min(-5, rows["rounding"].min() - 1), 1.2 * left.max())
    panel.grid(axis="y", visible=False)


def norms_and_constant(norms: np.ndarray, constant: float, *, rows: float) -> Figure:
    """The norm of each layer between what P2 (one r) and P1 (a full row of R) put in its place.

    Args:
        norms: r_ℓ of each layer.
        constant: r, for all layers.
        rows: what P1 puts in its place, (W+1) R.
    """
    figure, panel = subplots(figsize=(8, 3.6))
    layers = np.arange(1, len(norms) + 1)
    grey, orange = (
        SERIES[key][1] for key in (("P1", "entrywise bound"), ("P2", "one norm for all layers"))
    )
    panel.axhline(rows, color=grey, lw=2, label="P1: a full row of $R$")
    panel.axhline(constant, color=orange, lw=2, label="P2: one $r$ for all")
    panel.plot(layers, norms, "o", color="#0072B2", markersize=5, label="the layer's own $r_\\ell$")
    panel.axhline(1, color="#333333", lw=1, ls=":")
    panel.set_yscale("log")
    panel.set_xlabel("layer")
    panel.set_ylabel("factor for one layer")
    panel.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.tight_layout()
    return figure
