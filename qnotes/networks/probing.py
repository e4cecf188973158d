"""Running a network and its graph on one small random input, to see whether they are the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation

#: Sizes of the sides that are tried where the shape of an input is not known, by dimensions.
SIDES = {1: (64, 128, 32), 2: (32, 64, 28, 224, 96, 227, 299), 3: (16, 32, 64)}
#: Inputs with more numbers than this are tried smaller first.
MANY = 1 << 13
#: Two runs may differ by this part of the largest output, by precision; the same operations in the
#: same order differ by nothing.
AGREEMENT = {torch.float64: 1e-6, torch.float32: 1e-4}
ROUGH = 0.05


def check_same_function(
    network: nn.Module, graph: fx.GraphModule, input_shape: tuple[int, ...] | None = None
) -> None:
    """Refuse a graph that computes something else than the network that it was traced from.

    Both run once with gradients enabled and once without, since forward may ask for that. Nothing
    is compared where neither of them can run.
    """
    probe = probe_of(graph, input_shape)
    if probe is None:
        return
    for gradients in (False, True):
        ours, theirs = (run(net, probe, gradients=gradients) for net in (network, graph))
        if theirs is None or (isinstance(theirs, Tensor) and not same(ours, theirs)):
            raise UnsupportedOperation(
                f"{type(network).__name__} computes something else than its trace, for an input of "
                f"shape {tuple(probe.shape)} with gradients {'on' if gradients else 'off'}: its "
                "forward asks for what a trace cannot see, such as isinstance(x, Tensor) or "
                "torch.is_grad_enabled(). Take that out, or export it with torch.export.export "
                "and pass the program to qnotes.from_export"
            )


def probe_of(graph: fx.GraphModule, input_shape: tuple[int, ...] | None = None) -> Tensor | None:
    """A random input that a graph can take, in its precision; None if there is none."""
    for shape in _shapes(graph, input_shape):
        generator = torch.Generator().manual_seed(0)
        probe = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
        probe = probe.to(precision_of(graph))
        if run(graph, probe) is not None:
            return probe
    return None


def precision_of(network: nn.Module) -> torch.dtype:
    """Of the first weight; of the first buffer of a network without; float32 else."""
    tensors = (*network.parameters(), *network.buffers())
    return next(
        (t.dtype for t in tensors if t.is_floating_point() or t.is_complex()), torch.float32
    )


def place_of(network: nn.Module) -> torch.device:
    """Where a network is; the CPU for one without tensors."""
    tensors = (*network.parameters(), *network.buffers())
    return next((t.device for t in tensors), torch.device("cpu"))


def plain(name: str, value: Tensor) -> Tensor:
    """A tensor that a caller gave, on any device; refuses what has no values, or no real ones."""
    if value.is_meta or value.layout != torch.strided or value.is_complex():
        what = f"{value.dtype} of layout {value.layout} on the device {value.device}"
        raise QnotesError(f"{name} must be a dense tensor of real numbers; got {what}")
    return value


def run(network: nn.Module, inputs: Tensor, *, gradients: bool = False) -> object:
    """What a network returns for a copy of inputs; None where it raises."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.random.fork_rng(devices=[]),
            torch.set_grad_enabled(gradients),
        ):
            return _called(network, inputs.clone())
    except Exception:  # of any kind: it is not our code that runs here
        return None


def _called(network: nn.Module, inputs: Tensor) -> object:
    """A graph that cannot take an input would print so, which is no news to whoever tries some."""
    if isinstance(network, fx.GraphModule):
        return nn.Module.__call__(network, inputs)
    return network(inputs)


def same(ours: object, theirs: Tensor) -> bool:
    """Whether two outputs are equal, up to rounding."""
    if not isinstance(ours, Tensor) or ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    mine, its = ours.detach().double(), theirs.detach().double()
    size = torch.nan_to_num(mine, 0, 0, 0).abs().max().item() if mine.numel() else 0.0
    within = AGREEMENT.get(ours.dtype, ROUGH) * size
    return torch.allclose(mine, its, rtol=0, atol=within, equal_nan=True)


def _shapes(graph: fx.GraphModule, given: tuple[int, ...] | None) -> Iterator[tuple[int, ...]]:
    if given is not None:
        given = (1, *given[1:])
        smaller = (*given[:2], *(min(size, SIDES[2][0]) for size in given[2:]))
        if math.prod(given) > MANY:
            yield smaller
        yield given
        return
    weight = _first_weight(graph)
    if weight is None:
        return
    dimensions, channels = weight
    if dimensions == 0:
        yield (1, channels)
        return
    common = SIDES[dimensions]
    for side in (*common, *(side for side in range(1, 41) if side not in common)):
        yield (1, channels, *[side] * dimensions)


def first_with_weights(graph: fx.GraphModule) -> nn.Module | None:
    """The first convolution, linear layer or batch norm that a graph calls."""
    modules = dict(graph.named_modules(remove_duplicate=False))
    known = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm)
    called = (modules.get(str(n.target)) for n in graph.graph.nodes if n.op == "call_module")
    return next((module for module in called if isinstance(module, known)), None)


def _first_weight(graph: fx.GraphModule) -> tuple[int, int] | None:
    """Dimensions of the images, and channels, that the first layer with weights reads."""
    module = first_with_weights(graph)
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvNd):
        inputs = 0 if module.transposed else 1
        return weight.dim() - 2, weight.shape[inputs] * (module.groups if inputs else 1)
    if isinstance(module, nn.Linear):
        return 0, weight.shape[1]
    if module is not None:
        by_name = {"1": 0, "2": 2, "3": 3}.get(type(module).__name__[-2], 2)
        return by_name, module.num_features
    return None
