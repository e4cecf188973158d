"""Rounding that looks at data: its inputs, and what they say of layer after layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from tqdm import tqdm

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE
from qnotes.networks.probing import plain
from qnotes.networks.tracing import check_finite
from qnotes.propagation.shapes import check_inputs, padding_of
from qnotes.propagation.values import watched
from qnotes.propagation.walk import Visit
from qnotes.quantization.data_roundings import FOLLOW_REFERENCE, better_codes
from qnotes.quantization.grids import Grid, rows

EXAMPLE = "for example qn.digits('train')[0][:256]"
#: Columns are made in batches of about this many numbers.
BLOCK = 1 << 20


def calibration_inputs(calibration: Tensor | Iterable | None, rounding: str) -> Tensor:
    """Calibration data, in any form that `quantize` takes, as one tensor of shape (inputs, ...)."""
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
    check_finite("calibration", {"inputs": plain("calibration", inputs)})
    return inputs.cpu()


def _joined(calibration: Iterable) -> Tensor:
    if not isinstance(calibration, Iterable):
        raise QnotesError(
            f"calibration is {type(calibration).__name__}; expected a tensor, an iterable of "
            f"tensors, or one of pairs of a tensor and labels, {EXAMPLE}"
        )
    batches = []
    for item in calibration:
        batch = item[0] if isinstance(item, tuple | list) and item else item
        if not isinstance(batch, Tensor) or batch.ndim == 0:
            raise QnotesError(
                f"calibration yields {type(batch).__name__}; expected batches as tensors of shape "
                f"(inputs, ...), or pairs of a batch and labels, {EXAMPLE}"
            )
        batches.append(batch)
    if not batches:
        raise QnotesError(f"calibration is empty; pass at least one batch, {EXAMPLE}")
    kinds = sorted({tuple(batch.shape[1:]) for batch in batches})
    if len(kinds) > 1:
        raise QnotesError(
            "calibration has inputs of the shapes "
            f"{' and '.join(map(str, kinds))}; expected one shape, without labels, {EXAMPLE}"
        )
    return torch.cat(batches)


def round_on_data(
    reference: fx.GraphModule,
    model: fx.GraphModule,
    grids: Mapping[str, Grid],
    inputs: Tensor,
    rounding: str,
    *,
    progress: bool,
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Names, codes and levels of the layers, one by one; see `better_codes`.

    A layer that is used several times is rounded at its first use, one that is never used to
    nearest. Whoever takes a layer's levels gives them to that layer of the model before taking the
    next, since later layers read what it makes of them.
    """
    check_inputs(reference, inputs)
    inputs = inputs.to(next(reference.parameters()))
    waiting = dict(grids)
    with tqdm(total=len(grids), desc=rounding, disable=not progress) as bar:
        for visit in watched(reference, inputs, model):
            name, layer = visit.operation.name, visit.operation.quantized
            if visit.operation.kind == AFFINE and name in waiting:
                grid, moments = waiting.pop(name), _moments(visit, rounding)
                codes = better_codes(rows(layer.weight), grid, *moments, rounding)
                yield name, codes, grid.decode(codes)
                bar.update()
    for name, grid in waiting.items():
        codes = grid.encode(rows(model.get_submodule(name).weight))
        yield name, codes, grid.decode(codes)


# -- moments: all that rounding needs to know of the data ------------------------------------------


def _moments(visit: Visit, rounding: str) -> tuple[Tensor, Tensor]:
    reads, reads_quantized = visit.reads[0]
    apart = [reads - reads_quantized] if rounding in FOLLOW_REFERENCE else []
    gram, *drifts = second_moments(visit.operation.quantized, reads_quantized, *apart)
    drift = drifts[0] if drifts else torch.zeros_like(gram)
    if not (gram.isfinite().all() and drift.isfinite().all()):
        raise QnotesError(
            f"{visit.operation.name}: squares of its inputs are too large for float64; use smaller "
            "calibration inputs"
        )
    return gram, drift


def second_moments(module: nn.Module, inputs: Tensor, *others: Tensor) -> list[Tensor]:
    """Sums of products of inputs with themselves, and with others, over all inputs and places.

    With `columns` as rows of matrices X and Y (a row for each place), these are XᵀX and one XᵀY for
    each other, float64, of shape (groups, fan-in, fan-in).
    """
    size = inputs[0].numel() * math.prod(getattr(module, "kernel_size", ()))
    count = max(1, BLOCK // size)
    totals: list[Tensor] = []
    for batch, *rest in zip(*(values.split(count) for values in (inputs, *others)), strict=True):
        own = columns(module, batch.double())
        found = [own @ own.mT, *(own @ columns(module, other.double()).mT for other in rest)]
        totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
    return totals


def columns(module: nn.Module, inputs: Tensor) -> Tensor:
    """What the rows of a layer's weight are multiplied with, of shape (groups, fan-in, places).

    A row of a convolution's weight, flattened, meets one patch of the image for each place of the
    output (im2col): with stride, dilation and zeros around the image as the layer has them. Without
    its bias, the output of a group of channels is `rows @ columns`.
    """
    if isinstance(module, nn.Linear):
        return inputs.mT[None]
    # Both sides of each axis, the last axis first; "same" puts the odd zero after.
    zeros = [s for both in reversed(padding_of(module)) for s in (both // 2, both - both // 2)]
    patches = F.pad(inputs, zeros)
    for axis, size in enumerate(module.kernel_size, start=2):
        dilation, stride = module.dilation[axis - 2], module.stride[axis - 2]
        patches = patches.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    # From (inputs, channels, *places, *kernel) to (channels, *kernel, inputs, *places).
    dimensions = len(module.kernel_size)
    places, kernel = range(2, 2 + dimensions), range(2 + dimensions, 2 + 2 * dimensions)
    fan_in = module.weight[0].numel()
    return patches.permute(1, *kernel, 0, *places).reshape(module.groups, fan_in, -1)
