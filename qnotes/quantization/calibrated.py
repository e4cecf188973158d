"""Rounding that looks at data: layer after layer, never worse than to nearest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, fx
from tqdm.auto import tqdm

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE
from qnotes.networks.tracing import check_finite
from qnotes.propagation.shapes import check_inputs
from qnotes.propagation.values import watched
from qnotes.propagation.walk import Visit
from qnotes.quantization.adaptive import adaptive
from qnotes.quantization.gpfq import gpfq
from qnotes.quantization.gptq import gptq
from qnotes.quantization.grid import Grid
from qnotes.quantization.layer import rows
from qnotes.quantization.moments import second_moments
from qnotes.quantization.problem import RoundingProblem

METHODS: dict[str, Callable[[RoundingProblem], Tensor]] = {
    "adaptive": adaptive,
    "gptq": gptq,
    "gpfq": gpfq,
}
#: Methods that compare with the output of the reference, X w; the others with X̃ w.
FOLLOW_REFERENCE = ("adaptive", "gpfq")

EXAMPLE = "for example qn.digits('train')[0][:256]"


def calibration_inputs(calibration: Tensor | Iterable | None, rounding: str) -> Tensor:
    """Calibration data as one tensor of shape (inputs, ...).

    Args:
        calibration: such a tensor; an iterable of such batches; or one of pairs (batch, labels),
            such as a DataLoader.
        rounding: what it is for.
    """
    if calibration is None:
        raise QnotesError(f"rounding={rounding!r} looks at data: pass calibration=, {EXAMPLE}")
    inputs = calibration if isinstance(calibration, Tensor) else _joined(calibration)
    if inputs.ndim < 2 or not inputs.numel():
        raise QnotesError(
            f"calibration has the shape {tuple(inputs.shape)}; expected at least one input, with "
            f"the batch dimension first, {EXAMPLE}"
        )
    if not inputs.is_floating_point():
        raise QnotesError(
            f"calibration holds {inputs.dtype}; expected floating point numbers as the network "
            "reads them"
        )
    check_finite("calibration", {"inputs": inputs})
    return inputs


def _joined(calibration: Iterable) -> Tensor:
    if not isinstance(calibration, Iterable):
        raise QnotesError(
            f"calibration is {type(calibration).__name__}; expected a tensor, an iterable of "
            f"tensors, or one of pairs of a tensor and labels, {EXAMPLE}"
        )
    batches = [_batch(item) for item in calibration]
    if not batches:
        raise QnotesError(f"calibration is empty; pass at least one batch, {EXAMPLE}")
    kinds = sorted({tuple(batch.shape[1:]) for batch in batches})
    if len(kinds) > 1:
        raise QnotesError(
            "calibration has inputs of the shapes "
            f"{' and '.join(map(str, kinds))}; expected one shape, without labels, {EXAMPLE}"
        )
    return torch.cat(batches)


def _batch(item: object) -> Tensor:
    batch = item[0] if isinstance(item, tuple | list) and item else item
    if not isinstance(batch, Tensor) or batch.ndim == 0:
        raise QnotesError(
            f"calibration yields {type(batch).__name__}; expected batches as tensors of shape "
            f"(inputs, ...), or pairs of a batch and labels, {EXAMPLE}"
        )
    return batch


def round_on_data(
    reference: fx.GraphModule,
    model: fx.GraphModule,
    grids: Mapping[str, Grid],
    inputs: Tensor,
    rounding: str,
    *,
    progress: bool,
) -> Iterator[tuple[str, Tensor]]:
    """Names and codes of the layers, one by one.

    Given the grid, the rows of a layer do not depend on each other. So for each row the better of
    two is kept: what the method finds, or the nearest levels. No method is worse than rounding to
    nearest on what it makes small: ‖X w - X̃ q‖² for ``adaptive`` and ``gpfq``, ‖X̃ (w - q)‖² for
    ``gptq``, X what the layer reads in the reference and X̃ what it reads here. For the output of
    the network that is no theorem.

    A layer that is used several times is rounded at its first use, one that is never used to
    nearest.

    Args:
        reference: the network.
        model: its copy. Whoever takes a layer's codes gives the layer its levels before taking the
            next, since later layers read what it makes of them.
        grids: of all layers.
        inputs: calibration data, of shape (inputs, ...).
        rounding: one of `METHODS`.
        progress: show a bar over layers.
    """
    check_inputs(reference, inputs)
    inputs = inputs.to(next(reference.parameters()))
    waiting = dict(grids)
    with tqdm(total=len(grids), desc=rounding, disable=not progress) as bar:
        for visit in watched(reference, inputs, model):
            name = visit.operation.name
            if visit.operation.kind == AFFINE and name in waiting:
                yield name, _codes(visit, waiting.pop(name), rounding)
                bar.update()
    for name, grid in waiting.items():
        yield name, grid.encode(rows(model.get_submodule(name).weight))


def _codes(visit: Visit, grid: Grid, rounding: str) -> Tensor:
    """Codes of a layer: row by row those of the method, or of nearest if they are better."""
    weight = rows(visit.operation.quantized.weight)
    problem = RoundingProblem.of(weight, grid, *_moments(visit, rounding))
    levels = METHODS[rounding](problem).view(weight.shape)
    candidate = grid.encode(levels)
    nearest = grid.encode(weight)
    better = _objective(problem, grid, candidate) < _objective(problem, grid, nearest)
    return torch.where(better, candidate, nearest)


def _moments(visit: Visit, rounding: str) -> tuple[Tensor, Tensor]:
    (reads, reads_quantized), layer = visit.reads[0], visit.operation.quantized
    if rounding in FOLLOW_REFERENCE:
        gram, drift = second_moments(layer, reads_quantized, reads - reads_quantized)
    else:
        (gram,) = second_moments(layer, reads_quantized)
        drift = torch.zeros_like(gram)
    if not (gram.isfinite().all() and drift.isfinite().all()):
        raise QnotesError(
            f"{visit.operation.name}: squares of its inputs are too large for float64; use smaller "
            "calibration inputs"
        )
    return gram, drift


def _objective(problem: RoundingProblem, grid: Grid, codes: Tensor) -> Tensor:
    """The objective of what is really stored, a row for each channel."""
    levels = grid.decode(codes).double().view(problem.weight.shape)
    return problem.objective(levels).view(-1, 1)
