"""Grids: the levels that a quantized weight may take, how far they reach, and how it gets there.

A weight is seen as a matrix, a row for each output channel. Its scales have the shape (1, 1) for
one scale a tensor, (rows, 1) for one a channel, and (rows, groups) for one a group of columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Names of the symmetric grids; see `symmetric_grid`.
CONVENTIONS = ("narrow", "full", "unclipped")
CLIPS = ("minmax", "percentile", "mse")
#: Shares of the whole range that the search for the smallest squared error tries.
SHARES = tuple(1 - step / 100 for step in range(81))
#: Most rounds of k-means; it stops as soon as no centre moves.
ROUNDS = 100
#: Weights that are rounded at a time.
BLOCK = 1 << 18

#: Rounding without data. Each takes weights in steps of their grid and may work in place. A tie of
#: ``nearest`` goes to the even multiple of the scale. ``zero`` is truncation.
DIRECT: dict[str, Callable[[Tensor], Tensor]] = {
    "nearest": Tensor.round_,
    "floor": Tensor.floor_,
    "ceil": Tensor.ceil_,
    "zero": Tensor.trunc_,
}


def stochastic(seed: int) -> Callable[[Tensor], Tensor]:
    """Up with the probability of the fraction that is above the step below, else down.

    The mean of the rounded weight is the weight itself (T13), if nothing is clipped. The
    random numbers are drawn in the order of the layers, from a generator of their own.
    """
    generator = torch.Generator().manual_seed(seed)

    def rounded(steps: Tensor) -> Tensor:
        # Drawn in float64: in float32 the sum of a large step and a draw loses the draw's digits.
        drawn = torch.rand(steps.shape, generator=generator, dtype=torch.float64)
        return (steps.double() + drawn.to(steps.device)).floor_().to(steps.dtype)

    return rounded


def rows(tensor: Tensor) -> Tensor:
    """A row for each output channel; the biases of a layer are one row."""
    return tensor.detach().flatten(1) if tensor.ndim > 1 else tensor.detach()[None]


def parts(rows: Tensor, group_size: int | None = None, *, together: bool = False) -> list[Tensor]:
    """The blocks of a matrix whose rows get scales of their own; the last one may be narrower."""
    if together:
        return [rows.reshape(1, -1)]
    return [rows] if group_size is None else list(rows.split(group_size, dim=1))


# -- levels and codes ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Equally spaced levels `scale * (code - zero_point)`, for integer codes in [qmin, qmax]."""

    scale: Tensor  # distance of two levels, of shape (1, 1), (rows, 1) or (rows, groups)
    zero_point: Tensor  # code of the level 0, of the scale's shape and precision
    qmin: int
    qmax: int
    group_size: int | None = None  # columns of a group; None without groups

    def encode(self, rows: Tensor, rounding: Callable[[Tensor], Tensor] = Tensor.round_) -> Tensor:
        """Codes of weights; those outside the grid get its first or last level.

        Multiplying by the inverse of the scale, instead of dividing, is what torch's fake
        quantization does. `rounding` makes whole numbers of steps and may work in place.
        """
        steps = rounding(rows * self.spread(1.0 / self.scale, rows.shape[1]))
        steps += self.spread(self.zero_point, rows.shape[1])
        return steps.clamp_(self.qmin, self.qmax).to(code_dtype(self.qmin, self.qmax))

    def decode(self, codes: Tensor) -> Tensor:
        """The levels of codes, in the precision of the scale."""
        steps = codes.to(self.scale.dtype)
        steps -= self.spread(self.zero_point, codes.shape[1])
        return steps.mul_(self.spread(self.scale, codes.shape[1]))

    def of_rows(self, part: slice) -> Grid:
        """The grid of some of the rows."""
        if len(self.scale) == 1:
            return self
        return replace(self, scale=self.scale[part], zero_point=self.zero_point[part])

    def spread(self, values: Tensor, columns: int) -> Tensor:
        """Values of groups as values of columns; without groups they broadcast as they are."""
        if self.group_size is None:
            return values
        return values.repeat_interleave(self.group_size, dim=1)[:, :columns]

    def reach(self, columns: int) -> tuple[Tensor, Tensor]:
        """The smallest and the largest weight that is at most half a step from a level."""
        low = (self.qmin - 0.5 - self.zero_point) * self.scale
        high = (self.qmax + 0.5 - self.zero_point) * self.scale
        return self.spread(low, columns), self.spread(high, columns)


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

    def reach(self, columns: int) -> tuple[Tensor, Tensor]:
        """The first and the last level: the range that the grid was made for."""
        return self.spread(-self.scale, columns), self.spread(self.scale, columns)


@dataclass(frozen=True)
class Codebook:
    """Levels that are listed; a code is the number of a level, in rising order."""

    levels: Tensor  # sorted, of shape (1, 1, levels), (rows, 1, levels) or (rows, groups, levels)
    group_size: int | None = None  # columns of a group; None without groups

    qmin = 0
    scale = None
    zero_point = None

    @property
    def qmax(self) -> int:
        """Number of the last level."""
        return self.levels.shape[2] - 1

    def encode(self, rows: Tensor, rounding: object = None) -> Tensor:
        """Numbers of the nearest levels; a tie goes to the smaller level."""
        return self._part_by_part(_nearest, rows).to(code_dtype(self.qmin, self.qmax))

    def decode(self, codes: Tensor) -> Tensor:
        """The levels of codes."""
        return self._part_by_part(lambda levels, part: levels.gather(1, part.long()), codes)

    def of_rows(self, part: slice) -> Codebook:
        """The codebooks of some of the rows."""
        return self if len(self.levels) == 1 else replace(self, levels=self.levels[part])

    def reach(self, columns: int) -> tuple[Tensor, Tensor]:
        """Everything: the outer levels are means of the weights that they stand for."""
        return torch.tensor(-torch.inf), torch.tensor(torch.inf)

    def _part_by_part(self, function: Callable[[Tensor, Tensor], Tensor], rows: Tensor) -> Tensor:
        together = len(self.levels) == 1 and self.group_size is None
        blocks = parts(rows, self.group_size, together=together)
        pairs = zip(self.levels.unbind(1), blocks, strict=True)
        return torch.cat([function(*pair).reshape(len(rows), -1) for pair in pairs], dim=1)


def code_dtype(qmin: int, qmax: int) -> torch.dtype:
    """The smallest integer type that holds all codes."""
    for dtype in (torch.int8, torch.int16):
        if torch.iinfo(dtype).min <= qmin and qmax <= torch.iinfo(dtype).max:
            return dtype
    return torch.int32


def put_on_grid(weight: Tensor, grid: Grid | Codebook, rounding) -> tuple[Tensor, Tensor]:
    """Codes and levels of the rows of a weight, in blocks that fit the processor's cache."""
    codes = torch.empty(weight.shape, dtype=code_dtype(grid.qmin, grid.qmax), device=weight.device)
    levels = torch.empty_like(weight)
    step = max(1, BLOCK // weight.shape[1])
    for part in (slice(at, at + step) for at in range(0, len(weight), step)):
        here = grid.of_rows(part)
        codes[part] = here.encode(weight[part], rounding)
        levels[part] = here.decode(codes[part])
    return codes, levels


# -- from ranges to grids --------------------------------------------------------------------------


def symmetric_grid(
    low: Tensor, high: Tensor, bits: int, convention: str = "narrow", power_of_two: bool = False
) -> Grid:
    """A grid with zero_point 0 for ends low ≤ 0 ≤ high, as `qnotes.quantize` explains them.

    Libraries mean three different things by "symmetric". With ``narrow`` (T12) the largest weight
    is a level, on both sides; with 4 bits ONNX Runtime uses all 16 codes. With ``full`` it may lie
    half a step outside. In all three a weight between the ends moves by at most half a step.
    """
    largest = torch.maximum(-low, high)
    half = 2 ** (bits - 1)
    if convention == "narrow":
        scale, qmin = largest / (half - 1), 1 - half
    elif convention == "full":
        scale, qmin = largest / (half - 0.5), -half
    else:
        scale, qmin = torch.maximum(-low / half, high / (half - 1)), -half
    scale = _positive(scale, power_of_two)
    return Grid(scale, torch.zeros_like(scale), qmin, half - 1)


def affine_grid(low: Tensor, high: Tensor, bits: int, power_of_two: bool = False) -> Grid:
    """Codes in [-2^(bits-1), 2^(bits-1) - 1], levels from low to high, and zero is one of them.

    Rounding the zero point moves the grid by at most half a step, so the nearest level is still at
    most half a step away.
    """
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    # Each end is divided first: high - low may overflow where neither does.
    scale = _positive(high / (qmax - qmin) - low / (qmax - qmin), power_of_two)
    zero_point = (qmin - (low / scale).round_()).clamp_(qmin, qmax)
    return Grid(scale, zero_point, qmin, qmax)


def log2_grid(low: Tensor, high: Tensor, bits: int) -> Log2Grid:
    """The powers of two that reach max(-low, high); codes in [-q, q], q = 2^(bits-1) - 1."""
    q = 2 ** (bits - 1) - 1
    largest = torch.maximum(-low, high)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest)
    return Log2Grid(scale, torch.zeros_like(scale), -q, q)


def _positive(scale: Tensor, power_of_two: bool) -> Tensor:
    """A scale of 1 for rows of zeros, and never one so small that its inverse overflows.

    A power of two is the smallest that is not smaller. The nearest power would make some scales
    smaller: the grid then ends before the largest weight, which is clipped by up to 1 - 1/√2 of its
    size, far more than half a step.
    """
    smallest = torch.finfo(scale.dtype).tiny
    scale = torch.where(scale == 0, torch.ones_like(scale), scale.clamp_min(smallest))
    if not power_of_two:
        return scale
    fraction, exponent = torch.frexp(scale)  # scale = fraction · 2^exponent, 1/2 ≤ fraction < 1
    return torch.ldexp(torch.ones_like(scale), exponent - (fraction == 0.5).to(exponent.dtype))


# -- from weights to ranges and codebooks ----------------------------------------------------------


def weight_range(
    blocks: list[Tensor], ends: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Ends of the range of each row of each block, low ≤ 0 ≤ high, both of shape (rows, blocks).

    What finds the ends of a block is `minmax`, or one of the next two with their options.
    """
    lows, highs = zip(*map(ends, blocks), strict=True)
    return torch.cat(lows, dim=1).clamp_max_(0), torch.cat(highs, dim=1).clamp_min_(0)


def minmax(block: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest weight of each row."""
    return block.amin(1, keepdim=True), block.amax(1, keepdim=True)


def percentiles(block: Tensor, percentile: float, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Ends with a share of the weights between them, by nearest rank.

    An end is the smallest weight that at least so many are not beyond. On a symmetric grid absolute
    values count, so that both ends are equally far; else both leave the same share outside.
    """
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


def least_squares(
    block: Tensor, make_grid: Callable[[Tensor, Tensor], Grid]
) -> tuple[Tensor, Tensor]:
    """The share of the whole range of each row with the smallest squared error.

    Clipping the largest weights makes the steps of all others smaller. Tried are 100, 99, …, 20 per
    cent of the range, with weights rounded to nearest; of two equal ones the wider range wins, so
    the result is never worse than `minmax`. `make_grid` makes a grid from two ends.
    """
    low, high = weight_range([block], minmax)
    best = torch.ones_like(low)
    least = torch.full_like(low, torch.inf)
    for share in SHARES:
        grid = make_grid(share * low, share * high)
        change = grid.decode(grid.encode(block)) - block
        error = change.square().sum(1, keepdim=True)
        best = torch.where(error < least, share, best)
        least = torch.minimum(error, least)
    return best * low, best * high


def kmeans_codebook(blocks: list[Tensor], bits: int, group_size: int | None = None) -> Codebook:
    """At most 2^bits levels for each part, with a small sum of squared changes (k-means).

    Lloyd's iteration in one dimension, from equally spaced centres between the smallest and the
    largest weight, which keeps the few large weights in view (Han, Mao and Dally 2016,
    arXiv:1510.00149, section 3.2). A centre without weights stays where it is. The result is a
    local optimum.
    """
    found = [_centres(block, 2**bits) for block in blocks]
    # The last group of a row may be short: its last level is repeated.
    count = max(centres.shape[1] for centres in found)
    levels = [torch.cat([c, c[:, -1:].expand(-1, count - c.shape[1])], dim=1) for c in found]
    return Codebook(torch.stack(levels, dim=1), group_size)


def _centres(part: Tensor, count: int) -> Tensor:
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
