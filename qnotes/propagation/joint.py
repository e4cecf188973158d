"""A joint ellipsoid of everything that is alive: a matrix for each frequency of a torus.

E(Q) = {x : x* Q⁺ x ≤ 1, x in the range of Q}. Values that are images on tori of different sides
share a matrix at each frequency of the coarsest of them: a finer one has several frequencies there.
Matrices are float64 and count as exact; what rounding may have taken is added to their diagonals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from qnotes.propagation.outward import EPSILON
from qnotes.propagation.spectral import grid, half, index, verified_definite

#: What travels for each channel: S' - S'(c), then Δ.
MOVED, ERROR = 0, 1
#: α stays so near to 1 where rounding is added, also to what is 0.
SLIGHT = 1e-6
#: So much of a residual is not accepted any more.
LARGEST_RESIDUAL = 0.25
#: Matrices with more rows than this have their largest eigenvalue guessed by powers.
LARGE = 256
#: Bytes of a matrix for each frequency; larger ones are made a few frequencies at a time.
PART = 1 << 24
#: Of a complex number.
BYTES = 16


@dataclass(frozen=True)
class Member:
    """A value in a joint matrix: its rows are (aliases, 2, channels).

    Attributes:
        sides: of its torus.
        channels: of the value.
    """

    sides: tuple[int, ...]
    channels: int


@dataclass(frozen=True)
class Together:
    """Values in one ellipsoid, in whatever form its matrices are kept.

    Attributes:
        sides: of the torus whose frequencies have a matrix each; one of each pair ω, -ω.
        members: in the order of their rows.
    """

    sides: tuple[int, ...]
    members: dict[fx.Node, Member]

    @property
    def frequencies(self) -> Tensor:
        return half(self.sides)[0]

    @property
    def multiplicity(self) -> Tensor:
        return half(self.sides)[1]

    def aliases(self, sides: Sequence[int]) -> Tensor:
        """The frequencies on a finer torus at each of ours: (frequencies, aliases, axes)."""
        ratio = [fine // own for fine, own in zip(sides, self.sides, strict=True)]
        return self.frequencies[:, None] + grid(ratio) * torch.tensor(self.sides, dtype=torch.long)

    def _stored(self, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        """Which of our matrices is that of a frequency, or else that of its mirror image."""
        kept = index(self.frequencies, self.sides)
        lookup = torch.full((math.prod(self.sides),), -1)
        lookup[kept] = torch.arange(len(kept))
        own, mirrored = (lookup[index(f, self.sides)] for f in (frequencies, -frequencies))
        return torch.where(own < 0, mirrored, own), own < 0

    def size(self, member: Member) -> int:
        """Rows of a member."""
        ratio = math.prod(f // o for f, o in zip(member.sides, self.sides, strict=True))
        return 2 * ratio * member.channels

    def rows(self, node: fx.Node) -> slice:
        """Where the rows of a value are."""
        start = 0
        for other, member in self.members.items():
            if other == node:
                return slice(start, start + self.size(member))
            start += self.size(member)
        raise KeyError(node)

    def renamed(self, node: fx.Node, read: fx.Node) -> Together:
        """The same with a value as another node."""
        members = {node if name is read else name: own for name, own in self.members.items()}
        return replace(self, members=members)

    def shared(self, vectors: Tensor, share: Tensor) -> tuple[Tensor, Tensor] | None:
        """For T14 (b), one vector in all, (frequencies, rows): α, and columns c with c c* to add.

        Args:
            share: 1 - α.
        """
        lengths = vectors.detach().abs().square().sum(-1).sqrt()
        if not lengths.max() > 0:
            return None
        share = share.clamp(1e-9, 1 - 1e-9)
        weights = (lengths / lengths.max()).clamp_min(1e-9)
        weights = weights / (weights * self.multiplicity).sum() * (1 - 1e-12)
        return 1 - share, vectors / (weights.sqrt()[:, None] * share.sqrt())

    def _balls(self, node: fx.Node, moved: float, error: float) -> tuple[float, Tensor]:
        """For T14 (b), anything that is as short: 1/α, nearly 1, and what is added to diagonals."""
        radii = torch.tensor([moved, error], dtype=torch.float64)
        largest = self.numbers(node).amax((0, 1, 3)).clamp_min(1e-290).sqrt()
        tau = (2 * radii / largest).clamp(1e-9, SLIGHT).max().item()
        # Two balls in one: each in twice its square.
        added = 2 * radii.square() * ((1 + 1 / tau) * (1 + 1e-12))
        return (1 + tau) * (1 + 32 * EPSILON), added

    # ------------------------------------------------------------ what is read off it

    def numbers(self, node: fx.Node) -> Tensor:
        """The diagonal of a value's block, (frequencies, aliases, 2, channels)."""
        raise NotImplementedError

    def peaks(self, node: fx.Node) -> Tensor:
        """Bounds on the absolute values of the coordinates, (2, channels)."""
        roots = self.numbers(node).clamp_min(1e-300).sqrt().sum(1)
        total = (roots.square() * self.multiplicity[:, None, None]).sum(0)
        return (total / math.prod(self.members[node].sides)).sqrt() * (1 + 1e-12)


@dataclass(frozen=True)
class Joint(Together):
    """A matrix for each frequency.

    Attributes:
        matrix: (frequencies, rows, rows), Hermitian.
        exact: whether rounding is made up for.
    """

    matrix: Tensor
    exact: bool
    terms = 0  # of sums that `carried` adds to those of a matrix
    columns = 0  # of a factor

    @property
    def finite(self) -> bool:
        return bool(self.matrix.sum().isfinite())

    def carried(self, read: fx.Node, matrix: Tensor) -> Tensor:
        """M Q M* of a value, for a matrix M at each frequency."""
        return matrix @ self.block(read) @ matrix.mH

    def solid(self) -> Joint:
        return self

    def block(self, one: fx.Node, other: fx.Node | None = None) -> Tensor:
        return self.matrix[:, self.rows(one), self.rows(other or one)]

    def only(self, nodes: Sequence[fx.Node]) -> Joint:
        """What is known of some of the values."""
        kept = {node: member for node, member in self.members.items() if node in nodes}
        if len(kept) == len(self.members):
            return self
        part = self._by_parts(lambda part, _: part._part(list(kept), list(kept)))
        return replace(self, members=kept, matrix=part)

    def _by_parts(self, make: Callable[[Joint, slice], Tensor | None]) -> Tensor | None:
        """What is made of each frequency's matrix alone, or None."""

        def made(where: slice) -> Tensor | None:
            return make(replace(self, matrix=self.matrix[where]), where)

        return made(slice(None)) if self.matrix.requires_grad else by_parts(self.matrix.shape, made)

    def _part(self, rows: list[fx.Node], columns: list[fx.Node]) -> Tensor:
        places = [
            torch.cat(
                [torch.arange(0)] + [torch.arange(s.start, s.stop) for s in map(self.rows, n)]
            )
            for n in (rows, columns)
        ]
        return self.matrix[:, places[0]][:, :, places[1]]

    # ------------------------------------------------------------ what a matrix goes through

    def mapped(
        self, node: fx.Node, member: Member, reads: list[fx.Node], kept: list[fx.Node],
        maps: list[Tensor | float], sizes: list[Tensor | float], terms: int,
    ) -> Joint:  # fmt: skip
        """T14 (a): with a new value, Σ maps · reads.

        Args:
            maps: for each value that is read, (frequencies, rows, its rows), or a number.
            sizes: bounds on the absolute values of the entries, that broadcast to the same.
            terms: that an entry is a sum of.
        """
        kept = [other for other in self.members if other in kept]
        found = self._by_parts(
            lambda part, at: part._mapped(reads, kept, [_at(m, at) for m in maps])
        )
        if self.exact:
            reach = sum(
                _times(size, self._roots([read])[..., None])[..., 0]
                for read, size in zip(reads, sizes, strict=True)
            )
            reach = torch.cat([self._roots(kept), reach], -1)
            found = raised(found, reach, terms + sum(self.size(self.members[r]) for r in reads))
        members = {other: self.members[other] for other in kept} | {node: member}
        return replace(self, members=members, matrix=found)

    def _mapped(self, reads, kept, maps) -> Tensor:
        beside = [*kept, *(read for read in dict.fromkeys(reads) if read not in kept)]
        cross = sum(
            _times(matrix, self._part([read], beside))
            for read, matrix in zip(reads, maps, strict=True)
        )
        widths = [self.size(self.members[node]) for node in beside]
        columns = dict(zip(beside, cross.split(widths, -1), strict=True))
        own = sum(
            _times(matrix, columns[read].mH).mH for read, matrix in zip(reads, maps, strict=True)
        )
        cross = cross[..., : sum(widths[: len(kept)])]
        return assembled(self._part(kept, kept), cross, hermitian(own))

    def _roots(self, nodes: list[fx.Node]) -> Tensor:
        """√ of the diagonal, (frequencies, rows)."""
        diagonal = self.matrix.diagonal(dim1=-2, dim2=-1).real.clamp_min(0).sqrt()
        parts = [diagonal[:, self.rows(node)] for node in nodes]
        return torch.cat(parts, -1) if parts else diagonal[:, :0]

    def activated(
        self, node: fx.Node, read: fx.Node, kept: list[fx.Node], diagonal: Tensor
    ) -> Joint | None:
        """T14 (c, d): with a new value σ(read), of slopes in [0, 1].

        With K = (2D - Z)^-1 the matrix of (x, σ) is diag(Q_xx, 0) + B K B*, B = [Q_xz; D].

        Args:
            diagonal: D, (2, channels); any numbers for which 2D - Z is positive definite.

        Returns:
            None where 2D - Z is not, or where that could not be verified.
        """
        member, kept = self.members[read], [other for other in self.members if other in kept]
        root = diagonal.reshape(-1).repeat(self.size(member) // diagonal.numel()).sqrt()
        found = self._by_parts(lambda part, _: part._activated(read, kept, root))
        members = {other: self.members[other] for other in kept} | {node: member}
        return None if found is None else replace(self, members=members, matrix=found)

    def _activated(self, read: fx.Node, kept: list[fx.Node], root: Tensor) -> Tensor | None:
        scaled = self.block(read) / (root[:, None] * root)
        off = 8 * EPSILON * (2 + scaled.diagonal(dim1=-2, dim2=-1).real.sum(-1))
        gap = 2 * torch.eye(len(root), dtype=scaled.dtype) - scaled
        x, before = self._part(kept, [read]) / root, self._part(kept, kept)
        if not self.exact:
            factor, failed = torch.linalg.cholesky_ex(gap)
            if failed.any():
                return None
            own = torch.diag(root).to(scaled.dtype).expand(len(gap), -1, -1)
            columns = torch.cat([x, own], 1)
            half_way = torch.linalg.solve_triangular(factor, columns.mH, upper=False)
            found = half_way.mH @ half_way
            return found + torch.nn.functional.pad(before, (0, len(root)) * 2)
        inverse = verified_inverse(gap, off)
        if inverse is None:
            return None
        through, roots = x @ inverse, _root_diagonal(inverse)
        own = root[:, None] * inverse * root
        found = assembled(hermitian(before + through @ x.mH), root[:, None] * through.mH, own)
        reach = self._roots(kept) + (x.abs() @ roots[..., None])[..., 0]
        return raised(found, torch.cat([reach, root * roots], 1), 2 * len(root))

    def plus(self, node: fx.Node, vectors: Tensor, share: Tensor) -> Joint:
        """T14 (b): with a vector added to a value; in place where rounding is made up for.

        Args:
            vectors: (frequencies, rows of the value), one vector in all.
            share: 1 - α.
        """
        shared, where = self.shared(vectors, share), self.rows(node)
        if shared is None:
            return self
        alpha, columns = shared
        grown = 1 + 32 * EPSILON

        def added(matrix: Tensor, at: slice) -> Tensor:
            own = hermitian(columns[at, :, None] * columns[at, None].conj())
            matrix[:, where, where] += own * grown
            return matrix

        if not self.exact:
            return replace(self, matrix=added(self.matrix * (grown / alpha), slice(None)))
        for at in parts(self.matrix.shape):
            matrix = added(self.matrix[at].mul_(grown / alpha), at)
            raised(matrix, _root_diagonal(matrix), 16)
        return self

    def blurred(self, node: fx.Node, moved: float, error: float) -> Joint:
        """T14 (b): with anything that is as short added to S' - S'(c) and to Δ of a value.

        In place.

        Args:
            moved, error: lengths, positive; so small that α is nearly 1.
        """
        where = self.rows(node)
        grown, added = self._balls(node, moved, error)
        added = added[:, None].expand(2, self.members[node].channels).flatten()
        added = added.repeat(self.size(self.members[node]) // len(added))
        for at in parts(self.matrix.shape):
            matrix = self.matrix[at].mul_(grown)
            matrix[:, where, where].diagonal(dim1=-2, dim2=-1).add_(added)
            raised(matrix, _root_diagonal(matrix), 16)
        return self

    def at_zero(self, node: fx.Node, read: fx.Node, member: Member, scale: float) -> Joint:
        """A multiple of a value's frequency 0, at the origin of a torus: at every frequency."""
        rows = 2 * member.channels  # of the first alias of the first frequency
        matrix = self.block(read)[:1, :rows, :rows].real * scale**2
        if self.exact:
            matrix = raised(matrix, _root_diagonal(matrix), 4)
        count = len(half(member.sides)[0])
        matrix = matrix.to(torch.complex128).repeat(count, 1, 1)
        return Joint(member.sides, {node: member}, matrix, self.exact)

    def coarser(self, sides: tuple[int, ...]) -> Joint:
        """The same with a matrix for each frequency of a coarser torus."""
        if sides == self.sides:
            return self
        new = replace(self, sides=sides)
        mirrored, places = [], []
        for node, member in self.members.items():
            fine = new.aliases(member.sides)
            block, flipped = self._stored(fine)
            at = torch.where(flipped[..., None], -fine, fine) % torch.tensor(member.sides)
            ratio = [f // o for f, o in zip(member.sides, self.sides, strict=True)]
            alias = index(at // torch.tensor(self.sides), ratio)
            width = 2 * member.channels
            row = self.rows(node).start + alias[..., None] * width + torch.arange(width)
            block, same = (t[..., None].expand_as(row) for t in (block, index(fine, self.sides)))
            mirrored.append(flipped[..., None].expand_as(row).flatten(1))
            places.append(torch.stack([block, row, same]).flatten(2))
        block, row, same = torch.cat(places, -1)
        mirrored = torch.cat(mirrored, -1)

        def made(at: slice) -> Tensor:
            found = self.matrix[block[at, :, None], row[at, :, None], row[at, None, :]]
            found = torch.where(mirrored[at, :, None], found.conj(), found)
            return torch.where(same[at, :, None] == same[at, None, :], found, 0)

        shape = (*row.shape, row.shape[-1])
        grows = self.matrix.requires_grad
        return replace(new, matrix=made(slice(None)) if grows else by_parts(shape, made))

    def numbers(self, node: fx.Node) -> Tensor:
        found = self.matrix[:, self.rows(node), self.rows(node)].diagonal(dim1=-2, dim2=-1).real
        return found.view(len(found), -1, 2, self.members[node].channels)

    def top(self, node: fx.Node, shape: Tensor) -> Tensor:
        """The largest eigenvalue relative to a diagonal: a guess, verified by whoever uses it."""
        root = shape.reshape(-1).repeat(self.size(self.members[node]) // shape.numel()).sqrt()
        if not self.matrix.requires_grad:
            root = root.detach()
            return self._by_parts(lambda part, _: part._tops(node, root)).max().clamp_min(1e-12)
        scaled = self._scaled(node, root)
        with torch.no_grad():
            vectors = _powers(scaled) if len(root) > LARGE else \
                torch.linalg.eigh(scaled)[1][..., -1:]  # fmt: skip
            which = _quotients(scaled, vectors).argmax()
        return _quotients(scaled[which], vectors[which]).squeeze().clamp_min(1e-12)

    def _scaled(self, node: fx.Node, root: Tensor) -> Tensor:
        return self.block(node) / (root[:, None] * root)

    def _tops(self, node: fx.Node, root: Tensor) -> Tensor:
        """About the largest eigenvalue at each frequency."""
        scaled = self._scaled(node, root)
        if len(root) <= LARGE:
            return torch.linalg.eigvalsh(scaled)[:, -1]
        return _quotients(scaled, _powers(scaled))[:, 0, 0]

    def lengths(self, node: fx.Node) -> Tensor:
        """Bounds on the ℓ² norm of S' - S'(c) and of Δ, by row sums."""
        member = self.members[node]
        block = self.block(node).view(len(self.matrix), -1, 2, member.channels, self.size(member))
        shape = (len(self.matrix), -1, 2, member.channels)
        found = []
        for part in (MOVED, ERROR):
            own = block[:, :, part].reshape(len(block), -1, self.size(member))
            own = own.view(*own.shape[:2], *shape[1:])[:, :, :, part].abs().flatten(2)
            found.append(own.sum(-1).amax().sqrt())
        return torch.stack(found) * (1 + 1e-12)


def by_parts(shape: Sequence[int], make: Callable[[slice], Tensor | None]) -> Tensor | None:
    """What `make` makes for frequencies, of a few at a time where all of them take much memory.

    Args:
        shape: of matrices for all frequencies, about as large as what is made.

    Returns:
        None as soon as a part is None.
    """
    found = None
    for where in parts(shape):
        part = make(where)
        if part is None or len(part) == shape[0]:
            return part
        if found is None:
            found = torch.empty(shape[0], *part.shape[1:], dtype=part.dtype)
        found[where] = part
    return found


def parts(shape: Sequence[int]) -> Iterator[slice]:
    """A few frequencies at a time, where all of them take much memory."""
    each = max(1, PART // (BYTES * math.prod(shape[1:])))
    return (slice(start, start + each) for start in range(0, shape[0], each))


def _powers(matrices: Tensor) -> Tensor:
    """Vectors near those of the largest eigenvalues, (batch, n, 1)."""
    vectors = torch.ones_like(matrices[..., :1])
    for _ in range(12):
        vectors = matrices @ vectors
        vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors


def _quotients(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Of Rayleigh, for vectors of length 1, (batch, 1, 1)."""
    return (vectors.mH @ matrices @ vectors).real


def _times(matrix: Tensor | float, values: Tensor) -> Tensor:
    return matrix @ values if isinstance(matrix, Tensor) else matrix * values


def _at(matrix: Tensor | float, where: slice) -> Tensor | float:
    return matrix[where] if isinstance(matrix, Tensor) else matrix


def assembled(kept: Tensor, cross: Tensor, own: Tensor) -> Tensor:
    above = torch.cat([kept, cross.mH], -1)
    return torch.cat([above, torch.cat([cross, own], -1)], -2)


def _root_diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).real.clamp_min(0).sqrt()


def raised(matrix: Tensor, reach: Tensor, terms: int) -> Tensor:
    """A matrix above the exact one: entries (i, j) were sums of so many terms, within r_i r_j.

    x* E x ≤ γ (Σ r_i |x_i|)² ≤ γ n Σ r_i² |x_i|², so a diagonal makes up for all of E. It is added
    in place.
    """
    n = matrix.shape[-1]
    share = 8 * n * (terms + n + 16) * EPSILON
    matrix.diagonal(dim1=-2, dim2=-1).add_(share * reach.square())
    return matrix


def hermitian(matrix: Tensor) -> Tensor:
    """Of a matrix that is Hermitian but for rounding, a Hermitian one."""
    return (matrix + matrix.mH) / 2


def is_root(lower: Tensor, matrix: Tensor, room: float) -> bool:
    """Whether L L* is, with its rounding, within `room` of each matrix, in the spectral norm.

    Args:
        lower, matrix: (batch, n, n).
    """
    lost = 8 * (lower.shape[-1] + 4) * EPSILON * torch.linalg.matrix_norm(lower).square()
    return bool((torch.linalg.matrix_norm(lower @ lower.mH - matrix) + lost <= room).all())


def verified_inverse(gap: Tensor, off: Tensor) -> Tensor | None:
    """A Hermitian matrix above the inverse of each matrix; None if that was not verified.

    The residual of a computed inverse says how far the exact one can be from it.

    Args:
        gap: (batch, n, n), Hermitian.
        off: (batch,), what it may be off by, in the spectral norm.
    """
    n = gap.shape[-1]
    if not verified_definite(gap, off):
        return None
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gap))
    inverse = hermitian(inverse)
    eye = torch.eye(n, dtype=gap.dtype)
    sizes = [torch.linalg.matrix_norm(matrix) for matrix in (gap, inverse)]
    residual = torch.linalg.matrix_norm(eye - gap @ inverse)
    residual = residual + 8 * (n + 4) * EPSILON * (sizes[0] * sizes[1] + 1) + off * sizes[1]
    if not bool((residual < LARGEST_RESIDUAL).all()):
        return None
    beyond = sizes[1] * residual / (1 - residual) * (1 + 1e-9)
    return inverse + beyond[:, None, None] * eye
