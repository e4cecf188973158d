"""Reading two sets of weights: once, in blocks, with absolute values taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE, Operation
from qnotes.networks.tracing import check_finite

#: Weights in a block: few enough for the processor's cache, and enough to outweigh each call.
BLOCK = 1 << 17


def absolute_blocks(ours: Tensor, theirs: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """|W|, |W'| and |W - W'| in float64, some rows at a time.

    W - W' is rounded once where the weights are float64, and exact where both are float32.

    Yields:
        Which rows, and the three matrices (3, rows, weights of a row), overwritten by the next.
    """
    ours, theirs = ours.detach().flatten(1), theirs.detach().flatten(1)
    rows = max(1, BLOCK // ours.shape[1])
    # Made once: new memory costs more than the arithmetic in it.
    space = torch.empty(3, min(rows, len(ours)), ours.shape[1], dtype=torch.float64)
    for first in range(0, len(ours), rows):
        which = slice(first, min(first + rows, len(ours)))
        block = space[:, : which.stop - first]
        block[0], block[1] = ours[which], theirs[which]
        torch.sub(block[0], block[1], out=block[2])
        yield which, block.abs_()


def bias_of(module: nn.Module) -> Tensor:
    """The bias of a layer in float64; zeros where it has none."""
    if module.bias is None:
        return torch.zeros(len(module.weight), dtype=torch.float64)
    return module.bias.detach().double()


def check_weights(operations: Iterable[Operation]) -> None:
    """Refuse weights and biases of both networks that are NaN or infinite, by the layer's name."""
    for layer in (operation for operation in operations if operation.kind == AFFINE):
        for of, module in (("", layer.module), ("quantized: ", layer.quantized)):
            check_finite(of + layer.name, {"weight": module.weight, "bias": module.bias})


def check_sums(names: str, layers: Iterable[Operation], sums: Iterable[Tensor]) -> None:
    """Refuse weights and biases whose sums are not finite; these say it at no cost.

    Raises:
        QnotesError: names the layer, and what of it is NaN or infinite; or says that finite weights
            have sums too large for float64.
    """
    if all(total.isfinite().all() for total in sums):
        return
    check_weights(layers)
    raise QnotesError(f"{names}: a row sum of its weights is too large for float64")
