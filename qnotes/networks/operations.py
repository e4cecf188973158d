"""The table of covered operations: what the theory allows a network to be made of.

Every node of a traced network becomes one `Operation`. Whatever is not in the table is refused by
name. Adding an operation means adding a line here and proving that it is what the line says.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation
from qnotes.networks.activations import PLAIN, SLOPED, WITHOUT_SLOPE, slope_of
from qnotes.networks.rearranging import (
    Concatenation,
    Crop,
    GatedProduct,
    PositionsMean,
    Rearrangement,
    runs_of,
    size_nodes,
)
from qnotes.networks.tracing import check_finite, is_altered

# Kinds of operation. A domain of the walk (`qnotes.propagation.walk`) has a rule for each.
INPUT, OUTPUT = "input", "output"
AFFINE = "affine"  # has weights: a layer of the chain
SUM = "sum"  # joins a skip connection
ACTIVATION = "activation"  # coordinatewise, 1-Lipschitz, σ(0) = 0
MAX_POOL, AVERAGE_POOL = "max_pool", "average_pool"  # 1-Lipschitz in the maximum norm
FLATTEN = "flatten"
PADDING = "padding"  # with zeros
SLOPED_ACTIVATION = "sloped_activation"  # coordinatewise, κ-Lipschitz; σ(0) may be any number
CONCATENATION = "concatenation"  # of channels
GATED = "gated"  # a product with a bounded factor
MEAN = "mean"  # over positions
REARRANGEMENT = "rearrangement"  # of entries, each taken as it is, at most once
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
    **dict.fromkeys(PLAIN, ACTIVATION),
    **dict.fromkeys(SLOPED, SLOPED_ACTIVATION),
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
    F.leaky_relu: nn.LeakyReLU,
    F.elu: nn.ELU,
    F.hardtanh: nn.Hardtanh,
    F.hardswish: nn.Hardswish,
    F.silu: nn.SiLU,
    F.gelu: nn.GELU,
    F.hardsigmoid: nn.Hardsigmoid,
    **dict.fromkeys((torch.sigmoid, F.sigmoid), nn.Sigmoid),
    **dict.fromkeys((torch.tanh, F.tanh), nn.Tanh),
    torch.flatten: nn.Flatten,
    **dict(zip((F.max_pool1d, F.max_pool2d, F.max_pool3d), MAX_POOLS, strict=True)),
    **dict(zip((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), AVERAGE_POOLS, strict=True)),
    F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_avg_pool3d: nn.AdaptiveAvgPool3d,
    F.adaptive_max_pool1d: nn.AdaptiveMaxPool1d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    F.adaptive_max_pool3d: nn.AdaptiveMaxPool3d,
}
METHODS = {"relu": nn.ReLU, "flatten": nn.Flatten, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
SUMS = (operator.add, operator.iadd, torch.add, "add")
PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul")
CONCATENATIONS = (torch.cat, torch.concat)
COVERED = ", ".join(
    [module.__name__ for module in KINDS]
    + ["relu", "flatten", "+", "cat of channels", "mean over positions", "x * gate"]
    + ["views, permutations and pieces that keep entries as they are"]
    + ["and the functional forms of activations, pools, zero padding and dropout"]
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
        return bool(getattr(self.module, "inplace", False)) or self.node.target in IN_PLACE


IN_PLACE = (operator.iadd, operator.imul)


def operations(network: fx.GraphModule) -> list[Operation]:
    """All values of a traced network as operations, in order; refuses what is not covered."""
    modules = dict(network.named_modules(remove_duplicate=False))
    _refuse_without_slope(network, modules)
    sizes = size_nodes(network.graph)
    runs = runs_of(network.graph, sizes)
    found: dict[fx.Node, Operation] = {}
    for node in network.graph.nodes:
        if node in sizes or runs.get(node, node) is None:
            continue
        operation = _operation(network, node, modules, runs, found)
        if unknown := [read for read in operation.inputs if read not in found]:
            raise uncovered(operation.name, f"reading {unknown[0].name}, which is no tensor,")
        found[node] = operation
    inputs = [operation for operation in found.values() if operation.kind == INPUT]
    if len(inputs) != 1:
        raise UnsupportedOperation(f"the network takes {len(inputs)} inputs; one is covered")
    _refuse_lost_values(list(found.values()))
    return list(found.values())


def readers(found: Iterable[Operation]) -> dict[fx.Node, list[Operation]]:
    """Who reads each value; a node's users may also be sizes, and parts of other operations."""
    reading: dict[fx.Node, list[Operation]] = {}
    for operation in found:
        reading.setdefault(operation.node, [])
        for node in dict.fromkeys(operation.inputs):
            reading[node].append(operation)
    return reading


def _refuse_without_slope(network: fx.GraphModule, modules: Mapping[str, nn.Module]) -> None:
    """Say first what no bound exists for, wherever it stands; the rest is only not covered."""
    for node in network.graph.nodes:
        if node.op == "call_module":
            module = modules[str(node.target)]
            what = "" if _is_norm(module) else type(module).__name__
        else:
            what = getattr(node.target, "__name__", str(node.target))
        if node.op.startswith("call") and what in WITHOUT_SLOPE:
            name = str(node.target) if node.op == "call_module" else node.name
            raise uncovered(name, what, f"{_inside(node)} It {WITHOUT_SLOPE[what]}.")


def _operation(
    network: fx.GraphModule,
    node: fx.Node,
    modules: Mapping[str, nn.Module],
    runs: Mapping[fx.Node, Rearrangement | None],
    found: Mapping[fx.Node, Operation],
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
    if node in runs:
        return Operation(node, REARRANGEMENT, runs[node], (runs[node].source,))
    if node.op != "call_module" and node.target in SUMS:
        return _sum_operation(node)
    if node.op != "call_module" and node.target in PRODUCTS:
        return _gated_operation(node, found)
    if node.op == "call_function" and node.target in CONCATENATIONS:
        return _concatenation(node)
    if node.target in (torch.mean, "mean"):
        return _mean_operation(node)
    if _is_dropped_out(node):
        return Operation(node, IDENTITY, nn.Identity(), _first_input(node))
    if node.target is F.pad:
        return _padding(node, _zero_pad(node), *_first_input(node))
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
    if type(module) in ZERO_PADS:
        return _padding(node, module, *reads)
    return Operation(node, KINDS[type(module)], module, reads)


def _padding(node: fx.Node, module: nn.Module, read: fx.Node) -> Operation:
    """Zeros around an image; or, by negative numbers, what is left of one."""
    if min(module.padding) < 0:
        return Operation(node, REARRANGEMENT, Crop(module.padding, read), (read,))
    return Operation(node, PADDING, module, (read,))


def _functional_operation(network: fx.GraphModule, node: fx.Node, module: type) -> Operation:
    equivalent = _equivalent_module(network, node, module)
    return Operation(node, KINDS[module], equivalent, _first_input(node))


def _is_norm(module: nn.Module) -> bool:
    """Whether it is affine at inference: a batch norm, or an instance norm with statistics."""
    batch = isinstance(module, nn.modules.batchnorm._BatchNorm)
    known = getattr(module, "running_mean", None) is not None
    return batch or (isinstance(module, nn.modules.batchnorm._NormBase) and known)


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
    for slope in ("negative_slope", "alpha"):
        if not math.isfinite(getattr(module, slope, 0.0)):
            raise QnotesError(f"{name}: has {slope}={getattr(module, slope)}; give a finite one")
    if isinstance(module, nn.PReLU):
        check_finite(name, {"weight": module.weight})
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
    if type(module) in ZERO_PADS and min(module.padding) < 0 < max(module.padding):
        hint = " Do one after the other."
        raise uncovered(name, f"padding by {module.padding}, which cuts and pads,", hint)
    if isinstance(module, nn.Hardtanh) and not module.min_val < module.max_val:
        raise uncovered(name, f"a clamp to [{module.min_val}, {module.max_val}]")
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise uncovered(name, f"flatten from {module.start_dim} to {module.end_dim}, not 1 to -1")


def _equivalent_module(network: fx.GraphModule, node: fx.Node, module: type) -> nn.Module:
    if module is nn.Flatten:  # a function or method starts at dimension 0 unless told
        given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False))
        options = {"start_dim": 0, "end_dim": -1} | given | dict(node.kwargs)
    else:
        normalized = _normalized(network, node)
        if normalized is None and len(node.args) > 1:
            raise uncovered(node.name, f"{node.target} of {node.args[1:]}")
        options = dict(normalized.kwargs) if normalized else dict(node.kwargs)
    options.pop("input", None)
    for option, value in options.items():
        if reads := [each for each in _flat(value) if isinstance(each, fx.Node)]:
            what = f"{module.__name__} with {option}={reads[0].name}, which the network computes,"
            hint = " Write the number; for the mean of an image, nn.AdaptiveAvgPool2d(1)."
            raise uncovered(node.name, what, hint)
    if options.get("stride") in ((), []):  # of the function; the module has the same default
        del options["stride"]
    try:
        equivalent = module(**options)
    except (AssertionError, TypeError, ValueError) as error:
        what = f"{module.__name__} with {options} ({error})"
        raise uncovered(node.name, what) from error
    _check_options(node.name, equivalent)
    return equivalent


def _flat(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else (value,)


def _normalized(network: fx.GraphModule, node: fx.Node):
    """The arguments by name; None where torch cannot tell, as for functions of numbers, too."""
    try:
        return node.normalized_arguments(network, normalize_to_only_use_kwargs=True)
    except RuntimeError:
        return None


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
        what = f"a sum of {node.args} with {dict(node.kwargs)}, not of two tensors,"
        raise uncovered(node.name, what)
    return Operation(node, SUM, None, tuple(node.args))


def _gated_operation(node: fx.Node, found: Mapping[fx.Node, Operation]) -> Operation:
    """A product where one factor is a gate: what an activation of bounded range gives."""
    factors = tuple(node.args)
    tensors = len(factors) == 2 and all(isinstance(factor, fx.Node) for factor in factors)
    if node.kwargs or not tensors:
        raise uncovered(node.name, f"a product of {factors} {dict(node.kwargs)}")
    ceilings = [_ceiling(found.get(factor), found) for factor in factors]
    smallest = min(ceilings)
    if smallest == float("inf"):
        what = f"a product of {factors[0].name} and {factors[1].name}, neither of bounded range,"
        raise uncovered(node.name, what)
    module = GatedProduct(ceilings.index(smallest), smallest)
    return Operation(node, GATED, module, factors)


def _ceiling(operation: Operation | None, found: Mapping[fx.Node, Operation]) -> float:
    """Largest absolute value that is known whatever the weights; infinite where none is."""
    while operation is not None and operation.kind == IDENTITY:
        operation = found[operation.inputs[0]]
    known = operation is not None and operation.kind in (ACTIVATION, SLOPED_ACTIVATION)
    return slope_of(operation.module).ceiling if known else float("inf")


def _concatenation(node: fx.Node) -> Operation:
    given = dict(zip(("tensors", "dim"), node.args, strict=False)) | dict(node.kwargs)
    tensors, dim = given.pop("tensors", None), given.pop("dim", 0)
    listed = isinstance(tensors, list | tuple) and all(isinstance(x, fx.Node) for x in tensors)
    if given or not listed or not tensors or not isinstance(dim, int):
        raise uncovered(node.name, f"cat of {tensors!r} along {dim!r}")
    return Operation(node, CONCATENATION, Concatenation(dim), tuple(tensors))


#: What numpy calls two options of a mean, which torch takes, too; their names, and defaults.
ALIASES = (("axis", "dim", None), ("keepdims", "keepdim", False))


def _mean_operation(node: fx.Node) -> Operation:
    names = ("input", "dim", "keepdim")
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    dim, keepdim = (given.pop(old, given.pop(name, default)) for old, name, default in ALIASES)
    numbers = dim if isinstance(dim, list | tuple) else [dim]
    if set(given) - {"input"} or not numbers or not all(isinstance(n, int) for n in numbers):
        raise uncovered(node.name, f"mean over {dim!r}; a mean over dimensions of positions is")
    return Operation(node, MEAN, PositionsMean(tuple(numbers), bool(keepdim)), _first_input(node))


def _is_dropped_out(node: fx.Node) -> bool:
    """Dropout and stochastic depth as functions, where they are the identity: not in training."""
    vision = sys.modules.get("torchvision.ops.stochastic_depth")
    functions = {F.dropout: ("p", "training"), F.dropout2d: ("p", "training")}
    if vision is not None:
        functions[vision.stochastic_depth] = ("p", "mode", "training")
    if node.op != "call_function" or node.target not in functions:
        return False
    given = dict(zip(("input", *functions[node.target]), node.args, strict=False))
    # Both are in training mode unless told, but for stochastic depth.
    default = node.target in (F.dropout, F.dropout2d)
    if (given | dict(node.kwargs)).get("training", default) is not False:
        raise uncovered(node.name, f"{node.target.__name__} in training mode")
    return True


def uncovered(name: str, what: str, hint: str = "") -> UnsupportedOperation:
    """The error for what is not in the table."""
    return UnsupportedOperation(
        f"{name}: {what} is not covered by the theory.{hint} Covered: {COVERED}."
    )


def _refuse_lost_values(found: list[Operation]) -> None:
    """Refuse a network that reads a tensor after an in-place operation has overwritten it."""
    reading = readers(found)
    position = {operation.node: index for index, operation in enumerate(found)}
    memory: dict[fx.Node, list[fx.Node]] = {}  # nodes that may share storage, oldest first
    for index, operation in enumerate(found):
        views = (*IDENTITIES, nn.Flatten, Rearrangement)
        keeps = operation.in_place or isinstance(operation.module, views)
        shared = memory[operation.inputs[0]] if keeps and operation.inputs else []
        if operation.in_place:
            for older in shared:
                late = [user for user in reading[older] if position[user.node] > index]
                if late:
                    raise UnsupportedOperation(
                        f"{late[0].node.name}: reads {older.name} after {operation.name} has "
                        "overwritten it. Set inplace=False there, or write x = x + y for x += y."
                    )
        memory[operation.node] = shared
        shared.append(operation.node)
