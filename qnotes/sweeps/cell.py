"""One cell of a sweep: quantize, bound, measure."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from threading import Lock

from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.observation import distances, outputs, random_inputs
from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds
from qnotes.propagation.profiles import Profile
from qnotes.quantization import quantize
from qnotes.sweeps.code import CODE
from qnotes.sweeps.grid import Cell
from qnotes.sweeps.reference import (
    Reference,
    digits_accuracy,
    in_precision,
    reference,
    some_digits,
)

MEASURED = "measured"

# torch.fx changes nn.Module while it traces, so two threads of a worker must not trace at once.
_one_at_a_time = Lock()


def attempt(cell: Cell, code: str) -> list[dict]:
    """The rows of a cell; where it fails, one row with the reason and no theorem.

    Args:
        cell: what to compute.
        code: `CODE` of the process that asks; another version here would mix two in one table.
    """
    if code != CODE:
        return [failure("this worker has other sources or versions than the sweep; update it")]
    with _one_at_a_time:
        try:
            return rows(cell)
        except QnotesError as error:
            return [failure(str(error))]
        except Exception as error:
            return [failure(f"{type(error).__name__}: {error}")]


def failure(reason: str) -> dict:
    """The row of a cell that failed."""
    return {"theorem": None, "bound": None, "log10": math.nan, "reason": reason}


def failed(found: list[dict]) -> bool:
    """Whether rows say that their cell failed."""
    return found[0]["theorem"] is None


def rows(cell: Cell) -> list[dict]:
    """A row for each bound and each measured error of a cell."""
    ours = reference(cell)
    quantized = quantize(ours.model, bits=cell.bits, **_options(cell, ours)).model
    measured = profile(ours.model, quantized, input_shape=ours.shape, radius=cell.radius)
    running = in_precision(quantized, cell.precision)
    shared = {
        "depth": measured.depth,
        "accuracy": digits_accuracy(running, cell),
        "reference_accuracy": ours.accuracy,
    }
    return [{**shared, **row} for row in (*_bounds(measured), *_errors(ours, running))]


def _bounds(measured: Profile) -> Iterator[dict]:
    for row in bounds(measured).itertuples():
        yield {
            "theorem": row.theorem,
            "bound": row.bound,
            "log10": row.log10,
            "reason": row.assumptions,
        }


def _errors(ours: Reference, quantized: nn.Module) -> Iterator[dict]:
    for kind, batch in ours.inputs.items():
        error = distances(ours.outputs[kind], outputs(quantized, batch)).max().item()
        log10 = math.log10(error) if error else -math.inf
        yield {"theorem": MEASURED, "bound": kind, "log10": log10, "reason": ""}


def _options(cell: Cell, ours: Reference) -> dict[str, object]:
    options = dict(cell.options)
    if "seed" in inspect.signature(quantize).parameters:
        options["seed"] = cell.seed
    if isinstance(options.get("calibration"), int):
        options["calibration"] = _calibration(cell, ours, options["calibration"])
    return options


def _calibration(cell: Cell, ours: Reference, count: int) -> Tensor:
    """Training images where the weights were trained on them and fit the radius, or random ones."""
    if cell.weights == "digits" and cell.radius >= 1:
        return some_digits("train", count, cell.seed)
    return random_inputs(ours.shape, count=count, radius=cell.radius, seed=cell.seed)
