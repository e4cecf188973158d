"""Programs of `torch.export` as networks: from ATen calls back to modules that have weights.

An exported program has no modules left, only calls such as ``aten.conv2d`` that get the weights as
arguments. Each call that a module makes becomes that module again, with the program's weights. Any
other call is refused by name: a program is converted as a whole or not at all.
"""

from __future__ import annotations

import operator
import sys

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from qnotes.errors import QnotesError, UnsupportedOperation, foreign
from qnotes.networks.activations import NORMALIZES
from qnotes.networks.operations import zero_pad
from qnotes.networks.probing import place_of, precision_of, run, same
from qnotes.networks.tracing import check_has_values, words_of_python

aten = torch.ops.aten

DIMENSIONS = (1, 2, 3)
CONVOLUTIONS = {
    getattr(getattr(aten, f"conv{d}d"), how): getattr(nn, f"Conv{d}d")
    for d in DIMENSIONS
    for how in ("default", "padding")
}
#: By the number of dimensions of what they read.
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
#: The arguments of these calls have the names of the module's options.
POOLS = {
    getattr(aten, f"{call}{d}d").default: getattr(nn, f"{module}{d}d")
    for call, module in (
        ("max_pool", "MaxPool"),
        ("avg_pool", "AvgPool"),
        ("adaptive_avg_pool", "AdaptiveAvgPool"),
        ("adaptive_max_pool", "AdaptiveMaxPool"),
    )
    for d in DIMENSIONS
}
#: These return places, too, and are read by ``getitem``.
WITH_PLACES = tuple(getattr(aten, f"adaptive_max_pool{d}d").default for d in DIMENSIONS)
#: Activations, and whether they are in place; the arguments have the names of the options.
ACTIVATIONS = {
    getattr(aten, call + how).default: (module, bool(how))
    for call, module in {
        "relu": nn.ReLU, "relu6": nn.ReLU6, "hardtanh": nn.Hardtanh, "leaky_relu": nn.LeakyReLU,
        "elu": nn.ELU, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "silu": nn.SiLU,
    }.items()
    for how in ("", "_")
} | {
    aten.gelu.default: (nn.GELU, False),
    aten.sigmoid.default: (nn.Sigmoid, False),
    aten.tanh.default: (nn.Tanh, False),
}  # fmt: skip
DROPOUTS = (aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default)
OTHERS = (
    aten.linear.default,
    aten.batch_norm.default,
    aten.instance_norm.default,
    aten.prelu.default,
    aten.flatten.using_ints,
    aten.pad.default,
    aten.slice.Tensor,
    aten.alias.default,
)
VIEWS = (aten.view.default, aten.reshape.default)
#: Calls that are the function, or the method, of torch by the same name.
SAME = {
    aten.cat.default: torch.cat,
    aten.chunk.default: torch.chunk,
    aten.split.Tensor: torch.split,
    aten.split_with_sizes.default: torch.split,
    aten.tensor_split.sections: torch.tensor_split,
    aten.tensor_split.indices: torch.tensor_split,
    aten.mul.Tensor: operator.mul,
    aten.mul_.Tensor: operator.imul,
    aten.mean.dim: "mean",
    aten.transpose.int: "transpose",
    aten.permute.default: "permute",
    aten.unsqueeze.default: "unsqueeze",
    aten.contiguous.default: "contiguous",
    operator.getitem: operator.getitem,  # of several pieces
}
PRODUCTS = (aten.mul.Tensor, aten.mul_.Tensor)
SIZES = (aten.sym_size.int,)  # read by views alone, and the shape of a view says enough
SUMS = {aten.add.Tensor: operator.add, aten.add_.Tensor: operator.iadd}


def from_export(program: ExportedProgram) -> fx.GraphModule:
    """An exported program as a network that `fold`, `quantize` and `profile` take.

    Args:
        program: from `torch.export.export`, or from a ``.pt2`` file by `torch.export.load`;
            exported in evaluation mode, with one input and one output. It is not changed.

    Returns:
        The same function, made of modules with copies of the program's weights on the CPU, in eval
        mode.
        A layer is called what its weights are called in the program.

    Raises:
        UnsupportedOperation: for a call that the theory does not cover, by name.
        QnotesError: for a program exported in training mode.
    """
    if not isinstance(program, ExportedProgram):
        raise QnotesError(
            f"expected a torch.export program; got {type(program).__name__}; make one with "
            "torch.export.export(network, (example,))"
        )
    if words := words_of_python(program.state_dict):
        raise UnsupportedOperation(f"the exported program cannot be run: {words}")
    with foreign("the exported program cannot be read", UnsupportedOperation):
        network = _Builder(program).build()
        runs = program.module()
    _check_same(runs, network, _example_shape(program))
    return network


def _check_same(program: nn.Module, network: fx.GraphModule, shape: tuple[int, ...]) -> None:
    """Refuse what is not the program, on a random input of the shape that it was exported with."""
    probe = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    probe = probe.to(precision_of(network))
    ours, theirs = run(program, probe.to(place_of(program))), run(network, probe)
    if isinstance(ours, Tensor) and not (isinstance(theirs, Tensor) and same(ours.cpu(), theirs)):
        raise UnsupportedOperation(
            "the exported program computes something else than the modules that its calls stand "
            f"for, for an input of shape {shape}; please report it"
        )


def _example_shape(program: ExportedProgram) -> tuple[int, ...]:
    """Shape of the input that a program was exported with, batch and free sizes included."""
    name = _only(program, "inputs")
    (node,) = (node for node in program.graph.nodes if node.name == name)
    return tuple(int(size) for size in _shape(node))


def exported_input_shape(program: ExportedProgram) -> tuple[int, ...]:
    """Shape of one input of an exported program, (1, ...); free sizes as in its example."""
    return (1, *_example_shape(program)[1:])


def _only(program: ExportedProgram, side: str) -> str:
    names = getattr(program.graph_signature, f"user_{side}")
    if len(names) != 1 or not isinstance(names[0], str):
        raise UnsupportedOperation(
            f"the exported program has {len(names)} {side}; one tensor is covered"
        )
    return names[0]


def _shape(node: fx.Node) -> tuple:
    return tuple(node.meta["val"].shape)


class _Builder:
    """Walks the calls of a program once, and writes a graph of modules."""

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        self.program = program
        self.input, self.output = _only(program, "inputs"), _only(program, "outputs")
        if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
            raise UnsupportedOperation("the exported program changes its buffers or its input")
        self.names: dict[str, str] = {  # of weights, by the node that stands for them
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.weights: dict[str, nn.Parameter] = {}
        self.modules: dict[str, nn.Module] = {}
        self.graph = fx.Graph()
        self.made: dict[fx.Node, fx.Node] = {}

    def build(self) -> fx.GraphModule:
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name == self.input:
                self.made[node] = self.graph.placeholder(node.name)
            elif node.op == "call_function" and not _is_unread(node):
                self.made[node] = self._call(node)
        (result,) = (node for node in self.made if node.name == self.output)
        self.graph.output(self.made[result])
        return fx.GraphModule(self.modules, self.graph, "Exported").eval()

    def _call(self, node: fx.Node) -> fx.Node:
        if node.target in SAME:
            return self._same_call(node)
        given = _arguments(node)
        if node.target is aten.alias.default:  # x[:], all of it
            return self._read(node, given["self"])
        if node.target is aten.slice.Tensor:
            return self._slice(node, given)
        if node.target in VIEWS:
            return self._view(node, given)
        if node.target in SUMS:
            if given["alpha"] != 1:
                raise _refused(node, f"a sum with alpha={given['alpha']}")
            read = tuple(self._read(node, given[side]) for side in ("self", "other"))
            return self.graph.call_function(SUMS[node.target], read)
        source = given.pop("self", None) or given.pop("input", None)
        name, module = self._module(node, given, source)
        return self.graph.call_module(self._placed(name, module), (self._read(node, source),))

    def _same_call(self, node: fx.Node) -> fx.Node:
        """A call of torch, with the arguments that it has here."""
        if node.target is operator.getitem and node.args[0].target in WITH_PLACES:
            if node.args[1] != 0:
                raise _refused(node, f"reading the places that {node.args[0]} returns")
            return self._read(node, node.args[0])
        if node.target in PRODUCTS and not all(isinstance(x, fx.Node) for x in node.args):
            raise _refused(node, f"{node.target} of {node.args}")
        args = fx.map_arg(node.args, lambda read: self._read(node, read))
        target = SAME[node.target]
        call = self.graph.call_method if isinstance(target, str) else self.graph.call_function
        return call(target, args, dict(node.kwargs))

    def _slice(self, node: fx.Node, given: dict) -> fx.Node:
        """``x[:, start:end]``; of the batch only all of it."""
        source, read = given["self"], self._read(node, given["self"])
        dimension, end = given["dim"] % len(_shape(source)), given["end"]
        part = slice(given["start"], end, given["step"])
        if dimension == 0:
            if part.start in (None, 0) and end in (None, sys.maxsize) and part.step == 1:
                return read
            raise _refused(node, f"{node.target} of the batch")
        index = (*(slice(None),) * dimension, part)
        return self.graph.call_function(operator.getitem, (read, index))

    def _view(self, node: fx.Node, given: dict) -> fx.Node:
        """A view is covered where it keeps the batch dimension."""
        before, after = _shape(given["self"]), _shape(node)
        if after[:1] != before[:1] or not all(isinstance(size, int) for size in after[1:]):
            raise _refused(node, f"{node.target} from {tuple(before)} to {tuple(after)}")
        read = self._read(node, given["self"])
        if len(after) == 2:
            return self.graph.call_module(self._placed(node.name, nn.Flatten()), (read,))
        return self.graph.call_method("reshape", (read, -1, *after[1:]))

    def _read(self, node: fx.Node, source: object) -> fx.Node:
        if source not in self.made:
            raise _refused(node, f"{node.target} of {source}, which does not depend on the input,")
        return self.made[source]

    def _module(self, node: fx.Node, given: dict, source: fx.Node) -> tuple[str, nn.Module]:
        if node.target in CONVOLUTIONS or node.target is aten.linear.default:
            return self._weighted(node, given)
        if node.target in (aten.batch_norm.default, aten.instance_norm.default):
            return self._norm(node, given, source)
        if node.target is aten.prelu.default:
            slopes = self._weight(node, given["weight"])
            return self._layer(given["weight"]), _with(nn.PReLU(len(slopes)), weight=slopes)
        return node.name, _without_weights(node, given, source)

    def _weighted(self, node: fx.Node, given: dict) -> tuple[str, nn.Module]:
        weight, bias = self._weight(node, given["weight"]), self._weight(node, given["bias"])
        options = {"bias": bias is not None, "device": "meta"}
        if node.target is aten.linear.default:
            module = nn.Linear(weight.shape[1], len(weight), **options)
        else:
            for key in ("stride", "padding", "dilation", "groups"):
                options[key] = _plain(given[key])
            channels = weight.shape[1] * options["groups"], len(weight)
            module = CONVOLUTIONS[node.target](*channels, tuple(weight.shape[2:]), **options)
        return self._layer(given["weight"]), _with(module, weight=weight, bias=bias)

    def _norm(self, node: fx.Node, given: dict, source: fx.Node) -> tuple[str, nn.Module]:
        dimensions = len(_shape(source))
        if given.get("use_input_stats"):
            raise _refused(node, f"{node.target} {NORMALIZES}; it")
        if given["running_mean"] is None or given["running_var"] is None:
            raise UnsupportedOperation(
                f"{node.name}: this batch norm keeps no running statistics, so it depends on the "
                "batch; train it with track_running_stats=True"
            )
        _refuse_training(node, given.get("training", False))
        if dimensions == 3 and source.target is aten.linear.default:
            raise UnsupportedOperation(
                f"{node.name}: this batch norm normalizes dimension 1 of three, and the linear "
                "layer before it makes the last one; it cannot be folded"
            )
        mean, variance = (
            self._weight(node, given[side]) for side in ("running_mean", "running_var")
        )
        module = NORMS[dimensions](len(mean), given["eps"], affine=False)
        module.running_mean, module.running_var = mean.data, variance.data
        scale, shift = self._weight(node, given["weight"]), self._weight(node, given["bias"])
        return self._layer(given["running_mean"]), _with(module, weight=scale, bias=shift)

    def _weight(self, node: fx.Node, source: fx.Node | None) -> nn.Parameter | None:
        if source is None:
            return None
        if source.name not in self.names:
            raise _refused(node, f"{node.target} with weights that {source} computes")
        name = self.names[source.name]
        if name not in self.weights:
            tensor = self.program.state_dict.get(name, self.program.constants.get(name))
            check_has_values(f"{node.name}: its {name}", tensor)
            own = tensor.detach().clone().cpu()
            self.weights[name] = nn.Parameter(own, requires_grad=False)
        return self.weights[name]

    def _layer(self, weight: fx.Node) -> str:
        """What a layer is called: ``stage1.conv`` if its weights are ``stage1.conv.weight``."""
        name = self.names[weight.name]
        return name.rpartition(".")[0] or name

    def _placed(self, name: str, module: nn.Module) -> str:
        """Keep a module under its name; one that is called again is the same module."""
        while name in self.modules and not _same(self.modules[name], module):
            name += "_"
        self.modules.setdefault(name, module)
        return name


def _is_unread(node: fx.Node) -> bool:
    """Sizes, and the places of a maximum that nothing asks for."""
    place = node.target is operator.getitem and node.args[0].target in WITH_PLACES
    return node.target in SIZES or (place and not node.users)


def _without_weights(node: fx.Node, given: dict, source: fx.Node) -> nn.Module:
    if node.target in POOLS:
        # No stride is an empty list here, and None there.
        options = {key: value if value != [] else None for key, value in given.items()}
        return POOLS[node.target](**{key: _plain(value) for key, value in options.items()})
    if node.target in ACTIVATIONS:
        return _activation(node, given)
    if node.target in DROPOUTS:
        _refuse_training(node, given["train"])
        return nn.Dropout(given["p"])
    if node.target is aten.flatten.using_ints:
        return nn.Flatten(given["start_dim"], given["end_dim"])
    if node.target is aten.pad.default:
        return zero_pad(node.name, given["pad"], given["mode"], given["value"])
    raise _refused(node, str(node.target))


def _activation(node: fx.Node, given: dict) -> nn.Module:
    kind, in_place = ACTIVATIONS[node.target]
    if kind is nn.Hardtanh and (given["min_val"], given["max_val"]) == (0, 6):
        kind, given = nn.ReLU6, {}
    if kind is nn.ELU and (given.pop("scale"), given.pop("input_scale")) != (1, 1):
        raise _refused(node, f"{node.target} with scales, as of SELU or CELU,")
    module = kind(**given)
    if in_place:
        module.inplace = True
    return module


def _arguments(node: fx.Node) -> dict[str, object]:
    """All arguments of a call by name, those left out by their defaults."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise _refused(node, getattr(node.target, "__name__", str(node.target)))
    given = dict(zip((entry.name for entry in schema.arguments), node.args, strict=False))
    defaults = {entry.name: entry.default_value for entry in schema.arguments}
    return {**defaults, **given, **node.kwargs}


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _with(module: nn.Module, **weights: nn.Parameter | None) -> nn.Module:
    for name, weight in weights.items():
        setattr(module, name, weight)
    return module


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules do the same with the very same weights."""
    ours, theirs = (_addresses(module) for module in (one, other))
    return repr(one) == repr(other) and bool(ours) and ours == theirs


def _addresses(module: nn.Module) -> dict[str, int]:
    tensors: dict[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
    tensors.pop("num_batches_tracked", None)
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


def _refuse_training(node: fx.Node, training: bool) -> None:
    if training:
        raise QnotesError(
            f"{node.name}: the program was exported in training mode; call .eval() on the network "
            "and export it again"
        )


def _refused(node: fx.Node, what: str) -> UnsupportedOperation:
    tables = (CONVOLUTIONS, POOLS, ACTIVATIONS, DROPOUTS, VIEWS, SUMS, SAME, OTHERS)
    named = (call for table in tables for call in table if call is not operator.getitem)
    calls = {call.name().split("::")[1].split(".")[0] for call in named}
    covered = ", ".join(sorted(calls))
    return UnsupportedOperation(
        f"{node.name}: {what} is not covered in an exported program. Covered: {covered}. Export "
        "with torch.export.export and do not decompose it."
    )
