"""T14: ellipsoids, block diagonal over frequencies, joint over everything that is alive.

S' - S'(c) and Δ travel together in one joint ellipsoid (`joint`), and with them every value that
will be read again, so that what a skip connection and its branch have in common cancels. The
diagonals D of T14 (c) are free: any are sound, and `optimizing` finds good ones.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from qnotes.errors import NotVerified, QnotesError, UnsupportedOperation
from qnotes.networks.activations import slope_of
from qnotes.networks.operations import (
    ACTIVATION,
    ADAPTIVE_AVERAGE_POOLS,
    AFFINE,
    AVERAGE_POOL,
    CONCATENATION,
    CONVOLUTIONS,
    FLATTEN,
    IDENTITY,
    INPUT,
    MAX_POOL,
    MAX_POOLS,
    MEAN,
    OUTPUT,
    SLOPED_ACTIVATION,
    SUM,
    Operation,
)  # fmt: skip
from qnotes.propagation.centers import Points
from qnotes.propagation.euclidean import _made, column_sum, each, log_length, sharing
from qnotes.propagation.factored import WIDE, Factored, factored
from qnotes.propagation.intervals import Interval, rises
from qnotes.propagation.joint import BYTES, ERROR, Joint, Member, Together, raised
from qnotes.propagation.outward import EPSILON, log_up
from qnotes.propagation.pair import Pair
from qnotes.propagation.regions import Region
from qnotes.propagation.smallest import Known
from qnotes.propagation.spectral import (
    grid,
    half,
    index,
    largest_eigenvalue,
    paddings,
    sides_needed,
    symbols,
    waves,
)  # fmt: skip
from qnotes.propagation.walk import Domain, no_rule, walk

#: A diagonal that is too small grows by this factor, at most so often.
GROWTH, TRIES = 1.02, 100
#: Shorter than any vector that counts.
LEAST = 1e-140
#: A square of Δ that is smaller beside one of S' is what rounding left of a 0.
NOTHING = 1e-120
#: 1 - α at first, at most: 1/α enlarges everything that is alive.
LARGEST_SHARE = 0.02
#: So many copies of the largest joint matrix are alive at once, and as many more of what is made in
#: one piece, such as the maps of a layer, of up to `PIECE` bytes; and of all, for their gradients.
#: Of one that is factored, and not made in parts, so many times as many.
COPIES, PIECE, KEPT_COPIES, FACTORED_TIMES = 4, 1 << 28, 7, 3
#: Where a cache has the tori.
TORI = "tori"
#: What takes positions together.
POOLS = (MAX_POOL, AVERAGE_POOL, MEAN)
#: What a convolution makes: a matrix for each frequency, or `factored`, new or filtered.
MATRIX, FACTORED, FILTERED = "matrix", "factored", "filtered"


@dataclass(frozen=True)
class Value:
    """What a node is: its place in a joint ellipsoid, and the image that it stands for.

    Attributes:
        image: sides of the image on the torus.
        masked: whether it is 0 outside of the image; otherwise what is there means nothing.
    """

    image: tuple[int, ...]
    masked: bool
    flattened: bool = False


@dataclass
class Diagonals:
    """The free numbers of T14 for each node of an activation: D = λ (½ + exp(level)) exp(shape) m.

    m is the largest of Z's diagonal over frequencies, a number a channel, and λ the smallest number
    for which λ exp(shape) m is above Z: so 2D is above Z, on whatever torus.
    """

    found: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    shares: dict[str, Tensor] = field(default_factory=dict)

    @property
    def numbers(self) -> list[Tensor]:
        """All of them, to be moved."""
        both = [number for pair in self.found.values() for number in pair]
        return both + list(self.shares.values())

    def share(self, name: str, guess: float) -> Tensor:
        """1 - α where what is known at the center is added; the first time a guess."""
        if name not in self.shares:
            start = min(max(guess, 1e-6), LARGEST_SHARE)
            logit = torch.tensor(math.log(start / (1 - start)), dtype=torch.float64)
            self.shares[name] = logit.requires_grad_()
        return torch.sigmoid(self.shares[name])

    def of(self, name: str, like: Tensor, *, even: bool) -> tuple[Tensor, Tensor]:
        """Shape and level; the first time those of D = λ, for S' and for Δ, or of D = λ m.

        Where few channels became many, those differ in size: D = λ m is better by decades.
        """
        if name not in self.found:
            level = torch.tensor(math.log(0.5), dtype=torch.float64)
            shape = (like.detach().amax(1, keepdim=True) / like.detach()).log() * even
            self.found[name] = (shape.requires_grad_(), level.requires_grad_())
        if self.found[name][0].shape != like.shape:
            raise QnotesError(
                f"{name}: diagonals for {self.found[name][0].shape[1]} channels were given, the "
                f"network has {like.shape[1]}; give those of a certificate of the same network"
            )
        return self.found[name]

    def copy(self) -> Diagonals:
        """The same numbers, to be moved on their own."""
        found = {name: tuple(map(_own, pair)) for name, pair in self.found.items()}
        return Diagonals(found, {name: _own(share) for name, share in self.shares.items()})


class Ellipsoids(Domain):
    """Joint ellipsoids around one center.

    Args:
        pair: that is walked.
        region: of inputs, of one image.
        known: what is made of Δ at its center, from `at_center`.
        diagonals: used where they are known, and added where not.
        small: for finding diagonals only: on a torus so many times as large as it must be divided,
            without rounding and without what is known at the center.
    """

    def __init__(
        self,
        pair: Pair,
        region: Region,
        known: Mapping[fx.Node, Interval],
        diagonals: Diagonals,
        *,
        small: int | None = None,
        cache: dict | None = None,
    ) -> None:
        self.pair, self.region, self.diagonals = pair, region, diagonals
        self.exact, self.cache = small is None, cache
        self.tori = self._once(TORI, lambda: tori(pair, small))
        self.joints: dict[fx.Node, Joint | Factored] = {}
        self.last = {n: operation for operation in pair.operations for n in operation.inputs}
        self.known = known

    def _once(self, key: object, make: Callable):
        """What the steps of a descent have in common; made anew where nothing is kept."""
        if self.cache is None:
            return make()
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    # ------------------------------------------------------------ keeping joints

    def apply(self, operation: Operation, reads: tuple) -> Value:
        result = super().apply(operation, reads)
        if operation.node in self.known:
            self._add(operation.node, self.known[operation.node])
        if not self.joints[operation.node].finite:
            raise NotVerified(
                f"{operation.name}: ellipsoids hold squares of lengths, which are too large for "
                "float64 here; the other methods of qnotes.certify reach further"
            )
        return result

    def forget(self, node: fx.Node) -> None:
        joint = self.joints.pop(node, None)
        if joint is not None:
            self._store(joint.only([n for n in joint.members if n is not node]), joint)

    def _solid(self, node: fx.Node) -> Joint:
        """What a value is in, as one matrix for each frequency, for rules that ask for that."""
        joint = self.joints[node]
        self._store(joint.solid(), joint)
        return self.joints[node]

    def _store(self, joint: Joint | Factored, before: Joint | Factored | None = None) -> None:
        for node in list(self.joints):
            if before is not None and self.joints[node] is before:
                del self.joints[node]
        for node in joint.members:
            self.joints[node] = joint

    def _kept(self, operation: Operation, joint: Joint) -> list[fx.Node]:
        """What else is read later."""
        return [node for node in joint.members if self.last.get(node) is not operation]

    def _start(self, node: fx.Node, channels: int, matrix: Tensor) -> None:
        """A value by itself, with one matrix, (1, rows, rows), at every frequency of its torus."""
        sides = self.tori[node]
        matrix = matrix.to(torch.complex128).repeat(len(half(sides)[0]), 1, 1)  # changed in place
        self._store(Joint(sides, {node: Member(sides, channels)}, matrix, self.exact))

    # ------------------------------------------------------------ the rules

    def input(self, operation: Operation) -> Value:
        """x - c in the ball of radius ‖reach‖₂, each channel with its own share of it."""
        channels, *image = self.region.low.shape[1:]
        reach = self.region.reach.reshape(channels, -1)
        lengths = log_length(reach).exp() * (1 + 1e-12)
        total = lengths.square().sum()
        weights = torch.where(lengths > 0, lengths, 1e-9 * lengths.max().clamp_min(1e-300))
        numbers = weights * weights.sum() * (1 + 1e-12) if channels > 1 else total[None]
        numbers = numbers.clamp_min(LEAST**2)  # smaller squares are lost
        numbers = torch.cat([numbers, torch.zeros_like(numbers)])
        self._start(operation.node, channels, torch.diag(numbers)[None])
        return Value(tuple(image), True)

    def affine(self, operation: Operation, read: Value) -> Value:
        ours, theirs = (m.weight.detach().double() for m in (operation.module, operation.quantized))
        if isinstance(operation.module, nn.Linear):
            return self._dense(operation, read, ours, theirs)
        if _looks_outside(operation.module):
            read = self._masked(operation, read)
        return self._convolved(operation, read, operation.module, ours, theirs)

    def _convolved(self, operation, read: Value, module, ours: Tensor, theirs: Tensor) -> Value:
        node, source = operation.node, operation.inputs[0]
        joint, kept = self.joints[source], self._kept(operation, self.joints[source])
        fine, sides = joint.members[source].sides, self.tori[node]
        coarse = tuple(map(math.gcd, joint.sides, sides))
        form = kept_form(
            module, joint.columns, (joint.sides, coarse, fine, sides),
            kept, source, joint.members | {node: Member(sides, len(ours))},
        )  # fmt: skip
        if form == FILTERED:
            moved = replace(joint, sides=coarse)
        else:
            moved = joint if joint.sides == coarse else joint.solid().coarser(coarse)
        key = (node.name, moved.sides)  # a module may be called at several nodes
        maps, bounds = self._once(
            key, lambda: self._maps(moved, module, fine, sides, (ours, theirs), form == FILTERED)
        )
        member = Member(sides, len(ours))
        taps = ours[0, 0].numel()
        if form == FILTERED:
            found = joint.filtered(node, member, source, kept, maps, bounds, taps)
        elif form == FACTORED:
            found = factored(moved, node, member, source, kept, maps, bounds, taps)
        else:
            found = moved.mapped(node, member, [source], kept, [maps], [bounds], taps)
        self._store(found, joint)
        image = tuple(self.pair.shapes[node][2:])
        masked = read.masked and image == read.image and taps == 1 and not any(
            first for first, _ in paddings(module))  # fmt: skip
        return Value(image, masked or image == tuple(sides))

    def _maps(self, moved: Together, module, fine, sides, weights: tuple, filtered: bool) -> tuple:
        """A convolution at the frequencies of a joint ellipsoid, and bounds on its entries.

        Where it is `filtered`, they are 2 × 2 for each frequency, alias and channel.
        """
        ours, theirs = weights
        before, after = moved.aliases(fine), moved.aliases(sides)
        shares = 1 / math.sqrt(math.prod(f // s for f, s in zip(fine, sides, strict=True)))
        flat = before.flatten(0, 1)
        pieces = [
            symbols(module, weight, flat, fine).view(*before.shape[:2], *weight.shape[:2]) * shares
            for weight in (ours, theirs, ours - theirs)
        ]
        sizes = [
            w.abs().flatten(2).sum(2)[None, None] * shares for w in (ours, theirs, ours - theirs)
        ]
        if filtered:
            return tuple(_two_networks([t.unsqueeze(-1) for t in kind]) for kind in (pieces, sizes))
        groups = module.groups
        same = (before[:, None] % torch.tensor(sides) == after[:, :, None]).all(-1)
        maps = _two_networks([_spread(piece, groups) for piece in pieces])
        bounds = _two_networks([_spread(size, groups) for size in sizes])
        return _aliased(maps, same), _aliased(bounds, same)

    def _dense(self, operation, read: Value, ours: Tensor, theirs: Tensor) -> Value:
        """A sum over all positions: over all frequencies."""
        node, source = operation.node, operation.inputs[0]
        joint = self.joints[source]
        if not joint.sides:  # a vector stays with what else is alive
            weights = (ours, theirs, ours - theirs)
            matrix = _two_networks([weight[None] for weight in weights])
            sizes = _two_networks([weight.abs()[None] for weight in weights])
            member, kept = Member((), len(ours)), self._kept(operation, joint)
            maps = [matrix.to(torch.complex128)]
            self._store(joint.mapped(node, member, [source], kept, maps, [sizes], 1), joint)
            return Value((), True)
        return self._read_all(
            operation, read, *(w.view(len(w), -1, *read.image) for w in (ours, theirs))
        )

    def _read_all(self, operation, read: Value, ours: Tensor, theirs: Tensor) -> Value:
        """Weights (out, channels, ...), a number for each position of the image."""
        node, source = operation.node, operation.inputs[0]
        joint = self.joints[source]
        sides = joint.members[source].sides
        frequencies = joint.aliases(sides)
        places = grid(read.image)
        phases = waves(places, frequencies.flatten(0, 1), sides)
        phases = phases / math.sqrt(math.prod(sides))
        pieces, sizes = [], []
        for weight in (ours, theirs, ours - theirs):
            flat = weight.reshape(-1, len(places))
            found = phases @ flat.to(phases.dtype).T
            pieces.append(found.view(*frequencies.shape[:2], *weight.shape[:2]))
            total = flat.abs().sum(1).view(1, 1, *weight.shape[:2])
            sizes.append(total / math.sqrt(math.prod(sides)))
        maps, bounds = (_two_networks(t) for t in (pieces, sizes))
        maps = maps.transpose(1, 2).flatten(2)
        bounds = bounds.transpose(1, 2).expand(-1, -1, maps.shape[2] // bounds.shape[3], -1)
        self._sum_over_frequencies(joint, operation, maps, bounds.flatten(2), len(places))
        return Value(tuple(self.pair.shapes[node][2:]), True)

    def _sum_over_frequencies(self, joint, operation, maps, bounds, terms: int) -> None:
        node, source = operation.node, operation.inputs[0]
        own = joint.carried(source, maps).real * joint.multiplicity[:, None, None]
        matrix = own.sum(0, keepdim=True).to(torch.complex128)
        if self.exact:
            roots = joint.numbers(source).flatten(1).clamp_min(0).sqrt()
            reach = (bounds @ roots[..., None])[..., 0]
            reach = (reach.square() * joint.multiplicity[:, None]).sum(0, keepdim=True).sqrt()
            terms = terms + joint.terms + maps.shape[-1] + len(maps)
            matrix = raised(matrix, reach, terms)
        # A vector at the origin of a torus has the same transform everywhere, T^-1/2 of itself.
        self._start(node, matrix.shape[-1] // 2, matrix)

    def sum(self, operation: Operation, first: Value, second: Value) -> Value:
        joint = self._together(operation, first, second)
        reads = list(dict.fromkeys(operation.inputs))
        member = joint.members[reads[0]]
        same = [3.0 - len(reads)] * len(reads)
        kept = self._kept(operation, joint)
        self._store(joint.mapped(operation.node, member, reads, kept, same, same, 4), joint)
        return Value(first.image, first.masked and second.masked, first.flattened)

    def concatenation(self, operation: Operation, *reads: Value) -> Value:
        """Each channel where it belongs: as linear as a sum."""
        joint = self._together(operation, *reads)
        members = [joint.members[node] for node in operation.inputs]
        channels = [member.channels for member in members]
        member = replace(members[0], channels=sum(channels))
        copies = torch.eye(joint.size(member) // member.channels, dtype=torch.complex128)
        maps = [
            torch.kron(copies, columns.contiguous()).expand(len(joint.matrix), -1, -1)
            for columns in torch.eye(member.channels, dtype=torch.float64).split(channels, 1)
        ]
        kept, sizes = self._kept(operation, joint), [matrix.abs() for matrix in maps]
        reading = list(operation.inputs)
        self._store(joint.mapped(operation.node, member, reading, kept, maps, sizes, 1), joint)
        return Value(reads[0].image, all(read.masked for read in reads), reads[0].flattened)

    def _together(self, operation: Operation, *reads: Value) -> Joint:
        """One joint ellipsoid of all values that an operation reads."""
        images = {read.image: None for read in reads}
        if len(images) > 1:  # of vectors that were flat images of other sides
            raise UnsupportedOperation(
                f"{operation.name}: reads flattened images of shapes "
                f"{' and '.join(map(str, images))} together, for which ellipsoids have no rule"
            )
        first, *others = operation.inputs
        joint = self._solid(first)
        for other in others:
            joint = self._united(operation, first, other)
        return joint

    def _united(self, operation: Operation, one: fx.Node, other: fx.Node) -> Joint:
        """The joint ellipsoid of two values; of two ellipsoids, by T14 (b) with traces for α."""
        first, second = self._solid(one), self._solid(other)
        if first is second:
            return first
        coarse = tuple(map(math.gcd, first.sides, second.sides))
        parts = [
            joint.only([*self._kept(operation, joint), *operation.inputs])
            for joint in (first, second)
        ]
        parts = [joint.coarser(coarse) for joint in parts]
        roots = [j.block(n).diagonal(dim1=-2, dim2=-1).real.sum(-1).max().sqrt()
                 for j, n in zip(parts, (one, other), strict=True)]  # fmt: skip
        alpha = (roots[0] / (roots[0] + roots[1])).clamp(1e-9, 1 - 1e-9).nan_to_num(0.5)
        matrices = [parts[0].matrix / alpha, parts[1].matrix / (1 - alpha)]
        zeros = torch.zeros(len(matrices[0]), matrices[1].shape[-1], matrices[0].shape[-1])
        matrix = torch.cat([
            torch.cat([matrices[0], zeros.mT.to(matrices[0].dtype)], -1),
            torch.cat([zeros.to(matrices[0].dtype), matrices[1]], -1),
        ], -2)  # fmt: skip
        found = Joint(coarse, parts[0].members | parts[1].members, matrix, self.exact)
        if self.exact:
            found = Joint(coarse, found.members, raised(
                matrix * (1 + 16 * EPSILON), matrix.diagonal(dim1=-2, dim2=-1).real.sqrt(), 4
            ), True)  # fmt: skip
        self._store(found, first)
        self._store(found, second)
        return found

    def activation(self, operation: Operation, read: Value) -> Value:
        """σ, and with it the mask of zero padding: slopes in [0, 1]."""
        self._activate(operation, operation.node, operation.inputs[0], operation.node.name)
        return Value(read.image, True, read.flattened)

    def sloped_activation(self, operation: Operation, read: Value) -> Value:
        """Those with slopes in [0, 1], too; a slip is what float64 takes at the center."""
        if not rises(operation.module) or slope_of(operation.module).slope > 1:
            raise UnsupportedOperation(f"{no_rule(self, operation)}: its slopes leave [0, 1]")
        return self.activation(operation, read)

    def _activate(self, operation, node: fx.Node, read: fx.Node, name: str) -> None:
        joint = self.joints[read]
        kept = self._kept(operation, joint) if node is not read else \
            [n for n in joint.members if n is not read]  # fmt: skip
        scale = _positive(joint.numbers(read).amax((0, 1)))
        shape, level = self.diagonals.of(name, scale, even=not joint.columns)
        shape = scale * shape.exp()
        numbers = shape * joint.top(read, shape) * (0.5 + level.exp())
        for _ in range(TRIES):
            found = joint.activated(node, read, kept, numbers)
            if found is not None:
                self._store(found, joint)
                return
            numbers = numbers * GROWTH
        raise NotVerified(f"{name}: no diagonal of ellipsoids could be verified")

    def _masked(self, operation: Operation, read: Value) -> Value:
        """What lies outside of the image must be 0 now: slopes 0 and 1."""
        if read.masked:
            return read
        node = operation.inputs[0]
        self._activate(operation, node, node, f"mask of {node.name}")
        return Value(read.image, True, read.flattened)

    def max_pool(self, operation: Operation, read: Value) -> Value:
        """T14: E(κ D) for a diagonal D above Q."""
        return self._pooled(operation, sharing(operation, self.pair))

    def _pooled(self, operation: Operation, grown: float) -> Value:
        node, source = operation.node, operation.inputs[0]
        _refuse_channels(operation, self.pair)
        joint = self._solid(source).only([source])
        channels = joint.members[source].channels
        blocks = joint.matrix
        scale = (
            blocks.diagonal(dim1=-2, dim2=-1).real.view(len(blocks), -1, 2, channels).amax((0, 1))
        )
        scale = _positive(scale)
        root = scale.reshape(-1).repeat(blocks.shape[-1] // scale.numel()).sqrt()
        scaled = blocks / (root[:, None] * root)
        margin = 16 * EPSILON * blocks.shape[-1] * torch.ones(len(blocks), dtype=torch.float64)
        top = (
            largest_eigenvalue(scaled, margin)
            if self.exact
            else torch.linalg.eigvalsh(scaled).max()
        )
        numbers = scale.reshape(-1) * top * (grown * (1 + 1e-12))
        self._start(node, channels, torch.diag(numbers)[None])
        return Value(tuple(self.pair.shapes[node][2:]), True)

    def average_pool(self, operation: Operation, read: Value) -> Value:
        shape, made = (self.pair.shapes[n] for n in (operation.inputs[0], operation.node))
        whole = set(made[2:]) == {1} and made[1] == shape[1]
        if whole and _covers(operation.module, shape):
            return self._global(operation, read)
        module = None if whole else _uniform(operation.module, shape)
        if module is None:
            return self._pooled(operation, column_sum(operation, self.pair))
        read = self._masked(operation, read)
        return self._convolved(operation, read, module, *[module.weight.detach()] * 2)

    def mean(self, operation: Operation, read: Value) -> Value:
        """Of whole images."""
        if not _of_images(operation, self.pair):
            raise UnsupportedOperation(f"{no_rule(self, operation)} over some positions only")
        return self._global(operation, read)

    def _global(self, operation: Operation, read: Value) -> Value:
        """The mean of an image: frequency 0 only, where there are zeros around it."""
        source, joint = operation.inputs[0], self.joints[operation.inputs[0]]
        channels = joint.members[source].channels
        if not read.masked:
            weights = torch.eye(channels, dtype=torch.float64) / math.prod(read.image)
            weights = weights.view(channels, channels, *[1] * len(read.image))
            weights = weights.expand(-1, -1, *read.image)
            return self._read_all(operation, read, weights, weights)
        factor = math.sqrt(math.prod(joint.members[source].sides)) / math.prod(read.image)
        member = Member(self.tori[operation.node], channels)
        self._store(joint.at_zero(operation.node, source, member, factor))
        return Value(tuple(self.pair.shapes[operation.node][2:]), True)

    def padding(self, operation: Operation, read: Value) -> Value:
        """The image moves on its torus."""
        read = self._masked(operation, read)
        node, source = operation.node, operation.inputs[0]
        joint = self._solid(source)
        member = joint.members[source]
        before = list(operation.module.padding[::2])[::-1]  # of the last axes, maybe not of all
        first = torch.tensor([[0] * (len(member.sides) - len(before)) + before])
        frequencies = joint.aliases(member.sides)
        shift = waves(-first, frequencies.flatten(0, 1), member.sides).view(*frequencies.shape[:2])
        maps = torch.diag_embed(shift.repeat_interleave(2 * member.channels, 1))
        kept = self._kept(operation, joint)
        moved = joint.mapped(node, member, [source], kept, [maps], [maps.abs()], 32)
        self._store(moved, joint)
        return Value(tuple(self.pair.shapes[node][2:]), True)

    def _renamed(self, operation: Operation) -> None:
        node, source = operation.node, operation.inputs[0]
        if self.last[source] is operation:
            joint = self.joints[source]
            self._store(joint.renamed(node, source), joint)
            return
        joint = self._solid(source)
        kept = self._kept(operation, joint)
        moved = joint.mapped(node, joint.members[source], [source], kept, [1.0], [1.0], 1)
        self._store(moved, joint)

    def flatten(self, operation: Operation, read: Value) -> Value:
        self._renamed(operation)
        return Value(read.image, read.masked, True)

    def identity(self, operation: Operation, read: Value) -> Value:
        self._renamed(operation)
        return read

    output = identity

    def _add(self, node: fx.Node, made: Made) -> None:
        """What is known of Δ at the center, up to rounding, as a vector on the torus."""
        joint = self.joints[node]
        member = joint.members[node]
        slip = max(log_length(made.slip).exp().item() * (1 + 1e-9), LEAST)
        if made.known is None:
            if self.exact:
                self._store(joint.blurred(node, slip, LEAST), joint)
            return
        known = made.known
        middle = (known.low / 2 + known.high / 2)[0]
        size = log_length(middle[None]).exp().item()
        off = log_length(torch.maximum(known.high - middle, middle - known.low)).exp().item()
        if size < LEAST:
            middle, off = 0 * middle, off + size
        image = middle.reshape(member.channels, *middle.shape[1:])
        found = self._on_torus(joint, member, image)
        vectors = torch.zeros(*found.shape[:2], 2, member.channels, dtype=torch.complex128)
        vectors[:, :, ERROR] = found
        terms = sum(member.sides) + 32
        off = off * 1.001 + 64 * terms * EPSILON * math.sqrt(math.prod(member.sides)) * size
        errors = joint.numbers(node).detach()[:, :, ERROR]
        old = errors.sum((1, 2)).max().sqrt().item()
        share = self.diagonals.share(node.name, size / (size + old) if size else 0.0)
        joint_now = joint.plus(node, vectors.flatten(1), share)
        if self.exact:
            joint_now = joint_now.blurred(node, slip, max(off, LEAST))
        self._store(joint_now, joint)

    def _on_torus(self, joint: Joint, member: Member, image: Tensor) -> Tensor:
        """An image's Fourier transform, (frequencies, aliases, channels).

        On a small torus all of it at frequency 0, about as large as it counts on the whole one.
        """
        frequencies = joint.aliases(member.sides)
        if self.exact:
            return _transformed(image, member.sides)[:, index(frequencies, member.sides)].movedim(
                0, -1
            )
        found = torch.zeros(*frequencies.shape[:2], member.channels, dtype=torch.complex128)
        spectrum = torch.fft.fftn(image, dim=tuple(range(1, image.dim())), norm="ortho") \
            if image.dim() > 1 else image  # fmt: skip
        lengths = spectrum.flatten(1).abs().square().sum(0).sqrt() if image.dim() > 1 else None
        first = spectrum.reshape(len(image), -1)[:, 0]
        if lengths is not None:
            first = (
                first
                * (lengths.sum() / lengths[0].clamp_min(1e-12 * lengths.max())).nan_to_num(0).sqrt()
            )
        found[0, 0] = first
        return found

    # ------------------------------------------------------------ what it says

    def facts(self, node: fx.Node) -> Known:
        """Bounds on coordinates and lengths of a value."""
        shape, joint = self.pair.shapes[node], self.joints[node]
        peaks, lengths = log_up(joint.peaks(node).log()), log_up(joint.lengths(node).log())
        member = joint.members[node]
        many = math.prod(shape[1:]) // member.channels
        axes = [1] * (len(shape) - 2)
        if len(shape) == 2:
            peaks = peaks.repeat_interleave(many, 1)
        nothing = torch.full_like(peaks[0], math.inf).view(1, -1, *axes)
        return Known(peaks[ERROR].view(1, -1, *axes), lengths[ERROR, None], nothing)


def _own(number: Tensor) -> Tensor:
    return number.detach().clone().requires_grad_()


def _positive(scale: Tensor) -> Tensor:
    """Numbers of each network's channels, none of them 0.

    Where all of Δ is 0 but for rounding, its shape says nothing, and must not count beside S'.
    """
    own, all_ = scale.detach().amax(1, keepdim=True), scale.detach().max()
    return torch.maximum(scale, (1e-12 * own).clamp_min(NOTHING * all_).clamp_min(1e-290))


def kept_form(module, columns: int, sides: tuple, kept, source, members: dict) -> str:
    """How what a convolution makes is kept together with all that is alive.

    Args:
        columns: of what is read, if it is factored.
        sides: of the joint ellipsoid, before and after; of the values that are read and made.
        members: all that are alive, and last what is made.
    """
    before, coarse, fine, made = sides
    rows = {
        node: 2 * math.prod(m.sides) // math.prod(coarse) * m.channels
        for node, m in members.items()
    }
    *_, node = members
    if columns:
        single = module.groups == module.in_channels == module.out_channels
        follows = before == fine and coarse == made and source not in kept
        narrow = columns * math.prod(before) <= rows[node] * math.prod(made)
        fits = before == coarse or (narrow and not kept)
        return FILTERED if single and follows and fits else MATRIX
    read = sum(rows[other] for other in {*kept, source})
    return FACTORED if rows[node] >= WIDE * read else MATRIX


def _looks_outside(module: nn.Module) -> bool:
    """Whether a convolution reads what lies outside of its image; one of size 1 does if it pads."""
    return max(module.kernel_size) > 1 or any(map(any, paddings(module)))


def _transformed(image: Tensor, sides: Sequence[int]) -> Tensor:
    """The unitary Fourier transform on a torus, (channels, frequencies), axis by axis."""
    found = image.to(torch.complex128)
    for axis, side in enumerate(sides):
        turns = torch.arange(side)[:, None]
        places = torch.arange(image.shape[axis + 1])[:, None]
        table = waves(-places, turns, [side]) / math.sqrt(side)
        found = torch.tensordot(found, table, dims=([axis + 1], [1])).movedim(-1, axis + 1)
    return found.reshape(len(image), -1)


def _spread(piece: Tensor, groups: int) -> Tensor:
    """(..., out, in / groups) as (..., out, in)."""
    if groups == 1:
        return piece
    out, read = piece.shape[-2:]
    split = piece.view(*piece.shape[:-2], groups, out // groups, read)
    full = torch.zeros(*piece.shape[:-2], groups, out // groups, groups, read, dtype=piece.dtype)
    which = torch.arange(groups)
    full[..., which, :, which, :] = split.movedim(-3, 0)
    return full.view(*piece.shape[:-2], out, groups * read)


def _two_networks(pieces: Sequence[Tensor]) -> Tensor:
    """[[W', 0], [W - W', W]], (..., aliases, 2 out, 2 in)."""
    ours, theirs, change = pieces
    above = torch.cat([theirs, torch.zeros_like(theirs)], -1)
    return torch.cat([above, torch.cat([change, ours], -1)], -2)


def _aliased(maps: Tensor, same: Tensor) -> Tensor:
    """(..., read aliases, 2 out, 2 in) as (..., made aliases · 2 out, read aliases · 2 in)."""
    full = maps[:, None] * same[..., None, None]
    return full.transpose(2, 3).flatten(3).flatten(1, 2)


def _covers(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether average pooling to one position takes all positions alike, and no other channel."""
    if type(module) in ADAPTIVE_AVERAGE_POOLS:
        return True
    if not _pools_positions(module, shape):
        return False
    columns = torch.ones(1, 1, *shape[2:], dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        (columns,) = torch.autograd.grad(module(columns).sum(), columns)
    return bool((columns - 1 / math.prod(shape[2:])).abs().max() <= 1e-15)


def _uniform(module: nn.Module, shape: tuple[int, ...]) -> nn.Module | None:
    """Average pooling as a convolution; None where windows differ."""
    if type(module) in ADAPTIVE_AVERAGE_POOLS:
        return None
    if not _pools_positions(module, shape):
        return None
    axes = len(shape) - 2
    kernel, stride, padding = (
        each(option, axes) for option in (module.kernel_size, module.stride, module.padding)
    )
    if any(padding) and not module.count_include_pad:
        return None
    made = module(torch.empty(shape, device="meta")).shape[2:]
    options = zip(shape[2:], padding, kernel, stride, strict=True)
    if list(made) != [(side + 2 * zeros - size) // step + 1 for side, zeros, size, step in options]:
        return None  # ceil_mode has added windows
    channels = shape[1]
    same = CONVOLUTIONS[axes - 1](
        channels, channels, kernel, stride, padding, groups=channels, bias=False
    ).double()
    same.weight.data.fill_(1 / math.prod(kernel))
    return same


class Made(NamedTuple):
    """At the reference: (W - W') S' + (b - b') of a layer, and the slip of S' itself."""

    known: Interval | None
    slip: Tensor


def at_center(pair: Pair, region: Region) -> dict[fx.Node, Made]:
    """What is added at each operation, for the center of a box of inputs."""
    found = {}
    for visit in walk(pair.operations, Points(pair, region.center, quantized=True)):
        operation, slip = visit.operation, visit.result.slip
        if operation.kind == AFFINE:
            point = visit.reads[0].value
            found[operation.node] = Made(_made(operation, Interval(point, point)), slip)
        elif operation.kind in (SUM, AVERAGE_POOL, MEAN, SLOPED_ACTIVATION):
            found[operation.node] = Made(None, slip)
    return found


# ---------------------------------------------------------------- sides of the tori


def check_memory(pair: Pair, memory: float) -> None:
    """Refuse networks whose matrices need more, before any of them is made.

    Args:
        memory: bytes.
    """
    for name, needed in needed_memory(pair):
        if needed > memory:
            raise NotVerified(
                f"{name}: ellipsoids need about {needed / 1e9:.3g} GB here, and "
                f"memory={memory:.3g} bytes are allowed; they are for smaller images, fewer "
                "channels, or more memory"
            )


def thrifty(pair: Pair) -> Pair:
    """The same in another order: layers come at once that are the last to read a value.

    It would stay alive through a whole branch, for the projection of its skip. All in all they must
    make no more numbers than it has.
    """
    left, order = list(pair.operations), []
    while left:
        readers = left[:1]
        if left[0].kind == AFFINE:
            (read,) = left[0].inputs
            others = [operation for operation in left if read in operation.inputs]
            made = sum(math.prod(pair.shapes[operation.node]) for operation in others)
            fewer = made <= math.prod(pair.shapes[read])
            readers = others if fewer and all(o.kind == AFFINE for o in others) else readers
        order += readers
        left = [operation for operation in left if operation not in readers]
    return replace(pair, operations=tuple(order))


def needed_memory(pair: Pair) -> Iterator[tuple[str, int]]:
    """Names of operations, and about the bytes that each takes."""
    for visit in walk(pair.operations, Needs(pair, factored=FACTORED_TIMES)):
        size = BYTES * visit.result
        yield visit.operation.name, COPIES * (size + min(size, PIECE))


def gradient_memory(pair: Pair, small: int) -> int:
    """Bytes that a step of a descent on small tori takes."""
    visits = walk(pair.operations, Needs(pair, small))
    return KEPT_COPIES * BYTES * sum(visit.result for visit in visits)


class Needs(Domain):
    """Numbers of the joint matrix at each operation, by what `Ellipsoids` keeps together.

    Args:
        small: as that of `Ellipsoids`.
        factored: what each number of a factored one counts.
    """

    def __init__(self, pair: Pair, small: int | None = None, *, factored: int = 1) -> None:
        self.factored = factored
        self.pair, self.tori = pair, tori(pair, small)
        self.last = {n: operation for operation in pair.operations for n in operation.inputs}
        #: Sides, members, and columns where they are factored.
        self.joints: dict[fx.Node, tuple[tuple[int, ...], frozenset[fx.Node], int]] = {}
        self.channels: dict[fx.Node, int] = {}

    def apply(self, operation: Operation, reads: tuple) -> int:
        node, joints = operation.node, [self.joints[read] for read in operation.inputs]
        read = operation.inputs if operation.kind == CONCATENATION else operation.inputs[:1]
        made = operation.kind in (INPUT, AFFINE)  # others keep the channels, flattened or not
        self.channels[node] = self.pair.shapes[node][1] if made else \
            sum(self.channels[other] for other in read)  # fmt: skip
        if not joints or self._starts(operation, joints[0]):
            whole = _of_images(operation, self.pair)
            self.joints[node] = self.tori[node], frozenset([node]), joints[0][2] if whole else 0
            pools = operation.kind in POOLS and not whole
            read = self._numbers(joints[0][0], operation.inputs, 0) if pools else 0
            return max(read, self._numbers(*self.joints[node]))
        sides = tuple(map(math.gcd, *[joint[0] for joint in joints], self.tori[node]))
        kept = {n for joint in joints for n in joint[1] if self.last.get(n) is not operation}
        columns, read = self._forms(operation, joints[0], sides, kept)
        together = frozenset(kept | {node})
        for member in together:
            self.joints[member] = sides, together, columns
        return max(self._numbers(sides, together, columns), self._numbers(*read))

    def _forms(self, operation: Operation, joint: tuple, sides: tuple, kept: set) -> tuple:
        """Columns of what is made, 0 for a matrix; and in which form what it reads is."""
        (before, _, columns), read = joint, kept | set(operation.inputs)
        if operation.kind in (ACTIVATION, SLOPED_ACTIVATION, IDENTITY, FLATTEN, OUTPUT):
            if operation.inputs[0] in kept:  # read again: whole matrices
                return 0, (sides, read, 0)
            return columns, (sides, read, columns)
        module = _convolution(operation, self.pair)
        if module is None:
            return 0, (sides, read, 0)
        (source,), node = operation.inputs, operation.node
        members = {n: Member(self.tori[n], self.channels[n]) for n in (*read, node)}
        tori = before, sides, self.tori[source], self.tori[node]
        form = kept_form(module, columns, tori, kept, source, members)
        if form == FILTERED:  # and a column for what is known
            ratio = math.prod(before) // math.prod(sides)
            return columns * ratio + 1, (before, read, columns)
        if form == FACTORED:
            return self._rows(sides, read) + 1, (sides, read, 0)
        return 0, (sides, read, columns if before == sides and source not in kept else 0)

    def forget(self, node: fx.Node) -> None:
        self.joints.pop(node)
        for other, (sides, members, columns) in self.joints.items():
            self.joints[other] = sides, members - {node}, columns

    def _starts(self, operation: Operation, joint: tuple) -> bool:
        """Whether it knows what it reads by itself only."""
        if operation.kind == AFFINE and isinstance(operation.module, nn.Linear):
            return bool(joint[0])
        return operation.kind in POOLS and _convolution(operation, self.pair) is None

    def _rows(self, sides: tuple[int, ...], members) -> int:
        return sum(
            2 * self.channels[n] * math.prod(self.tori[n]) // math.prod(sides) for n in members
        )

    def _numbers(self, sides: tuple[int, ...], members, columns: int) -> int:
        rows = self._rows(sides, members)
        numbers = self.factored * (columns + 2) if columns else rows
        return (math.prod(sides) // 2 + 1) * rows * numbers


def tori(pair: Pair, small: int | None = None) -> dict[fx.Node, tuple[int, ...]]:
    """Sides of each value's torus: large enough for zeros around it, divisible by all strides.

    Values that strides connect are a family: their sides are those of one torus, divided. What is
    added or put side by side belongs to one family.

    Args:
        small: a side that is enough for finding diagonals.
    """
    steps: dict[fx.Node, tuple[int, tuple[Fraction, ...]]] = {}
    needs: list[tuple[fx.Node, list[int]]] = []
    for number, operation in enumerate(pair.operations):
        node, image = operation.node, list(pair.shapes[operation.node][2:])
        for read in operation.inputs[1:]:
            if steps[operation.inputs[0]] != steps[read]:
                _unite(operation, steps, steps[operation.inputs[0]], steps[read])
        reads = [steps[read] for read in operation.inputs]
        if operation.kind in (INPUT, AFFINE, *POOLS):
            stride = _stride(pair, operation)
        else:
            stride = (1,) * len(reads[0][1])
        if stride is None:
            steps[node] = (number, (Fraction(1),) * len(image))
        else:
            family, own = reads[0]
            steps[node] = (family, tuple(map(operator.mul, own, stride)))
        if len(image) == len(steps[node][1]):  # not flattened
            needs.append((node, image))
        module = _convolution(operation, pair)
        if module is not None:
            source = operation.inputs[0]
            needs.append((source, sides_needed(module, pair.shapes[source][2:], image)))
    whole = {family: _sides(steps, needs, family, small) for family, _ in steps.values()}
    return {
        node: tuple(int(side / step) for side, step in zip(whole[family], own, strict=True))
        for node, (family, own) in steps.items()
    }


def _unite(operation: Operation, steps: dict, first: tuple, second: tuple) -> None:
    """Make two families one, in which both values have the same sides."""
    if first[0] == second[0]:
        raise UnsupportedOperation(
            f"{operation.name}: reads images together that were made smaller in different ways, "
            "for which ellipsoids have no rule"
        )
    if len(first[1]) != len(second[1]):
        raise UnsupportedOperation(
            f"{operation.name}: reads a flattened image and a vector together, for which "
            "ellipsoids have no rule"
        )
    ratio = [one / other for one, other in zip(first[1], second[1], strict=True)]
    for node, (family, own) in steps.items():
        if family == second[0]:
            steps[node] = (first[0], tuple(map(operator.mul, own, ratio)))


def _stride(pair: Pair, operation: Operation) -> tuple[int, ...] | None:
    """Of a layer or a pool on the torus of what it reads; None where it starts a torus."""
    axes = len(pair.shapes[operation.node]) - 2
    module = _convolution(operation, pair) or operation.module
    if _of_images(operation, pair) or not isinstance(module, (*CONVOLUTIONS, *MAX_POOLS)):
        return None
    if operation.kind == MAX_POOL:
        _refuse_channels(operation, pair)
    return each(module.stride, axes)


def _of_images(operation: Operation, pair: Pair) -> bool:
    """Whether it makes a number of each image."""
    return operation.kind in (AVERAGE_POOL, MEAN) and set(pair.shapes[operation.node][2:]) <= {1}


def _refuse_channels(operation: Operation, pair: Pair) -> None:
    if not _pools_positions(operation.module, pair.shapes[operation.inputs[0]]):
        raise UnsupportedOperation(
            f"{operation.name}: pooling over channels has no rule in ellipsoids"
        )


def _pools_positions(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a pool takes the axes of images for its own, and no channels."""
    return len(shape) == int(type(module).__name__[-2]) + 2


def _convolution(operation: Operation, pair: Pair) -> nn.Module | None:
    """The convolution that an operation is, if it is one."""
    if operation.kind == AFFINE:
        return operation.module if isinstance(operation.module, CONVOLUTIONS) else None
    if operation.kind == AVERAGE_POOL:
        return _uniform(operation.module, pair.shapes[operation.inputs[0]])
    return None


def _sides(steps: dict, needs: list, family: int, small: int | None) -> tuple[int, ...]:
    wanted = [(steps[node][1], sides) for node, sides in needs if steps[node][0] == family]
    axes = len(next(own for number, own in steps.values() if number == family))
    found = []
    for axis in range(axes):
        own = [numbers[axis] for number, numbers in steps.values() if number == family]
        common = math.lcm(*(step.numerator for step in own))
        needed = max(math.ceil(sides[axis] * numbers[axis] / common) for numbers, sides in wanted)
        if small is not None:  # four times as many, where strides divide by more than 4
            needed = min(needed, small, math.ceil(4 * small / common))
        found.append(needed * common)
    return tuple(found)
