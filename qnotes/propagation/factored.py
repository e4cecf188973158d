"""A joint ellipsoid of values that are wider than what they were made of.

A layer that makes many channels of few, as the first of an inverted residual, has Q = A + B B*: the
columns of B are as many as there were rows before, and A is block diagonal, with a 2 × 2 matrix
for what S' and Δ have in common in one channel. Activations, masks and depthwise convolutions keep
this form, so nothing is ever made that has the square of the width. T14 (c, d) reads: with
G = 2D - A and K = (1 - B* G⁻¹ B)⁻¹ for the rows of z, A becomes D G⁻¹ D there, and
B becomes [B; D G⁻¹ B] K^½, for everything that is alive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from qnotes.errors import NotVerified
from qnotes.propagation.joint import (
    ERROR,
    LARGEST_RESIDUAL,
    MOVED,
    Joint,
    Member,
    Together,
    assembled,
    hermitian,
    is_root,
    raised,
    verified_inverse,
)
from qnotes.propagation.outward import EPSILON
from qnotes.propagation.spectral import half

#: A value this many times as wide as all that it was made of, and all that is alive, is kept so.
WIDE = 2
#: Without rounding made up for, what is added to a matrix before it is factored.
SLIGHTLY = 1e-12
#: Steps of Lanczos' method.
STEPS = 12


@dataclass(frozen=True)
class Factored(Together):
    """A + B B* for each frequency.

    Attributes:
        own: A, (frequencies, pairs, 2, 2), Hermitian; a pair is an alias and a channel.
        factor: B, (frequencies, pairs, 2, columns).
        exact: whether rounding is made up for.
    """

    own: Tensor
    factor: Tensor
    exact: bool

    @property
    def columns(self) -> int:
        return self.factor.shape[-1]

    @property
    def finite(self) -> bool:
        return bool(self.own.isfinite().all() and self.factor.isfinite().all())

    def pairs(self, node: fx.Node) -> slice:
        """Where the pairs of a value are."""
        rows = self.rows(node)
        return slice(rows.start // 2, rows.stop // 2)

    def order(self, nodes: Sequence[fx.Node]) -> Tensor:
        """Where the rows of values, (aliases, 2, channels) in a `Joint`, are among their pairs."""
        places, start = [torch.arange(0)], 0
        for member in (self.members[node] for node in nodes):
            own = torch.arange(start, start + self.size(member)).view(-1, member.channels, 2)
            places.append(own.transpose(1, 2).flatten())
            start += self.size(member)
        return torch.cat(places)

    def only(self, nodes: Sequence[fx.Node]) -> Factored:
        """What is known of some of the values."""
        kept = {node: member for node, member in self.members.items() if node in nodes}
        if len(kept) == len(self.members):
            return self
        own = torch.cat([self.own[:, :0]] + [self.own[:, self.pairs(node)] for node in kept], 1)
        rows = [self.factor[:, :0]] + [self.factor[:, self.pairs(node)] for node in kept]
        return replace(self, members=kept, own=own, factor=torch.cat(rows, 1))

    def solid(self) -> Joint:
        """The same as one matrix for each frequency."""
        found = hermitian(self._matrices())
        if self.exact:
            found = raised(found, self._ordered_roots(), self.terms)
        return Joint(self.sides, self.members, found, self.exact)

    def _matrices(self) -> Tensor:
        """A matrix for each frequency, made of so many `terms`."""
        order = self.order(list(self.members))
        rows = self.factor.flatten(1, 2)[:, order]
        eye = torch.eye(len(order), dtype=self.own.dtype).view(len(order) // 2, 2, len(order))
        own = (self.own @ eye).flatten(1, 2)
        return own[:, order][:, :, order] + rows @ rows.mH

    @property
    def terms(self) -> int:
        """Of a sum over columns."""
        return 2 * self.columns + 64

    def _roots(self) -> Tensor:
        """√ of the diagonal, (frequencies, pairs, 2)."""
        return self._diagonal().sqrt()

    def _diagonal(self) -> Tensor:
        own = self.own.diagonal(dim1=-2, dim2=-1).real.clamp_min(0)
        factor = torch.view_as_real(self.factor)
        return own + factor.square().sum((-2, -1))

    def _ordered_roots(self) -> Tensor:
        return self._roots().flatten(1)[:, self.order(list(self.members))]

    def _raised(self, reach: Tensor, terms: int) -> Factored:
        """Rounding made up for in A, as `joint.raised` does it."""
        n = 2 * reach.shape[1]
        share = 8 * n * (terms + n + 16) * EPSILON
        added = torch.diag_embed((share * reach.square()).to(self.own.dtype))
        return replace(self, own=self.own + added)

    # ------------------------------------------------------------ what a matrix goes through

    def mapped(
        self, node: fx.Node, member: Member, reads: list[fx.Node], kept: list[fx.Node],
        maps: list[Tensor], sizes: list[Tensor], terms: int,
    ) -> Joint:  # fmt: skip
        """T14 (a), as `Joint.mapped`: one matrix for each frequency again."""
        if len(reads) > 1 or reads[0] in kept:
            return self.solid().mapped(node, member, reads, kept, maps, sizes, terms)
        own, rows = self._carried(reads[0], maps[0])
        others = self.only(kept)
        columns = others.factor.flatten(1, 2)[:, others.order(list(others.members))]
        before = hermitian(others._matrices())
        found = assembled(before, rows @ columns.mH, hermitian(own))
        if self.exact:
            roots = self.numbers(reads[0]).flatten(1).sqrt()
            reach = torch.cat([others._ordered_roots(), (sizes[0] @ roots[..., None])[..., 0]], -1)
            found = raised(found, reach, terms + maps[0].shape[-1] + self.terms)
        return Joint(self.sides, others.members | {node: member}, found, self.exact)

    def carried(self, read: fx.Node, matrix: Tensor) -> Tensor:
        """M Q M* of a value, at as many frequencies as there are matrices M."""
        return self._carried(read, matrix)[0]

    def _carried(self, read: fx.Node, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """And M B."""
        mine = self.only([read])
        matrix = matrix[..., self.order([read]).argsort()]
        rows = matrix @ mine.factor.flatten(1, 2)
        spread = (mine.own @ matrix.mH.unflatten(1, (-1, 2))).flatten(1, 2)
        return rows @ rows.mH + matrix @ spread, rows

    def filtered(
        self, node: fx.Node, member: Member, read: fx.Node, kept: list[fx.Node],
        blocks: Tensor, sizes: Tensor, terms: int,
    ) -> Factored:  # fmt: skip
        """T14 (a) for a depthwise convolution.

        Args:
            kept: nothing, unless the torus stays the same.
            blocks: (frequencies of the new torus, aliases, channels, 2, 2).
            sizes: bounds on the absolute values of their entries, that broadcast to the same.
        """
        others, mine = self.only(kept), self.only([read])
        moved = replace(self, sides=member.sides)
        stored, flipped = mine._stored(moved.aliases(self.sides))
        own, factor, roots = (t[stored] for t in (mine.own, mine.factor, mine._roots()))
        own, factor = (
            torch.where(flipped.view(*flipped.shape, 1, 1, 1), t.conj(), t) for t in (own, factor)
        )
        factor = blocks @ factor
        factor = factor.permute(0, 2, 3, 1, 4).flatten(3)  # columns of each alias
        own = (blocks @ own @ blocks.mH).sum(1)
        own = (own + own.mH) / 2
        if kept:
            own = torch.cat([others.own, own], 1)
            factor = torch.cat([others.factor, factor], 1)
        found = Factored(member.sides, others.members | {node: member}, own, factor, self.exact)
        if not self.exact:
            return found
        reach = (sizes @ roots[..., None])[..., 0].square().sum(1).sqrt()
        reach = torch.cat([others._roots(), reach], 1) if kept else reach
        return found._raised(reach, terms + 4 * flipped.shape[1] + self.terms)

    def activated(
        self, node: fx.Node, read: fx.Node, kept: list[fx.Node], diagonal: Tensor
    ) -> Factored | Joint | None:
        """T14 (c, d), as `Joint.activated`.

        With a value that is itself read later, σ of it has A in common too, and not only B: that
        needs whole matrices.
        """
        if read in kept:
            return self.solid().activated(node, read, kept, diagonal)
        member, others, mine = self.members[read], self.only(kept), self.only([read])
        roots = diagonal.T.repeat(mine.own.shape[1] // member.channels, 1).sqrt()  # (pairs, 2)
        own = mine.own / (roots[..., None] * roots[..., None, :])
        factor = mine.factor / roots[..., None]
        gap = 2 * torch.eye(2, dtype=own.dtype) - own
        off = 8 * EPSILON * (2 + own.diagonal(dim1=-2, dim2=-1).real.sum(-1)).flatten()
        inverse = verified_inverse(gap.flatten(0, 1), off) if self.exact else _inverse(gap)
        if inverse is None:
            return None
        inverse = inverse.view_as(gap)
        through = inverse @ factor
        left = factor.flatten(1, 2)
        scaled = hermitian(left.mH @ through.flatten(1, 2))
        root = self._root(scaled, inverse, factor)
        if root is None:
            return None
        rows = torch.cat([others.factor, roots[..., None] * through], 1)
        found = Factored(
            self.sides, others.members | {node: member},
            torch.cat([others.own, roots[..., None] * inverse * roots[..., None, :]], 1),
            (rows.flatten(1, 2) @ root).view_as(rows), self.exact,
        )  # fmt: skip
        if not self.exact:
            return found
        lengths = torch.linalg.vector_norm(factor, dim=-1, keepdim=True)
        reach = roots * (inverse.abs() @ lengths)[..., 0]
        reach = torch.cat([torch.linalg.vector_norm(others.factor, dim=-1), reach], 1)
        reach = reach * torch.linalg.matrix_norm(root)[:, None, None]
        own = found.own.diagonal(dim1=-2, dim2=-1).real.clamp_min(0).sqrt()
        return found._raised(reach + own, self.terms)

    def _root(self, scaled: Tensor, inverse: Tensor, factor: Tensor) -> Tensor | None:
        """X with X X* above (1 - `scaled`)⁻¹; None where that is not verified.

        `scaled` is B* H B, for the `inverse` H and the `factor` B.
        """
        n = scaled.shape[-1]
        eye = torch.eye(n, dtype=scaled.dtype)
        gap = eye - scaled
        if not self.exact:
            lower, failed = torch.linalg.cholesky_ex(gap)
            if failed.any():
                return None
            return torch.linalg.solve_triangular(lower, eye, upper=False).mH
        # |B|* |H| |B| is at most its trace, and |H| at most twice its diagonal.
        total = inverse.diagonal(dim1=-2, dim2=-1).real * factor.abs().square().sum(-1)
        off = 16 * (factor.shape[1] + n + 32) * EPSILON * (2 * total.sum((1, 2)) + n)
        # R R* is below the exact gap: it is off by no more than what is taken away besides.
        room = 16 * (n + 4) * EPSILON * n
        below = gap - (off + room)[:, None, None] * eye
        lower, failed = torch.linalg.cholesky_ex(below)
        if failed.any() or not is_root(lower, below, room):
            return None
        inverse = torch.linalg.solve_triangular(lower, eye.expand_as(gap), upper=False)
        sizes = [torch.linalg.matrix_norm(matrix) for matrix in (lower, inverse)]
        residual = torch.linalg.matrix_norm(eye - inverse @ lower)
        residual = residual + 8 * (n + 4) * EPSILON * (sizes[0] * sizes[1] + 1)
        if not bool((residual < LARGEST_RESIDUAL).all()):
            return None
        # R⁻¹ = (Y R)⁻¹ Y for the computed Y, so R⁻* R⁻¹ is at most Y* Y / (1 - residual)².
        return inverse.mH * ((1 + 1e-12) / (1 - residual))[:, None, None]

    def plus(self, node: fx.Node, vectors: Tensor, share: Tensor) -> Factored:
        """T14 (b), as `Joint.plus`: one column more."""
        shared = self.shared(vectors, share)
        if shared is None:
            return self
        alpha, columns = shared
        where = self.pairs(node)
        column = columns[:, self.order([node]).argsort()].unflatten(1, (-1, 2))
        outside = (0, 0, where.start, self.own.shape[1] - where.stop)
        column = torch.nn.functional.pad(column, outside)[..., None]
        grown = 1 + 32 * EPSILON
        factor = torch.cat([self.factor / alpha.sqrt(), column], -1) * math.sqrt(grown)
        found = replace(self, own=self.own * (grown / alpha), factor=factor)
        return found._raised(found._roots(), 16) if self.exact else found

    def blurred(self, node: fx.Node, moved: float, error: float) -> Factored:
        """T14 (b), as `Joint.blurred`."""
        grown, added = self._balls(node, moved, error)
        own = self.own * grown
        own[:, self.pairs(node)] += torch.diag(added).to(own.dtype)
        found = replace(self, own=own, factor=self.factor * math.sqrt(grown))
        return found._raised(found._roots(), 16)

    def at_zero(self, node: fx.Node, read: fx.Node, member: Member, scale: float) -> Factored:
        """As `Joint.at_zero`; at frequency 0 all numbers are real, but for rounding."""
        mine, count = self.only([read]), len(half(member.sides)[0])
        own, factor = (t[:1, : member.channels] for t in (mine.own, mine.factor))
        own = (own * scale**2).expand(count, -1, -1, -1)
        factor = (factor * scale).expand(count, -1, -1, -1)
        found = Factored(member.sides, {node: member}, own, factor, self.exact)
        return found._raised(found._roots(), 16) if self.exact else found

    # ------------------------------------------------------------ what is read off it

    def numbers(self, node: fx.Node) -> Tensor:
        channels = self.members[node].channels
        found = self.only([node])._diagonal()
        return found.view(len(found), -1, channels, 2).transpose(2, 3)

    def top(self, node: fx.Node, shape: Tensor) -> Tensor:
        """The largest eigenvalue relative to a diagonal: a guess, verified by whoever uses it."""
        mine = self.only([node])
        roots = shape.T.repeat(mine.own.shape[1] // shape.shape[1], 1).sqrt()
        own = mine.own / (roots[..., None] * roots[..., None, :])
        factor = (mine.factor / roots[..., None]).flatten(1, 2)

        with torch.no_grad():
            values, vectors = _largest(own, factor)
            which = values.argmax()
        vector = vectors[which, None]
        value = vector.mH @ _times(own[which, None], factor[which, None], vector)
        return value.real.squeeze().clamp_min(1e-12)

    def lengths(self, node: fx.Node) -> Tensor:
        """Bounds on the ℓ² norm of S' - S'(c) and of Δ: λ(A) + λ(B* B), each by row sums."""
        mine, found = self.only([node]), []
        for part in (MOVED, ERROR):
            rows = mine.factor[:, :, part]
            own = mine.own[:, :, part, part].real.amax(1)
            found.append((own + (rows.mH @ rows).abs().sum(-1).amax(-1)).amax().sqrt())
        terms = self.columns * (mine.factor.shape[1] + 32)
        return torch.stack(found) * (1 + 16 * terms * EPSILON)


def _times(own: Tensor, factor: Tensor, vectors: Tensor) -> Tensor:
    """(A + B B*) v, (batch, rows, 1)."""
    first = (own @ vectors.unflatten(1, (-1, 2))).flatten(1, 2)
    return first + factor @ (factor.mH @ vectors)


def _largest(own: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """About the largest eigenvalues of A + B B*, (batch,), and vectors: by Lanczos' method."""
    seed = torch.Generator().manual_seed(0)
    vector = torch.randn(factor.shape[1], 1, generator=seed, dtype=torch.float64)
    basis, images = [], []
    vector = _times(own, factor, vector.to(factor.dtype).expand(len(factor), -1, -1))
    for _ in range(min(STEPS, factor.shape[1])):
        for known in basis:
            vector = vector - known * (known.mH @ vector)
        lengths = torch.linalg.vector_norm(vector, dim=1, keepdim=True)
        basis.append(vector / lengths.clamp_min(1e-290))
        images.append(_times(own, factor, basis[-1]))
        vector = images[-1]
    span, made = torch.cat(basis, -1), torch.cat(images, -1)
    values, weights = torch.linalg.eigh(hermitian(span.mH @ made).nan_to_num(0))
    vectors = span @ weights[..., -1:]
    return values[:, -1], vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)


def _inverse(gap: Tensor) -> Tensor | None:
    """Of 2 × 2 matrices; None where one is not positive definite."""
    (a, b), (c, d) = (row.unbind(-1) for row in gap.unbind(-2))
    determinant = (a * d - b * c).real
    if not bool(((determinant > 0) & (a.real > 0)).all()):
        return None
    rows = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return rows / determinant[..., None, None]


def factored(
    joint: Joint, node: fx.Node, member: Member, read: fx.Node, kept: list[fx.Node],
    matrix: Tensor, size: Tensor, terms: int,
) -> Factored:  # fmt: skip
    """T14 (a), as `Joint.mapped`, for a value that is wide; what it was made of is factored."""
    before = joint.only([*kept, read])
    lower = _factor(before)
    rows = matrix @ lower[:, before.rows(read)]
    others = [other for other in before.members if other in kept]
    members = {other: before.members[other] for other in others} | {node: member}
    parts = [lower[:, before.rows(other)] for other in others] + [rows]
    sides = [before.members[other].channels for other in others] + [member.channels]
    pairs = [
        part.view(len(part), -1, 2, channels, part.shape[-1]).transpose(2, 3).flatten(1, 2)
        for part, channels in zip(parts, sides, strict=True)
    ]
    factor = torch.cat(pairs, 1)
    own = torch.zeros(*factor.shape[:3], 2, dtype=factor.dtype)
    found = Factored(joint.sides, members, own, factor, joint.exact)
    if not joint.exact:
        return found
    roots = torch.linalg.vector_norm(lower, dim=-1)
    reach = size @ roots[:, before.rows(read), None]
    reach = reach.view(len(rows), -1, 2, member.channels).transpose(2, 3).flatten(1, 2)
    reach = torch.cat([found._roots()[:, : -reach.shape[1]], reach], 1)
    return found._raised(reach, terms + found.terms)


def _factor(joint: Joint) -> Tensor:
    """L with L L* above each matrix, which is positive semidefinite but for rounding."""
    n = joint.matrix.shape[-1]
    roots = joint.matrix.detach().diagonal(dim1=-2, dim2=-1).real.clamp_min(1e-280).sqrt()
    scaled = joint.matrix / roots[:, :, None] / roots[:, None]
    eye = torch.eye(n, dtype=scaled.dtype)
    least = 32 * n * (n + 16) * EPSILON if joint.exact else SLIGHTLY  # half for rounding to `above`
    for grown in (1, 16, 256):
        above = scaled + grown * least * eye
        lower, failed = torch.linalg.cholesky_ex(above)
        if not failed.any() and (not joint.exact or is_root(lower, above, grown * least / 2)):
            return roots[:, :, None] * lower
    raise NotVerified("ellipsoids: a matrix that should be positive could not be factored")
