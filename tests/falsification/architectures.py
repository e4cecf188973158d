"""Small architectures to search: a list of items that several interpreters read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = ("dense", "convolution", "depthwise", "residual", "inverted residual")
MAX_DEPTH = 12


@dataclass(frozen=True)
class Affine:
    """A dense layer (kernel 0, reads the flattened state) or a convolution of stride 1."""

    out: int
    kernel: int = 0
    padding: int = 0
    groups: int = 1
    stride: int = 1


@dataclass(frozen=True)
class Pointwise:
    """``relu``, ``relu6``, ``max`` (pool), ``average`` (pool) or ``global`` (average pool)."""

    kind: str


@dataclass(frozen=True)
class Residual:
    """body(x) + x, or body(x) + shortcut(x)."""

    body: tuple[Affine | Pointwise, ...]
    shortcut: Affine | None = None


Item = Affine | Pointwise | Residual


@dataclass(frozen=True)
class Architecture:
    """What a batch of networks has in common."""

    kind: str
    shape: tuple[int, ...]
    items: tuple[Item, ...]
    biases: bool


@dataclass(frozen=True)
class Placed:
    """An affine layer and the shapes that it maps between."""

    layer: Affine
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if not self.layer.kernel:
            return (self.layer.out, size(self.before))
        side = self.layer.kernel
        return (self.layer.out, self.before[0] // self.layer.groups, side, side)

    @property
    def fan_in(self) -> int:
        return size(self.weight_shape) // self.layer.out


def size(shape: tuple[int, ...]) -> int:
    """Number of coordinates."""
    total = 1
    for extent in shape:
        total *= extent
    return total


def shape_after(item: Item, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what an item puts out, from the shape of what it reads."""
    if isinstance(item, Affine):
        if not item.kernel:
            return (item.out,)
        sides = ((s + 2 * item.padding - item.kernel) // item.stride + 1 for s in shape[1:])
        return (item.out, *sides)
    if isinstance(item, Residual):
        for inner in item.body:
            shape = shape_after(inner, shape)
        return shape
    if item.kind == "global":
        return (shape[0], 1, 1)
    if item.kind in ("max", "average"):
        return (shape[0], shape[1] // 2, shape[2] // 2)
    return shape


def placed(items: tuple[Item, ...], shape: tuple[int, ...]) -> Iterator[Placed]:
    """All affine layers in the order of computation, shortcuts after bodies."""
    for item in items:
        if isinstance(item, Affine):
            yield Placed(item, shape, shape_after(item, shape))
        elif isinstance(item, Residual):
            yield from placed(item.body, shape)
            if item.shortcut:
                yield Placed(item.shortcut, shape, shape_after(item.shortcut, shape))
        shape = shape_after(item, shape)


def draw_architecture(rng: random.Random, kind: str, depth: int) -> Architecture:
    """A random architecture of a kind with exactly `depth` layers in its chain."""
    biases = rng.random() < 0.5
    if kind == "dense":
        widths = [rng.choice((1, 1, 2, 3, 4, 6, 16)) for _ in range(depth + 1)]
        items = []
        for width in widths[1:]:
            items += [Affine(width), *_activation(rng)]
        return Architecture(kind, (widths[0],), tuple(items), biases)
    shape = (rng.choice((1, 1, 2, 3)), *(rng.choice((3, 4, 5)),) * 2)
    return Architecture(kind, shape, tuple(_image_items(rng, kind, depth, shape)), biases)


def _image_items(rng, kind, depth, shape) -> list[Item]:
    items: list[Item] = []
    left = depth
    while left:
        added, used = _piece(rng, kind, left, shape)
        for item in added:
            shape = shape_after(item, shape)
        items += added
        left -= used
        if len(shape) == 3 and shape[1] >= 4 and rng.random() < 0.2:
            items.append(Pointwise(rng.choice(("max", "average"))))
            shape = shape_after(items[-1], shape)
    return items


def _piece(rng, kind, left: int, shape) -> tuple[list[Item], int]:
    """The next items of an image network, and how many layers of the chain they use."""
    if len(shape) == 1 or (left == 1 and rng.random() < 0.4):
        pool = [Pointwise("global")] if len(shape) == 3 and rng.random() < 0.5 else []
        return [*pool, Affine(rng.choice((1, 2, 3))), *_activation(rng)], 1
    if kind == "residual" and rng.random() < 0.7:
        return _residual(rng, min(left, rng.choice((1, 2, 2, 3))), shape)
    if kind == "inverted residual" and left >= 3 and rng.random() < 0.7:
        return _inverted_residual(rng, shape), 3
    groups = shape[0] if kind == "depthwise" and rng.random() < 0.6 else 1
    return [_convolution(rng, shape, groups=groups), *_activation(rng)], 1


def _convolution(rng, shape, *, groups: int = 1, out: int | None = None) -> Affine:
    kernel = rng.choice([side for side in (1, 2, 3) if side <= shape[1]])
    stride = 2 if shape[1] >= 4 and rng.random() < 0.15 else 1
    filters = out or groups * rng.choice((1, 1, 2) if groups > 1 else (1, 2, 3))
    return Affine(filters, kernel, rng.choice((0, kernel // 2)), groups, stride)


def _same(rng, channels: int, groups: int = 1) -> Affine:
    """A convolution that keeps height and width."""
    kernel = rng.choice((1, 3))
    return Affine(channels, kernel, kernel // 2, groups)


def _residual(rng, layers: int, shape) -> tuple[list[Item], int]:
    projected = rng.random() < 0.4
    out = rng.choice((1, 2, 3)) if projected else shape[0]
    body: list[Item] = []
    for _ in range(layers - 1):
        body += [_same(rng, rng.choice((1, 2, 3))), Pointwise("relu")]
    body.append(_same(rng, out))
    shortcut = Affine(out, 1) if projected else None
    return [Residual(tuple(body), shortcut), *_activation(rng)], layers


def _inverted_residual(rng, shape) -> list[Item]:
    wide = shape[0] * rng.choice((1, 2))
    body = (
        Affine(wide, 1),
        Pointwise("relu6"),
        _same(rng, wide, groups=wide),
        Pointwise("relu6"),
        Affine(shape[0], 1),
    )
    return [Residual(body)]


def _activation(rng) -> list[Pointwise]:
    kind = rng.choice(("relu", "relu", "relu6", None))
    return [Pointwise(kind)] if kind else []
