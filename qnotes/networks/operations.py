"""The table of covered operations: what the theory allows a network to be made of.

Every node of a traced network becomes one `Operation`. Whatever is not in the table is refused by
name. Adding an operation means adding a line here and proving that it is what the line says.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation
from qnotes.networks.tracing import is_altered

# Kinds of operation. A domain of the walk (`qnotes.propagation.walk`) has a rule for each.
INPUT, OUTPUT = "input", "output"
AFFINE = "affine"  # has weights: a layer of the chain
SUM = "sum"  # joins a skip connection
ACTIVATION = "activation"  # coordinatewise, 1-Lipschitz, σ(0) = 0
MAX_POOL, AVERAGE_POOL = "max_pool", "average_pool"  # 1-Lipschitz in the maximum norm
FLATTEN = "flatten"
PADDING = "padding"  # with zeros
IDENTITY = "identity"  # at inference

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
AFFINE_MODULES = (nn.Linear, *CONVOLUTIONS)
IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
ADAPTIVE_MAX_POOLS = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_AVERAGE_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
ZERO_PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
#: The table: what a module of exactly this type is. What is not in it is refused by name.
KINDS = {
    **dict.fromkeys(AFFINE_MODULES, AFFINE),
    **dict.fromkeys(IDENTITIES, IDENTITY),
    **dict.fromkeys((nn.ReLU, nn.ReLU6), ACTIVATION),
    **dict.fromkeys((*MAX_POOLS, *ADAPTIVE_MAX_POOLS), MAX_POOL),
    **dict.fromkeys((*AVERAGE_POOLS, *ADAPTIVE_AVERAGE_POOLS), AVERAGE_POOL),
    nn.Flatten: FLATTEN,
    **dict.fromkeys(ZERO_PADS, PADDING),
}
POINTWISE_MODULES = tuple(module for module in KINDS if module not in AFFINE_MODULES)
#: A function is covered where it says the same as a covered module, argument for argument.
FUNCTIONS = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    F.relu6: nn.ReLU6,
    torch.flatten: nn.Flatten,
    **dict(zip((F.max_pool1d, F.max_pool2d, F.max_pool3d), MAX_POOLS, strict=True)),
    **dict(zip((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), AVERAGE_POOLS, strict=True)),
    F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_avg_pool3d: nn.AdaptiveAvgPool3d,
}
METHODS = {"relu": nn.ReLU, "flatten": nn.Flatten}
SUMS = (operator.add, operator.iadd, torch.add)
COVERED = ", ".join(
    [module.__name__ for module in KINDS]
    + ["relu", "flatten", "+", "and the functional forms of the pools and of zero padding"]
)


@dataclass(frozen=True)
class Operation:
    """One node of a network, or of a pair.

    Attributes:
        node: in the graph of the network.
        kind: a word of the table, such as ``affine``.
        module: what it does; None for the input, the output and sums.
        inputs: the nodes that it reads.
        quantized: in a pair, the module in the quantized network.
    """

    node: fx.Node
    kind: str
    module: nn.Module | None
    inputs: tuple[fx.Node, ...]
    quantized: nn.Module | None = None

    @property
    def name(self) -> str:
        """How a reader knows the node: its module's name, or the node's own."""
        return str(self.node.target) if self.node.op == "call_module" else self.node.name

    @property
    def in_place(self) -> bool:
        """Whether it overwrites what it reads."""
        return bool(getattr(self.module, "inplace", False)) or self.node.target is operator.iadd


def operations(network: fx.GraphModule) -> list[Operation]:
    """All nodes of a traced network as operations, in order; refuses what is not covered."""
    modules = dict(network.named_modules(remove_duplicate=False))
    found = [_operation(network, node, modules) for node in network.graph.nodes]
    inputs = [operation for operation in found if operation.kind == INPUT]
    if len(inputs) != 1:
        raise UnsupportedOperation(f"the network takes {len(inputs)} inputs; one is covered")
    _refuse_lost_values(found)
    return found


def _operation(
    network: fx.GraphModule, node: fx.Node, modules: Mapping[str, nn.Module]
) -> Operation:
    reads = tuple(arg for arg in node.args if isinstance(arg, fx.Node))
    if node.op == "placeholder":
        return Operation(node, INPUT, None, ())
    if node.op == "output":
        if not isinstance(node.args[0], fx.Node):
            raise UnsupportedOperation("the network returns several values; one tensor is covered")
        return Operation(node, OUTPUT, None, reads)
    if node.op == "call_module" and len(reads) == len(node.args) == 1 and not node.kwargs:
        return _module_operation(node, modules[str(node.target)], reads)
    if node.op == "call_function" and node.target in SUMS:
        return _sum_operation(node)
    if node.target is F.pad:
        return Operation(node, PADDING, _zero_pad(node), _first_input(node))
    if node.op == "call_function" and node.target in FUNCTIONS:
        return _functional_operation(network, node, FUNCTIONS[node.target])
    if node.op == "call_method" and node.target in METHODS:
        return _functional_operation(network, node, METHODS[node.target])
    raise uncovered(node.name, getattr(node.target, "__name__", str(node.target)), _inside(node))


def _inside(node: fx.Node) -> str:
    """Which module of the caller's made a call, as far as the trace knows."""
    *_, (path, kind) = node.meta.get("nn_module_stack", {}).values() or [("", None)]
    return f" {path} calls it, a {kind.__module__}.{kind.__qualname__}." if path else ""


def _module_operation(node: fx.Node, module: nn.Module, reads) -> Operation:
    # Exact types: a subclass may compute something else.
    name = str(node.target)
    if type(module) not in KINDS:
        hint = " Fold it into the layer before it with qnotes.fold." if _is_norm(module) else ""
        raise uncovered(name, class_path(module), hint)
    if is_altered(module):
        what = "with hooks or a forward of its own, which may change what it does"
        raise uncovered(name, f"{type(module).__name__} {what}")
    _check_options(name, module)
    if isinstance(module, AFFINE_MODULES):
        _check_layer(name, module)
    return Operation(node, KINDS[type(module)], module, reads)


def _functional_operation(network: fx.GraphModule, node: fx.Node, module: type) -> Operation:
    equivalent = _equivalent_module(network, node, module)
    return Operation(node, KINDS[module], equivalent, _first_input(node))


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def class_path(module: nn.Module) -> str:
    """The name of a module's class; with where it is from, if that is not torch.nn."""
    kind = type(module)
    ours = getattr(nn, kind.__name__, None) is kind
    return kind.__name__ if ours else f"{kind.__module__}.{kind.__qualname__}"


def _check_layer(name: str, module: nn.Module) -> None:
    """Refuse a layer whose options are not those of its weights."""
    weight, bias = module.weight, module.bias
    if not weight.numel():
        raise QnotesError(
            f"{name}: its weight has the shape {tuple(weight.shape)} and no entry; leave the layer "
            "out"
        )
    if isinstance(module, nn.Linear):
        said, options = (module.out_features, module.in_features), ()
    else:
        said = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        options = (module.stride, module.padding, module.dilation)
    shape = tuple(weight.shape)
    if shape != said or (bias is not None and tuple(bias.shape) != shape[:1]):
        there = "no bias" if bias is None else f"a bias of shape {tuple(bias.shape)}"
        raise QnotesError(
            f"{name}: its options say weights of shape {said}; it has {shape} and {there}; make "
            f"the {type(module).__name__} anew with the sizes of its weights"
        )
    for option in options:
        if not isinstance(option, str) and len(option) != len(shape) - 2:
            raise QnotesError(
                f"{name}: {option} is given for {len(shape) - 2} axes; give a number for each"
            )


def _check_options(name: str, module: nn.Module) -> None:
    if type(module) is nn.ReLU6 and (module.min_val, module.max_val) != (0, 6):
        raise uncovered(name, f"ReLU6 with the ends {module.min_val} and {module.max_val}")
    if type(module) in ZERO_PADS and module.value:
        raise uncovered(name, f"padding with value={module.value!r}")
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise uncovered(name, f"padding_mode={module.padding_mode!r}")
    if isinstance(module, nn.modules.dropout._DropoutNd) and module.training:
        raise QnotesError(f"{name}: dropout is in training mode; call .eval() on the network first")
    if getattr(module, "return_indices", False):
        raise uncovered(name, "pooling with return_indices=True")
    if getattr(module, "divisor_override", None) is not None:
        raise uncovered(name, "average pooling with divisor_override (its norm may exceed 1)")
    if type(module) in ZERO_PADS and min(module.padding) < 0:
        raise uncovered(name, f"padding by {module.padding}, which cuts values off,")
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise uncovered(name, f"flatten from {module.start_dim} to {module.end_dim}, not 1 to -1")


def _equivalent_module(network: fx.GraphModule, node: fx.Node, module: type) -> nn.Module:
    if module is nn.Flatten:  # a function or method starts at dimension 0 unless told
        given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False))
        options = {"start_dim": 0, "end_dim": -1} | given | dict(node.kwargs)
    else:
        normalized = node.normalized_arguments(network, normalize_to_only_use_kwargs=True)
        options = dict(normalized.kwargs) if normalized else dict(node.kwargs)
    options.pop("input", None)
    equivalent = module(**options)
    _check_options(node.name, equivalent)
    return equivalent


def zero_pad(name: str, pad: Sequence[int], mode: str, value: float | None) -> nn.Module:
    """The module that pads as `torch.nn.functional.pad` does; refuses all but zeros."""
    if mode != "constant" or value:
        raise uncovered(name, f"padding with mode={mode!r} and value={value!r}")
    if len(pad) not in (2, 4, 6):
        raise uncovered(name, f"padding by {tuple(pad)}, of more than three axes,")
    module = ZERO_PADS[len(pad) // 2 - 1](tuple(pad))
    _check_options(name, module)
    return module


def _zero_pad(node: fx.Node) -> nn.Module:
    names = ("input", "pad", "mode", "value")
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    pad = given["pad"]
    if not isinstance(pad, list | tuple) or not all(isinstance(size, int) for size in pad):
        raise uncovered(node.name, f"padding by {pad!r}, which is no list of numbers,")
    return zero_pad(node.name, pad, given.get("mode", "constant"), given.get("value"))


def _first_input(node: fx.Node) -> tuple[fx.Node]:
    tensor = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(tensor, fx.Node):
        raise uncovered(node.name, f"{node.target} of {tensor!r}")
    return (tensor,)


def _sum_operation(node: fx.Node) -> Operation:
    if node.kwargs or len(node.args) != 2 or not all(isinstance(x, fx.Node) for x in node.args):
        raise uncovered(node.name, f"a sum of {node.args} {dict(node.kwargs)}: two tensors are")
    return Operation(node, SUM, None, tuple(node.args))


def uncovered(name: str, what: str, hint: str = "") -> UnsupportedOperation:
    """The error for what is not in the table."""
    return UnsupportedOperation(
        f"{name}: {what} is not covered by the theory.{hint} Covered: {COVERED}."
    )


def _refuse_lost_values(found: list[Operation]) -> None:
    """Refuse a network that reads a tensor after an in-place operation has overwritten it."""
    position = {operation.node: index for index, operation in enumerate(found)}
    memory: dict[fx.Node, list[fx.Node]] = {}  # nodes that may share storage, oldest first
    for index, operation in enumerate(found):
        keeps = operation.in_place or isinstance(operation.module, (*IDENTITIES, nn.Flatten))
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
