"""The numbers of a profile for a batch of networks at once, one tensor entry for each network.

`qnotes.profile` measures one pair of modules from its graph. This is a second way to the same
numbers, from the architecture, so that 10⁵ networks take minutes; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from qnotes.propagation.profiles import Layer, Profile
from qnotes.theorems import notation as sy
from tests.falsification.architectures import (
    Affine,
    Architecture,
    Placed,
    Pointwise,
    Residual,
    shape_after,
    size,
)
from tests.falsification.forward import Parameters
from tests.falsification.plain_arithmetic import Arithmetic


def _larger(a, b) -> Tensor:
    return torch.maximum(*(torch.as_tensor(x, dtype=torch.float64) for x in (a, b)))


#: Arithmetic for `direct` on tensors, differentiable.
TENSORS = Arithmetic(lambda p, q: p / q, _larger)


@dataclass(frozen=True)
class Measured:
    """Profiles of a batch: layers whose measured numbers are tensors, and the radius of each."""

    layers: tuple[Layer, ...]
    input_width: int
    radius: Tensor

    @property
    def depth(self) -> int:
        return len(self.layers)

    def one(self, which: int) -> Profile:
        """The profile of one network of the batch."""
        layers = tuple(Layer(**_values(layer, which)) for layer in self.layers)
        return Profile(layers, self.input_width, float(self.radius[which]))

    def quantities(self) -> dict:
        """Values of the symbols of the theorems: tensors, or lists of them over the layers."""
        each = {name.name: [getattr(x, name.name) for x in self.layers] for name in fields(Layer)}
        one = torch.ones_like(self.radius)
        joint = [_larger(one, norm) for norm in each["joint_norm"]]
        gaps = [_larger(*pair) for pair in zip(each["gap"], each["bias_gap"], strict=True)]
        uniform = [_larger(*pair) for pair in zip(each["norm"], each["bias_norm"], strict=True)]
        widths = [self.input_width, *each["row"], *each["width"][:-1]]
        changed = [(gap > 0).double() for gap in each["bias_gap"]]
        fan_ins = [n + more for n, more in zip(each["fan_in"], changed, strict=True)]
        return {
            sy.D: self.radius,
            sy.W: float(max(each["reads"])),
            sy.W_chain: float(max(widths)),
            sy.R: _most([one, *each["peak"]]),
            sy.r_max: _most([one, *uniform]),
            sy.r_joint_max: _most(joint),
            sy.eps: _most(gaps),
            sy.r: each["norm"],
            sy.r_joint: joint,
            sy.n: each["fan_in"],
            sy.n_joint: fan_ins,
            sy.n_mean: sum(fan_ins) / self.depth,
            sy.eps_layer: gaps,
            sy.delta: each["gap_norm"],
            sy.beta: each["bias_norm"],
            sy.gamma: each["bias_gap"],
            sy.r_min: torch.stack(each["norm"]).amin(0),
            sy.r_joint_min: torch.stack(joint).amin(0),
        }


def _values(layer: Layer, which: int) -> dict:
    given = {entry.name: getattr(layer, entry.name) for entry in fields(Layer)}
    return {k: float(v[which]) if isinstance(v, Tensor) else v for k, v in given.items()}


def _most(values: list[Tensor]) -> Tensor:
    return torch.stack(values).amax(0)


class _TensorLayer(Layer):
    """A layer whose numbers are tensors; a profile's layer insists on floats."""

    def __post_init__(self) -> None:
        pass


def measure(
    architecture: Architecture,
    parameters: list[Parameters],
    quantized: list[Parameters],
    radius: Tensor,
) -> Measured:
    """The profiles of a batch of networks and their quantized copies."""
    pairs = iter(zip(parameters, quantized, strict=True))
    layers: list[Layer] = []
    shape = architecture.shape
    for position, item in enumerate(architecture.items):
        later = architecture.items[position + 1 :]
        if isinstance(item, Affine):
            place = Placed(item, shape, shape_after(item, shape))
            layers.append(_layer([(place, *next(pairs))], width=_read_size(place.after, later)))
        elif isinstance(item, Residual):
            layers += _residual(item, shape, pairs, later)
        shape = shape_after(item, shape)
    return Measured(tuple(layers), size(architecture.shape), radius)


def _residual(block: Residual, shape, pairs, later) -> list[Layer]:
    """Layers inside carry the block's input along; the last one joins it."""
    found, inner = [], shape
    for position, item in enumerate(block.body):
        after = shape_after(item, inner)
        if isinstance(item, Affine):
            found.append((Placed(item, inner, after), *next(pairs), block.body[position + 1 :]))
        inner = after
    layers = [
        _layer([entry[:3]], width=_read_size(entry[0].after, entry[3]) + size(shape), carries=True)
        for entry in found[:-1]
    ]
    joined = [found[-1][:3]]
    if block.shortcut:
        joined.append((Placed(block.shortcut, shape, inner), *next(pairs)))
    width = _read_size(inner, later)
    return [*layers, _layer(joined, width=width, identities=int(not block.shortcut))]


def _read_size(shape, later) -> int:
    """Coordinates after a layer and what follows it up to the next layer."""
    for item in later:
        if not isinstance(item, Pointwise):
            break
        shape = shape_after(item, shape)
    return size(shape)


def _layer(terms, *, width: int, identities: int = 0, carries: bool = False) -> Layer:
    places = [place for place, _, _ in terms]
    weights = [tuple(side[0].flatten(2) for side in sides) for _, *sides in terms]
    sums = [sum(pair[side].abs().sum(2) for pair in weights) + identities for side in (0, 1)]
    changes = [ours - theirs for ours, theirs in weights]
    biases = [_bias(terms, side, sums[0]) for side in (0, 1)]
    one = torch.ones(len(sums[0]), dtype=torch.float64) * float(carries)
    row = sum(min(place.fan_in, size(place.before)) for place in places)
    tops = [_top(weight) for pair in weights for weight in pair]
    return _TensorLayer(
        name="",
        kind="convolution" if any(place.layer.kernel for place in places) else "dense",
        fan_in=sum(place.fan_in for place in places),
        reads=max([row, *(size(place.before) for place in places)]),
        row=row + identities,
        width=width,
        norm=_most([one, *(total.amax(1) for total in sums)]),
        joint_norm=_most(
            [one, *((s + b.abs()).amax(1) for s, b in zip(sums, biases, strict=True))]
        ),
        gap=_most([_top(change) for change in changes]),
        gap_norm=sum(change.abs().sum(2) for change in changes).amax(1),
        bias_norm=_most([_top(bias) for bias in biases]),
        bias_gap=_top(biases[0] - biases[1]),
        peak=_most([*tops, *_own_biases(terms), *map(_top, biases), one * 0 + identities]),
    )


def _bias(terms, side: int, like: Tensor) -> Tensor:
    given = [sides[side][1] for _, *sides in terms if sides[side][1] is not None]
    return sum(given) if given else torch.zeros_like(like)


def _own_biases(terms) -> list[Tensor]:
    return [_top(side[1]) for _, *sides in terms for side in sides if side[1] is not None]


def _top(values: Tensor) -> Tensor:
    return values.abs().flatten(1).amax(1)
