"""The range of a grid: how far it reaches, for each tensor, channel or group."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from qnotes.quantization.grid import Grid

CLIPS = ("minmax", "percentile", "mse")

#: Shares of the whole range that the search for the smallest squared error tries.
SHARES = tuple(1 - step / 100 for step in range(81))


def parts(rows: Tensor, granularity: str, group_size: int | None = None) -> list[Tensor]:
    """The blocks that get scales of their own, one for each row of a block.

    Args:
        rows: weights, a row for each channel.
        granularity: ``tensor``, ``channel`` or ``group``.
        group_size: columns of a group; the last group of a row may be shorter.
    """
    if granularity == "tensor":
        return [rows.reshape(1, -1)]
    return [rows] if granularity == "channel" else list(rows.split(group_size, dim=1))


def weight_range(
    blocks: list[Tensor], clip: str, *, symmetric: bool = True, percentile: float = 99.9
) -> tuple[Tensor, Tensor]:
    """Ends of the range of each row of each block, low ≤ 0 ≤ high, both of shape (rows, blocks).

    Args:
        blocks: from `parts`.
        clip: ``minmax``, the smallest and the largest weight; or ``percentile``.
        symmetric: take percentiles of absolute values, so that both ends are equally far.
        percentile: share of the weights, in percent, that lies inside. Nearest rank: the end is the
            smallest weight that at least so many are not beyond. On an affine grid the rest is
            split between the two ends.
    """
    ends = [
        _percentiles(b, percentile, symmetric) if clip == "percentile" else _ends(b) for b in blocks
    ]
    lows, highs = zip(*ends, strict=True)
    return torch.cat(lows, dim=1).clamp_max_(0), torch.cat(highs, dim=1).clamp_min_(0)


def smallest_squared_error(
    blocks: list[Tensor], make_grid: Callable[[Tensor, Tensor], Grid]
) -> tuple[Tensor, Tensor]:
    """For each row of each block the share of its whole range with the smallest squared error.

    Clipping the largest weights makes the steps of all others smaller. Tried are 100, 99, …, 20 per
    cent of the range, with weights rounded to nearest; of two equal ones the wider range wins, so
    the result is never worse than ``minmax``.

    Args:
        blocks: from `parts`.
        make_grid: a grid from the two ends of a range.
    """
    found = [_best_share(block, make_grid) for block in blocks]
    lows, highs = zip(*found, strict=True)
    return torch.cat(lows, dim=1), torch.cat(highs, dim=1)


def _best_share(block: Tensor, make_grid) -> tuple[Tensor, Tensor]:
    low, high = weight_range([block], "minmax")
    best = torch.ones_like(low)
    least = torch.full_like(low, torch.inf)
    for share in SHARES:
        grid = make_grid(share * low, share * high)
        change = grid.decode(grid.encode(block)) - block
        error = change.square().sum(1, keepdim=True)
        best = torch.where(error < least, share, best)
        least = torch.minimum(error, least)
    return best * low, best * high


def _ends(block: Tensor) -> tuple[Tensor, Tensor]:
    return block.amin(1, keepdim=True), block.amax(1, keepdim=True)


def _percentiles(block: Tensor, percentile: float, symmetric: bool) -> tuple[Tensor, Tensor]:
    if symmetric:
        largest = _rank(block.abs(), percentile / 100)
        return -largest, largest
    outside = (1 - percentile / 100) / 2
    return -_rank(-block, 1 - outside), _rank(block, 1 - outside)


def _rank(block: Tensor, share: float) -> Tensor:
    """The smallest entry of each row that at least this share of the row does not exceed."""
    columns = block.shape[1]
    # The product may exceed a whole number by rounding alone.
    rank = math.ceil(share * columns - 1e-9)
    return block.kthvalue(min(max(rank, 1), columns), dim=1, keepdim=True).values
