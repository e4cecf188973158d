"""Grids whose levels are not equally spaced: powers of two, and a codebook found by k-means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qnotes.quantization.grid import Grid, code_dtype
from qnotes.quantization.ranges import parts

#: Most rounds of k-means; it stops as soon as no centre moves.
ROUNDS = 100


@dataclass(frozen=True)
class Log2Grid(Grid):
    """The levels 0 and ± scale · 2^(|code| - qmax): each is half of the next.

    A product with a level is a shift of bits. Near zero the levels are dense, near the ends a
    weight moves by up to a third of its own size (Miyashita, Lee and Murmann 2016,
    arXiv:1603.01025). The scale is the largest absolute weight.
    """

    def encode(self, rows: Tensor, rounding: object = None) -> Tensor:
        """Codes of the nearest levels; a tie goes to the level that is larger in size.

        Only between zero and the smallest level a tie goes to zero.
        """
        size = rows.abs() / self.spread(self.scale, rows.shape[1])
        fraction, exponent = torch.frexp(size)  # size = fraction · 2^exponent
        nearest = exponent - (fraction < 0.75).to(exponent.dtype)
        codes = (nearest + self.qmax).clamp(1, self.qmax)
        smallest = torch.ldexp(torch.ones_like(size), torch.tensor(-self.qmax))
        codes = torch.where(size > smallest, codes, torch.zeros_like(codes))
        return (codes * rows.sign()).to(code_dtype(self.qmin, self.qmax))

    def decode(self, codes: Tensor) -> Tensor:
        """The levels of codes, in the precision of the scale."""
        scale = self.spread(self.scale, codes.shape[1])
        exponent = codes.abs().to(torch.int32) - self.qmax
        return scale * torch.ldexp(codes.sign().to(scale.dtype), exponent)

    @property
    def reach(self) -> tuple[Tensor, Tensor]:
        """The first and the last level: the range that the grid was made for."""
        return -self.scale, self.scale


def log2_grid(low: Tensor, high: Tensor, bits: int) -> Log2Grid:
    """The grid of powers of two that reaches max(-low, high); codes in [-q, q], q = 2^(bits-1) - 1.

    Args:
        low: smallest weight of each row or group, not above 0.
        high: largest weight of each row or group, not below 0.
        bits: width of a code, at least 2.
    """
    q = 2 ** (bits - 1) - 1
    largest = torch.maximum(-low, high)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest)
    return Log2Grid(scale, torch.zeros_like(scale), -q, q)


@dataclass(frozen=True)
class Codebook:
    """Levels that are listed; a code is the number of a level, in rising order.

    Attributes:
        levels: of shape (1, 1, levels), (rows, 1, levels) or (rows, groups, levels), sorted.
        group_size: columns of a group; None without groups.
    """

    levels: Tensor
    group_size: int | None = None

    qmin = 0
    scale = None
    zero_point = None

    @property
    def qmax(self) -> int:
        """Number of the last level."""
        return self.levels.shape[2] - 1

    def encode(self, rows: Tensor, rounding: object = None) -> Tensor:
        """Numbers of the nearest levels; a tie goes to the smaller level."""
        codes = [
            _nearest(levels, part).reshape(len(rows), -1)
            for levels, part in zip(self._parts(), self._split(rows), strict=True)
        ]
        return torch.cat(codes, dim=1).to(code_dtype(self.qmin, self.qmax))

    def decode(self, codes: Tensor) -> Tensor:
        """The levels of codes."""
        found = [
            levels.gather(1, part.long()).reshape(len(codes), -1)
            for levels, part in zip(self._parts(), self._split(codes), strict=True)
        ]
        return torch.cat(found, dim=1)

    def of_rows(self, part: slice) -> Codebook:
        """The codebooks of some of the rows."""
        return self if len(self.levels) == 1 else replace(self, levels=self.levels[part])

    @property
    def reach(self) -> tuple[Tensor, Tensor]:
        """Everything: the outer levels are means of the weights that they stand for."""
        return torch.tensor(-torch.inf), torch.tensor(torch.inf)

    def _parts(self) -> list[Tensor]:
        return [part[:, 0] for part in self.levels.split(1, dim=1)]

    def _split(self, rows: Tensor) -> list[Tensor]:
        if len(self.levels) == 1:
            return [rows.reshape(1, -1)]
        return [rows] if self.group_size is None else list(rows.split(self.group_size, dim=1))


def kmeans_codebook(rows: Tensor, bits: int, granularity: str, group_size: int | None) -> Codebook:
    """At most 2^bits levels for each part, with a small sum of squared changes (k-means).

    Lloyd's iteration in one dimension, from equally spaced centres between the smallest and the
    largest weight, which keeps the few large weights in view (Han, Mao and Dally 2016,
    arXiv:1510.00149, section 3.2). A centre without weights stays where it is. The result is a
    local optimum.

    Args:
        rows: weights, a row for each channel.
        bits: width of a code, at least 1.
        granularity: one codebook for the ``tensor``, each ``channel`` or each ``group``.
        group_size: columns of a group.
    """
    found = [_centres(part, bits) for part in parts(rows, granularity, group_size)]
    count = max(centres.shape[1] for centres in found)
    padded = [_padded(centres, count) for centres in found]
    return Codebook(torch.stack(padded, dim=1), group_size if granularity == "group" else None)


def _centres(part: Tensor, bits: int) -> Tensor:
    count = 2**bits
    if count >= part.shape[1]:
        return part.sort(dim=1).values  # a level for each weight
    along = torch.linspace(0, 1, count, dtype=part.dtype, device=part.device)
    low, high = part.amin(1, keepdim=True), part.amax(1, keepdim=True)
    centres = low + (high - low) * along
    for _ in range(ROUNDS):
        nearest = _nearest(centres, part)
        sums = torch.zeros_like(centres).scatter_add_(1, nearest, part)
        members = torch.zeros_like(centres).scatter_add_(1, nearest, torch.ones_like(part))
        moved = torch.where(members > 0, sums / members.clamp_min(1), centres)
        moved = moved.sort(dim=1).values
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _nearest(levels: Tensor, values: Tensor) -> Tensor:
    """For each value the number of the nearest level of its row; a tie goes to the smaller one."""
    between = (levels[:, 1:] / 2 + levels[:, :-1] / 2).contiguous()
    return torch.searchsorted(between, values.contiguous())


def _padded(centres: Tensor, count: int) -> Tensor:
    """The last group of a row may be short: its last level is repeated."""
    return torch.cat([centres, centres[:, -1:].expand(-1, count - centres.shape[1])], dim=1)
