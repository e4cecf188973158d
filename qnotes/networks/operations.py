"""The table of covered operations: what the theory allows a network to be made of.

Every node of a traced network becomes one `Operation`. Whatever is not in the table is refused by
name. Adding an operation means adding a line here and proving that it is what the line says.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation
from qnotes.networks.tracing import is_altered

# Kinds of operation, in the words of the theory.
INPUT, OUTPUT = "input", "output"
AFFINE = "affine"  # has weights: a layer of the chain
SUM = "sum"  # joins a skip connection
POINTWISE = "pointwise"  # 1-Lipschitz, σ(0) = 0: activations, pooling, reshaping

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
AFFINE_MODULES = (nn.Linear, *CONVOLUTIONS)
IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # at inference
POINTWISE_MODULES = (
    *IDENTITIES,
    nn.ReLU,
    nn.ReLU6,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.Flatten,
)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
#: A function is covered where it says the same as a covered module, argument for argument.
FUNCTIONS = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    F.relu6: nn.ReLU6,
    F.max_pool1d: nn.MaxPool1d,
    F.max_pool2d: nn.MaxPool2d,
    F.max_pool3d: nn.MaxPool3d,
    F.avg_pool1d: nn.AvgPool1d,
    F.avg_pool2d: nn.AvgPool2d,
    F.avg_pool3d: nn.AvgPool3d,
    F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_avg_pool3d: nn.AdaptiveAvgPool3d,
    torch.flatten: nn.Flatten,
}
METHODS = {"relu": nn.ReLU, "flatten": nn.Flatten}
SUMS = (operator.add, operator.iadd, torch.add)
COVERED = ", ".join(
    [module.__name__ for module in (*AFFINE_MODULES, *POINTWISE_MODULES)]
    + ["relu", "flatten", "+", "and the functional forms of the pools"]
)


@dataclass(frozen=True)
class Operation:
    """One node of a network: its kind, its module (where it has one), and what it reads."""

    node: fx.Node
    kind: str
    module: nn.Module | None
    inputs: tuple[fx.Node, ...]

    @property
    def name(self) -> str:
        """How a reader knows the node: its module's name, or the node's own."""
        return str(self.node.target) if self.node.op == "call_module" else self.node.name

    @property
    def in_place(self) -> bool:
        """Whether it overwrites what it reads."""
        return bool(getattr(self.module, "inplace", False)) or self.node.target is operator.iadd

    def shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """Shape of the result from the shapes of the inputs, batch dimension first."""
        if self.kind == SUM:
            return _sum_shape(self.name, shapes)
        if self.kind == AFFINE:
            return _affine_shape(self.name, self.module, shapes[0])
        if self.kind == OUTPUT:
            return shapes[0]
        return _pointwise_shape(self.name, self.module, shapes[0])


def operations(network: fx.GraphModule) -> list[Operation]:
    """All nodes of a traced network as operations, in order; refuses what is not covered."""
    found = [_operation(network, node) for node in network.graph.nodes]
    inputs = [operation for operation in found if operation.kind == INPUT]
    if len(inputs) != 1:
        raise UnsupportedOperation(f"the network takes {len(inputs)} inputs; one is covered")
    _refuse_lost_values(found)
    return found


def _operation(network: fx.GraphModule, node: fx.Node) -> Operation:
    reads = tuple(arg for arg in node.args if isinstance(arg, fx.Node))
    if node.op == "placeholder":
        return Operation(node, INPUT, None, ())
    if node.op == "output":
        if not isinstance(node.args[0], fx.Node):
            raise UnsupportedOperation("the network returns several values; one tensor is covered")
        return Operation(node, OUTPUT, None, reads)
    if node.op == "call_module" and len(reads) == len(node.args) == 1 and not node.kwargs:
        return _module_operation(node, network.get_submodule(str(node.target)), reads)
    if node.op == "call_function" and node.target in SUMS:
        return _sum_operation(node)
    if node.op == "call_function" and node.target in FUNCTIONS:
        module = _equivalent_module(network, node, FUNCTIONS[node.target])
        return Operation(node, POINTWISE, module, _first_input(node))
    if node.op == "call_method" and node.target in METHODS:
        module = _equivalent_module(network, node, METHODS[node.target])
        return Operation(node, POINTWISE, module, _first_input(node))
    raise _uncovered(node.name, getattr(node.target, "__name__", str(node.target)))


def _module_operation(node: fx.Node, module: nn.Module, reads) -> Operation:
    # Exact types: a subclass may compute something else.
    name = str(node.target)
    if is_altered(module):
        what = "with hooks or a forward of its own, which may change what it does"
        raise _uncovered(name, f"{type(module).__name__} {what}")
    if type(module) in AFFINE_MODULES:
        if getattr(module, "padding_mode", "zeros") != "zeros":
            raise _uncovered(name, f"padding_mode={module.padding_mode!r}")
        return Operation(node, AFFINE, module, reads)
    if type(module) not in POINTWISE_MODULES:
        hint = " Fold it into the layer before it with qnotes.fold." if _is_norm(module) else ""
        raise _uncovered(name, type(module).__name__, hint)
    _check_options(name, module)
    return Operation(node, POINTWISE, module, reads)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def _check_options(name: str, module: nn.Module) -> None:
    if isinstance(module, nn.modules.dropout._DropoutNd) and module.training:
        raise QnotesError(f"{name}: dropout is in training mode; call .eval() on the network first")
    if getattr(module, "return_indices", False):
        raise _uncovered(name, "pooling with return_indices=True")
    if getattr(module, "divisor_override", None) is not None:
        raise _uncovered(name, "average pooling with divisor_override (its norm may exceed 1)")
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise _uncovered(name, f"flatten from {module.start_dim} to {module.end_dim}, not 1 to -1")


def _equivalent_module(network: fx.GraphModule, node: fx.Node, module: type) -> nn.Module:
    if module is nn.Flatten:
        return _flatten(node)
    normalized = node.normalized_arguments(network, normalize_to_only_use_kwargs=True)
    options = dict(normalized.kwargs) if normalized else dict(node.kwargs)
    options.pop("input", None)
    equivalent = module(**options)
    _check_options(node.name, equivalent)
    return equivalent


def _flatten(node: fx.Node) -> nn.Flatten:
    # torch.flatten starts at dimension 0 unless told; nn.Flatten at 1.
    defaults = dict(zip(("start_dim", "end_dim"), (0, -1), strict=True))
    given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | dict(node.kwargs)
    given.pop("input", None)
    flatten = nn.Flatten(**{**defaults, **given})
    _check_options(node.name, flatten)
    return flatten


def _first_input(node: fx.Node) -> tuple[fx.Node]:
    tensor = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(tensor, fx.Node):
        raise _uncovered(node.name, f"{node.target} of {tensor!r}")
    return (tensor,)


def _sum_operation(node: fx.Node) -> Operation:
    if node.kwargs or len(node.args) != 2 or not all(isinstance(x, fx.Node) for x in node.args):
        raise _uncovered(node.name, f"a sum of {node.args} {dict(node.kwargs)}: two tensors are")
    return Operation(node, SUM, None, tuple(node.args))


def _uncovered(name: str, what: str, hint: str = "") -> UnsupportedOperation:
    return UnsupportedOperation(
        f"{name}: {what} is not covered by the theory.{hint} Covered: {COVERED}."
    )


def _refuse_lost_values(found: list[Operation]) -> None:
    """Refuse a network that reads a tensor after an in-place operation has overwritten it."""
    position = {operation.node: index for index, operation in enumerate(found)}
    memory: dict[fx.Node, list[fx.Node]] = {}  # nodes that may share storage, oldest first
    for index, operation in enumerate(found):
        keeps = operation.in_place or isinstance(
            operation.module, nn.Identity | nn.Flatten | nn.modules.dropout._DropoutNd
        )
        shared = memory[operation.inputs[0]] if keeps and operation.inputs else []
        if operation.in_place:
            for older in shared:
                late = [user for user in older.users if position[user] > index]
                if late:
                    raise UnsupportedOperation(
                        f"{late[0].name}: reads {older.name} after {operation.name} has "
                        "overwritten it. Set inplace=False there, or write x = x + y for x += y."
                    )
        memory[operation.node] = shared
        shared.append(operation.node)


def _sum_shape(name: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    if shapes[0] != shapes[1]:
        raise UnsupportedOperation(
            f"{name}: a sum of shapes {shapes[0]} and {shapes[1]} broadcasts; equal shapes are "
            "covered"
        )
    return shapes[0]


def _affine_shape(name: str, module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(module, nn.Linear):
        if len(shape) != 2 or shape[1] != module.in_features:
            raise QnotesError(
                f"{name}: Linear expects an input of shape (batch, {module.in_features}); "
                f"got {shape}. Check input_shape."
            )
        return (shape[0], module.out_features)
    sizes = shape[2:]
    if len(sizes) != len(module.kernel_size) or shape[1] != module.in_channels:
        dimensions = ", ".join(["batch", str(module.in_channels), *"dhw"[-len(module.stride) :]])
        raise QnotesError(
            f"{name}: {type(module).__name__} expects an input of shape ({dimensions}); "
            f"got {shape}. Check input_shape."
        )
    if isinstance(module.padding, str):
        padded = [d * (p - 1) for d, p in zip(module.dilation, module.kernel_size, strict=True)]
        padding = padded if module.padding == "same" else [0] * len(sizes)
    else:
        padding = [2 * p for p in module.padding]
    out = [
        (size + pad - step * (kernel - 1) - 1) // stride + 1
        for size, pad, step, kernel, stride in zip(
            sizes, padding, module.dilation, module.kernel_size, module.stride, strict=True
        )
    ]
    if min(out) < 1:
        raise QnotesError(f"{name}: an input of shape {shape} is smaller than the kernel")
    return (shape[0], module.out_channels, *out)


def _pointwise_shape(name: str, module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(module, nn.ReLU | nn.ReLU6 | nn.Identity | nn.modules.dropout._DropoutNd):
        return shape
    try:
        result = tuple(module(torch.empty(shape, device="meta")).shape)
    except (RuntimeError, IndexError, ValueError) as error:
        raise QnotesError(f"{name}: cannot take an input of shape {shape}: {error}") from error
    if isinstance(module, MAX_POOLS) and not _sees_values(module, shape):
        raise _uncovered(name, "max pooling where a window sees only padding, which gives -inf,")
    return result


def _sees_values(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether no window of a max pool lies in the padding alone; channels make no difference."""
    axes = MAX_POOLS.index(type(module)) + 1
    return bool(module(torch.zeros(1, 1, *shape[-axes:])).isfinite().all())
