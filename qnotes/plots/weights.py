"""Figures of one network: its weights on a grid, its outputs, the norms of its layers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from qnotes.plots.style import subplots


def rounding(weights: np.ndarray, rounded: np.ndarray, *, scale: float) -> Figure:
    """Weights of one channel before and after rounding: the staircase, and the error it leaves."""
    figure, (stairs, saw) = subplots(1, 2, figsize=(9, 3.6))
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
    figure, (left, right) = subplots(1, 2, figsize=(9, 3.4), gridspec_kw={"width_ratios": [1, 2.6]})
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
    figure, panel = subplots(figsize=(8, 3.6))
    panel.bar(np.arange(1, len(norms) + 1), norms, color="#56B4E9", width=0.8)
    panel.axhline(mean, color="#0072B2", lw=2, label="mean, as in T5")
    panel.axhline(largest, color="#D55E00", lw=2, label="one norm for all layers, as in P2")
    panel.set_xlabel("layer")
    panel.set_ylabel(r"norm $\tilde r_\ell$")
    panel.grid(axis="x", visible=False)
    panel.legend(frameon=False, loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1))
    figure.tight_layout()
    return figure
