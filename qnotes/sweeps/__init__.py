"""Sweeps: a grid of networks, schemes and widths as one table, on all cores or on a cluster."""

from qnotes.sweeps.cell import MEASURED
from qnotes.sweeps.describe import describe
from qnotes.sweeps.run import sweep

__all__ = ["MEASURED", "describe", "sweep"]
