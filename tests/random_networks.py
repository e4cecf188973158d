"""Random small networks, ways to change their weights, and inputs that are hard for them."""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Callable

import sympy as sp
import torch
from torch import Tensor, nn

import qnotes as qn
from qnotes import theorems

torch.set_num_threads(1)

SIDE = 6  # images are SIDE × SIDE


class Net(nn.Module):
    """A network from its forward function, `forward(modules, x)`, and its modules."""

    def __init__(self, forward: Callable, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Residual(nn.Module):
    """after(body(x) + skip(x))."""

    def __init__(self, body: nn.Module, skip: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body, self.skip, self.after = body, skip, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.body(x) + self.skip(x))


# -- architectures ---------------------------------------------------------------------------------


def activation(rng: random.Random) -> nn.Module:
    return rng.choice([nn.ReLU, nn.ReLU, nn.ReLU6, nn.Identity, nn.Dropout])()


def dense(rng: random.Random, bias: bool) -> tuple[nn.Module, tuple[int, ...]]:
    widths = [rng.randint(1, 5) for _ in range(rng.randint(1, 6) + 1)]
    layers = []
    for fan_in, width in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, width, bias=bias), activation(rng)]
    return nn.Sequential(*layers), (1, widths[0])


def convolution(rng: random.Random, channels: int, side: int, bias: bool) -> nn.Conv2d:
    """Any stride, padding, dilation and groups that an image of this side can take."""
    groups = rng.choice([1, 1, channels])
    kernel = rng.randint(1, 3)
    dilation = rng.choice([1, 1, 2])
    reach = dilation * (kernel - 1) + 1
    padding = max(rng.randint(0, kernel // 2), math.ceil((reach - side) / 2))
    out = groups * rng.randint(1, 3)
    stride = rng.randint(1, 2)
    return nn.Conv2d(
        channels, out, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias
    )


def pool(rng: random.Random, side: int) -> nn.Module:
    if side < 3:
        return nn.Identity()
    return rng.choice(
        [
            nn.Identity(),
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.AvgPool2d(3, stride=2, padding=1),
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False, ceil_mode=True),
            nn.AdaptiveAvgPool2d(2),
            nn.AdaptiveMaxPool2d((1, 2)),
        ]
    )


def _shape(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(network(torch.zeros(shape)).shape)


def _finish(rng, layers: list[nn.Module], shape, bias: bool) -> nn.Sequential:
    head = rng.choice([nn.Identity(), nn.AdaptiveAvgPool2d(1)])
    features = _shape(nn.Sequential(*layers, head), shape)[1:]
    linear = nn.Linear(math.prod(features), rng.randint(1, 3), bias=bias)
    return nn.Sequential(*layers, head, nn.Flatten(), linear)


def convolutional(rng: random.Random, bias: bool) -> tuple[nn.Module, tuple[int, ...]]:
    shape = (1, rng.randint(1, 2), SIDE, SIDE)
    layers: list[nn.Module] = []
    now = shape
    for _ in range(rng.randint(1, 4)):
        if now[1] > 12:
            break
        step = [convolution(rng, now[1], min(now[2:]), bias), activation(rng)]
        after = _shape(nn.Sequential(*step), now)
        step.append(pool(rng, min(after[2:])))
        layers, now = layers + step, _shape(step[-1], after)
    return _finish(rng, layers, shape, bias), shape


def _same(channels: int, out: int, kernel: int, bias: bool, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=groups, bias=bias)


def basic_block(rng, channels: int, bias: bool) -> nn.Module:
    body = nn.Sequential(
        _same(channels, 2, 3, bias), nn.ReLU(), _same(2, channels, rng.choice([1, 3]), bias)
    )
    return Residual(body, nn.Identity(), nn.ReLU())


def single_layer_block(rng, channels: int, bias: bool) -> nn.Module:
    return Residual(_same(channels, channels, 1, bias), nn.Identity(), activation(rng))


def projection_block(rng, channels: int, bias: bool) -> nn.Module:
    body = nn.Sequential(
        nn.Conv2d(channels, 2, 3, stride=2, padding=1, bias=bias), nn.ReLU(), _same(2, 3, 3, bias)
    )
    skip = rng.choice([nn.Identity(), nn.AvgPool2d(1)])
    skip = nn.Sequential(skip, nn.Conv2d(channels, 3, 1, stride=2, bias=bias))
    return Residual(body, skip, nn.ReLU())


def two_projections_block(rng, channels: int, bias: bool) -> nn.Module:
    return Residual(_same(channels, 2, 3, bias), _same(channels, 2, 1, bias), nn.ReLU())


def preactivation_block(rng, channels: int, bias: bool) -> nn.Module:
    body = nn.Sequential(
        nn.ReLU(), _same(channels, 2, 3, bias), nn.ReLU(), _same(2, channels, 1, bias)
    )
    return Residual(body, nn.Identity(), nn.Identity())


def inverted_block(rng, channels: int, bias: bool) -> nn.Module:
    body = nn.Sequential(
        _same(channels, 4, 1, bias),
        nn.ReLU6(),
        _same(4, 4, 3, bias, groups=4),
        nn.ReLU6(),
        _same(4, channels, 1, bias),
    )
    return Residual(body, nn.Identity(), nn.Identity())


def nested_block(rng, channels: int, bias: bool) -> nn.Module:
    inner = rng.choice([basic_block, single_layer_block, preactivation_block])
    body = nn.Sequential(inner(rng, channels, bias), _same(channels, channels, 1, bias))
    return Residual(body, nn.MaxPool2d(3, stride=1, padding=1), nn.ReLU())


BLOCKS = (
    basic_block,
    single_layer_block,
    projection_block,
    two_projections_block,
    preactivation_block,
    inverted_block,
    nested_block,
)


def residual(rng: random.Random, bias: bool) -> tuple[nn.Module, tuple[int, ...]]:
    shape = (1, rng.randint(1, 2), 4, 4)
    layers: list[nn.Module] = rng.choice([[], [_same(shape[1], 2, 3, bias), nn.ReLU()]])
    now = _shape(nn.Sequential(*layers), shape) if layers else shape
    for _ in range(rng.randint(1, 2)):
        layers = [*layers, rng.choice(BLOCKS)(rng, now[1], bias)]
        now = _shape(nn.Sequential(*layers), shape)
    return _finish(rng, layers, shape, bias), shape


ARCHITECTURES = {"dense": dense, "convolutional": convolutional, "residual": residual}

# -- weights, and changes of weights ---------------------------------------------------------------


def draw_weights(rng: random.Random, network: nn.Module) -> None:
    """New weights, of one of several styles; biases too."""
    style = rng.choice(["normal", "positive", "outlier", "small"])
    for parameter in network.parameters():
        values = torch.randn_like(parameter)
        if style == "positive":
            values = values.abs()
        if style == "outlier":
            values.view(-1)[0] *= 30
        if style == "small":
            values = values * 0.1
        parameter.data.copy_(values)


def change_weights(rng: random.Random, network: nn.Module) -> nn.Module:
    """A copy with other weights: quantized, or moved by a step whose signs line up."""
    style = rng.choice(["quantize", "outward", "inward", "upward", "random", "scale"])
    if style == "quantize":
        options = {"granularity": rng.choice(["tensor", "channel"])}
        options["symmetric"] = rng.choice([True, False])
        changed = qn.quantize(network, bits=rng.randint(2, 4), **options).model
    else:
        changed = copy.deepcopy(network)
        step = 10 ** rng.uniform(-3, 0)
        for name, parameter in changed.named_parameters():
            if name.endswith("weight"):
                parameter.data.add_(move(style, parameter.data, step))
    if rng.random() < 0.5:
        _change_biases(changed, 10 ** rng.uniform(-3, 0))
    return changed


def move(style: str, weight: Tensor, step: float) -> Tensor:
    """A step whose signs line up."""
    moves = {
        "outward": step * weight.sign(),
        "inward": -step * weight.sign(),
        "upward": torch.full_like(weight, step),
        "random": step * (2 * torch.rand_like(weight) - 1),
        "scale": step * weight,
    }
    return moves[style]


def _change_biases(network: nn.Module, step: float) -> None:
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.data.add_(step)


# -- inputs and errors -----------------------------------------------------------------------------


def all_corners(features: int) -> Tensor:
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=features)), dtype=torch.float64)


def hard_inputs(shape: tuple[int, ...], radius: float, seed: int = 0) -> Tensor:
    """Corners of the domain, all of them where they are few, and points inside it."""
    features = math.prod(shape[1:])
    if features <= 5:
        corners = all_corners(features).view(-1, *shape[1:])
    else:
        corners = torch.stack([torch.ones(shape[1:]), -torch.ones(shape[1:])]).double()
    return torch.cat(
        [radius * corners, qn.random_inputs(shape, count=32, radius=radius, seed=seed)]
    )


def largest_error(network: nn.Module, changed: nn.Module, inputs: Tensor) -> float:
    return qn.output_errors(network, changed, inputs).max().item()


def bound_values(profile: qn.Profile) -> dict[str, float]:
    """log10 of every bound on the error by the theorem's key; NaN where a hypothesis fails."""
    return {
        theorem.key: theorem.evaluate(profile)
        for theorem in theorems()
        if theorem.computable and isinstance(theorem.statement, sp.Le)
    }


def assert_bounded(error: float, values: dict[str, float], slack: float = 1e-9) -> None:
    """No bound lies below a measured error, up to what rounding does to the measurement."""
    if error == 0:
        return
    violated = {key: value for key, value in values.items() if math.log10(error) > value + slack}
    assert not violated, f"measured error 10^{math.log10(error)} above {violated}"


def drawn(kind: str, seed: int, label: str = ""):
    """A random network, a changed copy, the shape of its input, and a radius."""
    rng = random.Random(f"{label}{kind} {seed}")
    torch.manual_seed(seed)
    network, shape = ARCHITECTURES[kind](rng, rng.random() < 0.7)
    network = network.double().eval()
    draw_weights(rng, network)
    return network, change_weights(rng, network), shape, rng.choice([0.1, 1.0, 3.0])
