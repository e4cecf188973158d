"""Rounding that looks at data: one walk along both networks, layer after layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, fx

from qnotes.errors import QnotesError
from qnotes.quantization.grid import Grid


def calibration_inputs(calibration: Tensor | Iterable | None, rounding: str) -> Tensor:
    """Calibration data as one tensor of shape (inputs, ...)."""
    raise QnotesError("not written yet")


def round_on_data(
    reference: fx.GraphModule,
    model: fx.GraphModule,
    grids: Mapping[str, Grid],
    inputs: Tensor,
    rounding: str,
    *,
    progress: bool,
) -> Iterator[tuple[str, Tensor]]:
    """Names and codes of the layers, one by one; the model is rounded on the way."""
    raise NotImplementedError
