"""Many small networks of one architecture at once: outputs, and the same as a module."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.falsification.architectures import (
    Affine,
    Architecture,
    Item,
    Placed,
    Pointwise,
    Residual,
    placed,
    shape_after,
)

#: Weights and biases of one layer for all networks of a batch; no bias is None.
Parameters = tuple[Tensor, Tensor | None]


def outputs(architecture: Architecture, parameters: list[Parameters], inputs: Tensor) -> Tensor:
    """Outputs of each network on its own inputs.

    Args:
        architecture: shared by all.
        parameters: for each affine layer, in the order of `placed`; weights are (networks, …).
        inputs: of shape (networks, inputs, …).

    Returns:
        Of shape (networks, inputs, outputs).
    """
    return _run(architecture.items, inputs, iter(parameters)).flatten(2)


def _run(items: tuple[Item, ...], x: Tensor, parameters: Iterator[Parameters]) -> Tensor:
    for item in items:
        if isinstance(item, Affine):
            x = _affine(item, x, *next(parameters))
        elif isinstance(item, Residual):
            inside = _run(item.body, x, parameters)
            passed = _affine(item.shortcut, x, *next(parameters)) if item.shortcut else x
            x = inside + passed
        else:
            x = _pointwise(item.kind, x)
    return x


def _affine(layer: Affine, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not layer.kernel:
        y = torch.einsum("bpi,boi->bpo", x.flatten(2), weight)
        return y if bias is None else y + bias[:, None]
    networks, inputs, _, *sides = x.shape
    windows = F.unfold(
        x.flatten(0, 1), layer.kernel, padding=layer.padding, stride=layer.stride
    ).unflatten(0, (networks, inputs))
    windows = windows.unflatten(2, (layer.groups, -1))
    filters = weight.flatten(2).unflatten(1, (layer.groups, -1))
    y = torch.einsum("bpgkl,bgok->bpgol", windows, filters).flatten(2, 3)
    y = y.unflatten(3, shape_after(layer, (1, *sides))[1:])
    return y if bias is None else y + bias[:, None, :, None, None]


def _pointwise(kind: str, x: Tensor) -> Tensor:
    if kind == "relu":
        return x.clamp(min=0)
    if kind == "relu6":
        return x.clamp(0, 6)
    if kind == "global":
        return x.mean((3, 4), keepdim=True)
    pool = F.max_pool2d if kind == "max" else F.avg_pool2d
    return pool(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])


# ------------------------------------------------------------------------ one of them, as a module


def module(architecture: Architecture, parameters: list[Parameters], which: int) -> nn.Module:
    """One network of a batch as an ordinary module, in float64."""
    layers = iter(list(placed(architecture.items, architecture.shape)))
    return _sequence(architecture.items, layers, iter(parameters), which).double().eval()


class _Sum(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


def _sequence(items, layers, parameters, which) -> nn.Sequential:
    return nn.Sequential(
        *(part for item in items for part in _modules(item, layers, parameters, which))
    )


def _modules(item: Item, layers, parameters, which) -> list[nn.Module]:
    if isinstance(item, Pointwise):
        return [_POINTWISE[item.kind]()]
    if isinstance(item, Residual):
        body = _sequence(item.body, layers, parameters, which)
        shortcut = _layer(next(layers), *next(parameters), which) if item.shortcut else None
        return [_Sum(body, shortcut)]
    flat = [] if item.kernel else [nn.Flatten()]
    return [*flat, _layer(next(layers), *next(parameters), which)]


def _layer(place: Placed, weight: Tensor, bias: Tensor | None, which: int) -> nn.Module:
    layer, given = place.layer, bias is not None
    if layer.kernel:
        made = nn.Conv2d(
            place.before[0],
            layer.out,
            layer.kernel,
            layer.stride,
            layer.padding,
            groups=layer.groups,
            bias=given,
        )
    else:
        made = nn.Linear(weight.shape[2], layer.out, bias=given)
    made = made.double()
    with torch.no_grad():
        made.weight.copy_(weight[which])
        if given:
            made.bias.copy_(bias[which])
    return made


_POINTWISE = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "max": lambda: nn.MaxPool2d(2),
    "average": lambda: nn.AvgPool2d(2),
    "global": lambda: nn.AdaptiveAvgPool2d(1),
}
