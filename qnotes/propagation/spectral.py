"""Fourier symbols of convolutions, and matrices that are verified to be positive definite.

A convolution with zero padding reads an image that stands in zeros. On a torus that is large enough
to hold both, the same weights act as a circular convolution, which the Fourier transform makes
block diagonal: at each frequency a small matrix, its symbol. What is read off such matrices by
eigenvalue routines is never trusted: it is verified afterwards by a Cholesky factorization with a
margin for rounding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qnotes.errors import NotVerified
from qnotes.propagation.outward import EPSILON, up

#: Numbers of a batch of matrices that are worked on at once.
BATCH_NUMBERS = 1 << 24
#: More than products of numbers below 1 can lose to underflow.
UNDERFLOW = 2.0**-900


def paddings(module: nn.Module) -> list[tuple[int, int]]:
    """Zeros that a convolution puts before and after each axis."""
    if module.padding == "valid":
        return [(0, 0)] * len(module.stride)
    if module.padding == "same":  # torch puts the odd one after
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in module.padding]


def sides_needed(module: nn.Module, read: Sequence[int], made: Sequence[int]) -> list[int]:
    """Sides of a torus on which a circular convolution makes what a zero-padded one makes.

    Args:
        read: sides of the image that is read.
        made: sides of the image that is made.
    """
    axes = zip(
        read, made, paddings(module), module.kernel_size, module.dilation, module.stride,
        strict=True,
    )  # fmt: skip
    return [
        max(n + before, (m - 1) * stride - before + (kernel - 1) * dilation + 1)
        for n, m, (before, _), kernel, dilation, stride in axes
    ]


def grid(sides: Sequence[int]) -> Tensor:
    """All frequencies of a torus, (frequencies, axes), as whole numbers."""
    axes = [torch.arange(side) for side in sides]
    if not axes:
        return torch.zeros(1, 0, dtype=torch.long)
    return torch.cartesian_prod(*axes).view(-1, len(sides))


def half(sides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """One of each pair ω, -ω of frequencies, and how many it stands for.

    The weights are real, so a symbol at -ω is the conjugate of that at ω.
    """
    everything = grid(sides)
    own, mirrored = (index(f, sides) for f in (everything, -everything))
    kept = own <= mirrored
    return everything[kept], 1 + (own < mirrored)[kept].long()


def index(frequencies: Tensor, sides: Sequence[int]) -> Tensor:
    """The place of frequencies (..., axes), whole numbers, in `grid`."""
    place = torch.zeros(frequencies.shape[:-1], dtype=torch.long)
    for axis, side in enumerate(sides):
        place = place * side + frequencies[..., axis] % side
    return place


def waves(positions: Tensor, frequencies: Tensor, sides: Sequence[int]) -> Tensor:
    """exp(2πi ω·x / T), (frequencies, positions); off by at most 8 EPSILON an axis.

    The angle of each axis is reduced in whole numbers, so that it is at most 2π.
    """
    total = torch.ones(len(frequencies), len(positions), dtype=torch.complex128)
    for axis, side in enumerate(sides):
        turns = torch.arange(side, dtype=torch.float64) * (2 * math.pi / side)
        table = torch.polar(torch.ones_like(turns), turns)
        total = total * table[(frequencies[:, None, axis] * positions[:, axis]) % side]
    return total


def symbols(module: nn.Module, weight: Tensor, frequencies: Tensor, sides: Sequence[int]) -> Tensor:
    """Ŵ(ω) = Σ_k w_k exp(2πi ω·(dilation k - padding) / T), without the stride.

    Args:
        module: a convolution; its own weights are not read.
        weight: of the shape of its weights, in float64.
        frequencies: (frequencies, axes), on the torus of what is read.
        sides: of that torus.

    Returns:
        (frequencies, out, in / groups), complex. An entry is off by at most (taps + 16) EPSILON of
        the sum of the absolute weights of its taps.
    """
    taps = torch.tensor(list(itertools.product(*map(range, module.kernel_size))))
    before = torch.tensor([first for first, _ in paddings(module)])
    positions = taps * torch.tensor(module.dilation) - before
    phases = waves(positions, frequencies, sides)
    out, read = weight.shape[:2]
    flat = weight.reshape(out * read, -1).to(torch.complex128)
    return (phases @ flat.T).view(len(frequencies), out, read)


def verified_definite(matrices: Tensor, margin: Tensor) -> bool:
    """Whether Hermitian matrices are positive definite beyond any doubt of rounding.

    If floating-point Cholesky runs to its end on A - c, with c at least n times the rounding of the
    diagonal's sum, then A is positive definite (Rump 2006, "Verification of positive
    definiteness").

    Args:
        matrices: (batch, n, n), of float64; their lower triangles are read.
        margin: (batch,); what their entries may be off by, as a bound in the spectral norm.
    """
    n = matrices.shape[-1]
    diagonal = matrices.diagonal(dim1=-2, dim2=-1).real
    if not bool((diagonal > 0).all() and torch.isfinite(diagonal).all()):
        return False
    shift = margin + 8 * (n + 4) * EPSILON * diagonal.sum(-1)
    shifted = matrices - torch.diag_embed(shift[:, None].expand(-1, n).to(matrices.dtype))
    return bool((torch.linalg.cholesky_ex(shifted)[1] == 0).all())


def largest_eigenvalue(matrices: Tensor, margin: Tensor) -> float:
    """An upper bound on the eigenvalues of Hermitian matrices, verified.

    Args:
        matrices: (batch, n, n).
        margin: (batch,), as for `verified_definite`.

    Raises:
        NotVerified: where the verification fails.
    """
    n = matrices.shape[-1]
    guess = torch.linalg.eigvalsh(matrices)[:, -1].max().item()
    slack = 32 * (n + 4) * n * EPSILON
    for loosened in (slack, 16 * slack, 1e-6):
        candidate = up(guess * (1 + loosened) + 2 * (1 + n) * margin.max().item(), 4)
        eye = torch.eye(n, dtype=matrices.dtype)
        if candidate == 0 and not matrices.abs().max():
            return 0.0
        if verified_definite(candidate * eye - matrices, margin + candidate * EPSILON):
            return candidate
    raise NotVerified(f"an eigenvalue near {guess:.3g} could not be verified")


def spectral_norm(
    module: nn.Module, weight: Tensor, read: Sequence[int] = (), made: Sequence[int] = ()
) -> float:
    """An upper bound on ‖W‖₂ of a dense layer, or of a convolution with zero padding (theory, T11).

    Args:
        module: the layer; says stride, padding, dilation and groups.
        weight: in float64; may be a difference of weights, rounded once.
        read, made: sides of the image that a convolution reads and of the one that it makes.
    """
    if isinstance(module, nn.Linear):
        return _norm(weight[None].to(torch.complex128), weight.abs()[None], 1)
    groups, taps = module.groups, weight[0, 0].numel()
    split = weight.view(groups, -1, *weight.shape[1:])
    sizes = split.abs().flatten(3).sum(3)
    if taps == 1:  # taking some positions only makes nothing longer
        return _norm(split.flatten(2).to(torch.complex128), sizes, taps)
    stride = module.stride
    needed = sides_needed(module, read, made)
    coarse = [math.ceil(side / step) for side, step in zip(needed, stride, strict=True)]
    sides = [side * step for side, step in zip(coarse, stride, strict=True)]
    aliases = grid(stride) * torch.tensor(coarse)
    kept, _ = half(coarse)
    size = len(aliases) * weight.numel()
    step = max(1, BATCH_NUMBERS // size)
    largest = 0.0
    for first in range(0, len(kept), step):
        some = (kept[first : first + step, None] + aliases).view(-1, len(stride))
        found = symbols(module, weight, some, sides)
        found = found.view(-1, len(aliases), groups, len(weight) // groups, weight.shape[1])
        rows = found.permute(0, 2, 3, 1, 4).flatten(3).flatten(0, 1) / math.sqrt(len(aliases))
        bound = sizes.repeat(len(rows) // groups, 1, len(aliases)) / math.sqrt(len(aliases))
        largest = max(largest, _norm(rows, bound, taps))
    return largest


def _norm(matrices: Tensor, sizes: Tensor, taps: int) -> float:
    """Of complex matrices (batch, rows, columns) whose entries are at most `sizes`."""
    largest = sizes.max().item()
    if not largest:
        return 0.0
    # Squares of tiny numbers would become 0; one factor may be too large, or small, for float64.
    exponent = math.frexp(largest)[1]
    scales = 2.0 ** (exponent // 2), 2.0 ** (exponent - exponent // 2)
    for scale in scales:
        matrices, sizes = matrices * (1 / scale), sizes * (1 / scale)
    if matrices.shape[1] > matrices.shape[2]:
        matrices, sizes = matrices.mH, sizes.mT
    gram = matrices @ matrices.mH
    terms = matrices.shape[-1] + taps + 32
    margin = 8 * terms * EPSILON * sizes.square().sum((1, 2)) + UNDERFLOW
    found = up(math.sqrt(largest_eigenvalue(gram, margin)), 2) * scales[0] * scales[1]
    return math.nextafter(found, math.inf)
