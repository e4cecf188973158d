"""Ticks of logarithmic axes."""

from __future__ import annotations

import math

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

STEPS = {1: (1, 2, 3, 5), 2: (1, 3)}


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, more of them where it spans few decades.

    To be called when everything is drawn.
    """
    low, high = axis.get_view_interval()
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = STEPS.get(math.ceil(math.log10(high / low)), (1,))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_formatter(NullFormatter())
