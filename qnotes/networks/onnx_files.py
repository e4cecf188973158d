"""ONNX files as networks: each node becomes the module, or the call, that computes the same.

The package `onnx` reads, checks and runs a file, and knows every version of every operation; what
is here says which module of torch a node is. (Converters were tried: onnx2torch 1.5.15 of 2024 has
no rule for the present version of `Conv` and 16 other operations, and the networks of onnx2pytorch
0.6.0 cannot be traced.) A node without a rule is refused by name, and the network runs beside the
reference implementation of ONNX, or onnxruntime where that is installed, before anyone gets it:
what differs is refused, too.
"""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation, foreign, whole
from qnotes.networks.activations import ATTENDS, NORMALIZES
from qnotes.networks.onnx_gelu import with_gelu
from qnotes.networks.operations import zero_pad
from qnotes.networks.probing import run, same

#: Nodes of files whose weights are codes already.
QUANTIZED = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "ConvInteger", "MatMulInteger",
)  # fmt: skip
WITHOUT_SLOPE = {
    **dict.fromkeys(
        ("LRN", "LpNormalization", "InstanceNormalization", "LayerNormalization",
         "GroupNormalization", "RMSNormalization", "MeanVarianceNormalization"),
        NORMALIZES,
    ),
    "Attention": ATTENDS,
}  # fmt: skip
#: Nodes whose values nobody knows before.
RANDOM = (
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip
RUNTIME = "onnxruntime"
#: Precisions of inputs, as numpy has them.
PRECISIONS = (np.float64, np.float32, np.float16)


def from_onnx(
    path: str | Path, *, input_shape: tuple[int, ...] | None = None, output: str | None = None
) -> fx.GraphModule:
    """The network of an ONNX file, as one that `fold`, `quantize` and `profile` take.

    It takes the inputs that the file takes, channels last where the file has them so. Padding on
    one side, ``Gemm``, and ``MatMul`` with the ``Add`` after it become the modules of torch that
    compute the same, and a product or sum with a number for each channel a batch norm. Network
    and file run once on a random input and must agree.

    Needs the package ``onnx`` (``pip install qnotes[onnx]``). Its reference implementation, which
    runs the file, takes seconds where images are large, and has gaps; ``onnxruntime`` is asked
    instead where it is installed.

    Args:
        path: of a file of float weights; weights beside it (external data) are read, too.
        input_shape: shape of one batch, needed where the file leaves sizes open other than that of
            the batch, which is then 1.
        output: name of the tensor that the network ends with, where the file has several outputs
            or ends with what no bound exists for, such as ``Softmax``.

    Returns:
        A graph module in eval mode with copies of the file's weights, in the file's precision. A
        layer is called what its weights are called, or its node.

    Raises:
        UnsupportedOperation: for a node that the theory does not cover: names it, and says what to
            do; and for a network that computes something else than its file.
        QnotesError: for a file that is missing, damaged, quantized, or newer than the installed
            ``onnx``; for several inputs or outputs, and for a shape that does not fit.
    """
    return read_onnx(path, input_shape, output)[0]


def read_onnx(
    path: str | Path, input_shape: tuple[int, ...] | None = None, output: str | None = None
) -> tuple[fx.GraphModule, tuple[int, ...]]:
    """The network of an ONNX file, and the shape of one batch."""
    if not isinstance(path, str | Path):
        raise QnotesError(f"expected the path of an ONNX file; got {type(path).__name__}")
    model = _cut(_loaded(Path(path)), output)
    probe = _probe(model.graph.input[0], input_shape)
    reader = _Reader(model, probe)
    network = reader.network()
    _check_same(reader, network, probe)
    return network, tuple(probe.shape)


def _onnx(part: str = "") -> ModuleType:
    try:
        return import_module(f"onnx.{part}" if part else "onnx")
    except ImportError as error:
        raise QnotesError(
            "reading an ONNX file needs the package onnx: pip install onnx, or qnotes[onnx]"
        ) from error


# -- the file --------------------------------------------------------------------------------------


def _loaded(path: Path):
    """A checked model with all weights inside, without functions of its own."""
    onnx, external = _onnx(), _onnx("external_data_helper")
    if not path.is_file():
        raise QnotesError(f"no file {path}")
    with foreign(f"{path} is no ONNX file"):
        model = onnx.load(path, load_external_data=False)
    for what in ("nodes", "outputs"):
        if not getattr(model.graph, what.removesuffix("s")):
            raise QnotesError(f"{path} is no ONNX file: it has no {what}")
    _check_opset(path, model)
    with foreign(
        f"{path} keeps weights in files beside it (external data), which cannot be read; put them "
        "into the same folder"
    ):
        external.load_external_data_for_model(model, str(path.parent))
    _refuse_quantized(path, model)
    if sparse := [tensor.values.name for tensor in model.graph.sparse_initializer]:
        raise QnotesError(f"{path} stores {', '.join(sparse)} as sparse; store it as dense")
    with foreign(f"{path} is no valid ONNX model"):
        if model.functions:
            model = _onnx("inliner").inline_local_functions(model)
        _onnx("checker").check_model(model)
    return model


def _check_opset(path: Path, model) -> None:
    known, newest = _onnx("defs").onnx_opset_version(), _version(model)
    if newest > known:
        raise QnotesError(
            f"{path} uses version {newest} of ONNX's operations, and the installed onnx "
            f"{_onnx().__version__} knows them up to {known}: update onnx, or export the file "
            f"again with opset_version={known}"
        )


def _version(model) -> int:
    """Of ONNX's operations; 0 where a file has none of them."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _refuse_quantized(path: Path, model) -> None:
    for node in model.graph.node:
        if node.op_type in QUANTIZED:
            raise QnotesError(
                f"{path} is quantized already ({node.op_type} at {_called(node)}); pass the float "
                "file that it was made of, and quantize it with qnotes.quantize"
            )


def _called(node) -> str:
    return node.name or next((name for name in node.output if name), node.op_type)


def _cut(model, output: str | None):
    """The same model with one input, one output, and only what leads to it."""
    graph, helper = model.graph, _onnx("helper")
    output = _one_output(graph, output)
    needed, kept = {output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.insert(0, node)
            needed |= set(_reads(node))
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [given for given in graph.input if given.name not in stored]
    read = [given for given in inputs if given.name in needed]
    if len(read) != 1:
        listed = ", ".join(given.name for given in inputs) or "none"
        raise UnsupportedOperation(
            f"{output} depends on {len(read)} inputs of the file, which has {len(inputs)} "
            f"({listed}); one is covered"
        )
    ends = helper.make_tensor_value_info(output, read[0].type.tensor_type.elem_type, None)
    cut = helper.make_graph(kept, graph.name or "cut", read, [ends], list(graph.initializer))
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)


def _reads(node) -> list[str]:
    """Names of what a node reads, and of what a graph inside of it does."""
    names = [name for name in node.input if name]
    for option in node.attribute:
        for inner in (*option.g.node, *(one for graph in option.graphs for one in graph.node)):
            names += _reads(inner)
    return names


def _one_output(graph, output: str | None) -> str:
    made = [name for node in graph.node for name in node.output if name]
    ends = [given.name for given in graph.output]
    if output is None and len(ends) != 1:
        raise QnotesError(
            f"the file has {len(ends)} outputs ({', '.join(ends)}); name one of them, as in "
            f"output={ends[0]!r}"
        )
    if output is not None and output not in made:
        raise QnotesError(
            f"the file has no tensor {output!r}; its last ones are {', '.join(made[-5:])}"
        )
    return ends[0] if output is None else output


def _probe(given, input_shape: tuple[int, ...] | None) -> Tensor:
    """A random input of the shape that the file, or the caller, says."""
    kind = given.type.tensor_type
    try:
        precision = _onnx("helper").tensor_dtype_to_np_dtype(kind.elem_type)
    except KeyError:
        precision = None
    if precision not in PRECISIONS:
        raise UnsupportedOperation(
            f"the input {given.name} is no tensor of float numbers; a network on them is covered: "
            "take out what converts integers"
        )
    said = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
    shape = _shape(given.name, said, input_shape)
    generator = torch.Generator().manual_seed(0)
    with foreign(f"the file cannot be run on an input of shape {shape}"):
        probe = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return probe.to(getattr(torch, np.dtype(precision).name))


def _shape(
    name: str, said: list[int | str], given: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Sizes of the file, a batch of 1 where it leaves that open; of the caller, where they fit."""
    shown = f"({', '.join(map(str, said))})"
    fixed = [size if isinstance(size, int) and size > 0 else None for size in said]
    if given is not None:
        listed = given if isinstance(given, tuple | list) else ()
        sizes = [whole(size) or 0 for size in listed]
        fits = len(sizes) == len(said) or (sizes and not said)
        pairs = zip(fixed, sizes, strict=False)
        if not fits or min(sizes) < 1 or any(own not in (None, size) for own, size in pairs):
            raise QnotesError(
                f"input_shape={given!r} does not fit the file, whose input {name} has the shape "
                f"{shown}"
            )
        return tuple(sizes)
    if fixed[:1] == [None]:
        fixed[0] = 1
    if not fixed or None in fixed:
        example = ", ".join(str(size or 224) for size in fixed) or "1, 3, 224, 224"
        raise QnotesError(
            f"the file leaves sizes of its input {name} open: {shown}; say them, as in "
            f"input_shape=({example})"
        )
    return tuple(fixed)


def _check_same(reader: _Reader, network: nn.Module, probe: Tensor) -> None:
    """Refuse a network that computes something else than the file, as others run it."""
    expected, who = _computed(reader.model, probe)
    if same(run(network, probe), torch.as_tensor(np.asarray(expected))):
        return
    (end,) = (given.name for given in reader.model.graph.output)
    first = _first_that_differs(reader, probe)
    what = f"{_called(first)}: {first.op_type}" if first is not None else f"{end}: it"
    install = f"pip install {RUNTIME}, which is asked first"
    remedy = "please report it" if who == RUNTIME else install
    raise UnsupportedOperation(
        f"{what} computes something else in {who} than the modules that the file's nodes stand for,"
        f" for an input of shape {tuple(probe.shape)}; {remedy}"
    )


def _first_that_differs(reader: _Reader, probe: Tensor):
    """The first node whose value is not that of ONNX's implementation; None where none is."""
    (source,) = (given.name for given in reader.model.graph.input)
    try:
        with np.errstate(all="ignore"):
            evaluator = _evaluator(reader.model)
            theirs = evaluator.run(None, {source: probe.numpy()}, intermediate=True)
    except Exception:  # it has gaps
        return None
    with_bias = set(reader.given_away.values())  # there without
    for node in reader.nodes:
        for name in set(node.output) & set(reader.values) - with_bias:
            if not same(reader.values[name], torch.as_tensor(np.asarray(theirs[name]))):
                return node
    return None


def _computed(model, probe: Tensor) -> tuple[np.ndarray, str]:
    """What a file computes, by onnxruntime where it is installed and knows all; who computed it."""
    (source,) = (given.name for given in model.graph.input)
    inputs = {source: probe.numpy()}
    try:
        runtime = import_module(RUNTIME)
        options = {"providers": ["CPUExecutionProvider"]}
        session = runtime.InferenceSession(model.SerializeToString(), **options)
        return session.run(None, inputs)[0], RUNTIME
    except Exception:  # not installed, or it cannot run the file
        who = "the reference implementation of ONNX"
    with foreign(f"{who} cannot run the file, so nothing checks it; pip install {RUNTIME}, too"):
        evaluator = _evaluator(model)
        with np.errstate(all="ignore"):  # its sigmoid computes what it does not take
            return evaluator.run(None, inputs)[0], who


def _evaluator(model):
    ours = [_batch_norm_of_onnx(), _pad_of_onnx()]
    return _onnx("reference").ReferenceEvaluator(model, new_ops=ours)


def _batch_norm_of_onnx() -> type:
    """Batch norm at inference; onnx's own takes that of versions 9 to 13 for training (PR 8442)."""

    class BatchNormalization(_onnx("reference.op_run").OpRun):
        op_domain = ""

        def _run(self, x, scale, shift, mean, variance, epsilon=1e-5, **_):
            shape = (1, -1) + (1,) * (x.ndim - 2)
            scale, shift, mean, variance = (
                one.reshape(shape) for one in (scale, shift, mean, variance)
            )
            return ((scale * (x - mean) / np.sqrt(variance + epsilon) + shift).astype(x.dtype),)

    return BatchNormalization


def _pad_of_onnx() -> type:
    """Padding that cuts where a number is negative; onnx's own stops there."""

    class Pad(_onnx("reference.op_run").OpRun):
        op_domain = ""

        def _run(self, x, pads=None, value=None, axes=None, mode="constant", paddings=None):
            pads = [int(size) for size in (paddings if pads is None else pads)]
            widths = [(0, 0)] * x.ndim
            chosen = range(x.ndim) if axes is None else axes
            for axis, before, after in zip(chosen, pads, pads[len(chosen) :], strict=False):
                cut = slice(max(0, -before), x.shape[axis] + min(0, after))
                x = x[(*(slice(None),) * (axis % x.ndim), cut)]
                widths[axis] = (max(0, before), max(0, after))
            constant = mode == "constant" and value is not None
            filled = {"constant_values": value} if constant else {}
            return (np.pad(x, widths, mode, **filled),)

    return Pad


# -- the nodes -------------------------------------------------------------------------------------

#: A module, or a function or method of tensors with what comes after the tensor.
Step = nn.Module | tuple[Callable | str, tuple]


@dataclass(frozen=True)
class _Call:
    """A node: its options, its constants, and what it reads, as it is for the probe."""

    node: object
    options: dict[str, object]
    constants: dict[str, np.ndarray]
    source: Tensor
    version: int  # of ONNX's operations

    @property
    def name(self) -> str:
        return _called(self.node)

    def constant(self, index: int) -> np.ndarray | None:
        """An input that is a constant; None where it is left out."""
        name = self.node.input[index] if index < len(self.node.input) else ""
        if name and name not in self.constants:
            raise self.refused(f"with its input {index} ({name}), which is no constant,")
        return self.constants.get(name) if name else None

    def setting(self, index: int, option: str, default: object = None) -> object:
        """What older versions have as an option and newer ones as an input."""
        value = self.constant(index)
        if value is None:
            return self.options.get(option, default)
        return value.tolist()

    def refused(self, what: str = "", remedy: str = "") -> UnsupportedOperation:
        before = next((name for name in _reads(self.node) if name not in self.constants), "")
        remedy = remedy or (
            f"Take it out of the file; or end the network before it, with output={before!r}."
        )
        covered = ", ".join(sorted([*RULES, *JOINS]))
        space = " " if what else ""
        return UnsupportedOperation(
            f"{self.name}: {self.node.op_type}{space}{what} is not covered. {remedy} Covered: "
            f"{covered}."
        )


class _Reader:
    """Walks the nodes of a file once, writes a graph of modules, and runs it as it goes."""

    def __init__(self, model, probe: Tensor) -> None:
        to_array = _onnx("numpy_helper").to_array
        self.constants = {t.name: to_array(t) for t in model.graph.initializer}
        self.model, self.nodes = model, []
        for node in model.graph.node:
            if node.op_type == "Constant" and not node.domain:
                with foreign(f"{_called(node)}: cannot be read", UnsupportedOperation):
                    self._compute(node)
            else:
                self.nodes.append(node)
        self.nodes = with_gelu(self.nodes, self.constants)
        self.readers = Counter(name for node in self.nodes for name in node.input)
        self.graph, self.modules = fx.Graph(), {}
        self.empty = fx.GraphModule({}, fx.Graph())  # what no module of it may be called
        (source,) = (given.name for given in model.graph.input)
        self.made = {source: self.graph.placeholder("input")}
        self.values = {source: probe}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.version = _version(model)
        self.given_away: dict[str, str] = {}  # sums that became the bias of what they read

    def network(self) -> fx.GraphModule:
        for node in self.nodes:
            with foreign(f"{_called(node)}: cannot be read", UnsupportedOperation), torch.no_grad():
                self._read(node)
        (end,) = (given.name for given in self.model.graph.output)
        if end not in self.made:
            raise UnsupportedOperation(f"{end} is a constant; it does not depend on the input")
        self.graph.output(self.made[end])
        network = fx.GraphModule(self.modules, self.graph, "Onnx").eval()
        network.graph.eliminate_dead_code()
        network.delete_all_unused_submodules()
        network.recompile()
        return network

    def _read(self, node) -> None:
        if node.domain not in ("", "ai.onnx"):
            raise UnsupportedOperation(
                f"{_called(node)}: {node.op_type} of the domain {node.domain} is not covered; "
                "export the file with operations of ONNX alone"
            )
        if node.output[0] in self.given_away:
            before = self.given_away[node.output[0]]
            self._keep(node, self.made[before], self.values[before])
        elif node.op_type == "Shape":
            self.constants[node.output[0]] = self._shape_of(node)
        elif node.op_type in RANDOM:
            raise UnsupportedOperation(
                f"{_called(node)}: {node.op_type} is another number each time; export the network "
                "in evaluation mode"
            )
        elif not any(name in self.made for name in _reads(node)):
            self._compute(node)
        elif node.op_type in JOINS:
            self._keep(node, *JOINS[node.op_type](self, node))
        else:
            self._apply(node)

    def _shape_of(self, node) -> np.ndarray:
        options, (name, *_) = _options(node), node.input
        shape = self.values[name].shape if name in self.values else self.constants[name].shape
        return np.array(shape[options.get("start", 0) : options.get("end")], dtype=np.int64)

    def _compute(self, node) -> None:
        """A node that reads constants alone is a constant."""
        read = [name for name in dict.fromkeys(node.input) if name]
        function = _onnx("helper").make_function(
            "qnotes", "constant", read, list(node.output), [node], self.model.opset_import
        )
        evaluator = _onnx("reference").ReferenceEvaluator(function)
        results = evaluator.run(None, {name: self.constants[name] for name in read}, attributes={})
        self.constants.update(zip(node.output, map(np.asarray, results), strict=True))

    def _apply(self, node) -> None:
        name = next(name for name in _reads(node) if name in self.made)
        call = self._call(node, name)
        if node.op_type in WITHOUT_SLOPE:
            raise call.refused(f"{WITHOUT_SLOPE[node.op_type]}; so it")
        if node.op_type not in RULES:
            raise call.refused()
        if name != node.input[0] and node.op_type not in COMMUTES:
            raise call.refused("of a constant and what depends on the input")
        if node.op_type == "Split":
            for output, step in zip(node.output, _pieces(call), strict=True):
                self.made[output], self.values[output] = self._placed(call, name, [step])
            return
        if any(node.output[1:]) and any(self.readers[other] for other in node.output[1:]):
            raise call.refused("with several outputs")
        self._keep(node, *self._placed(call, name, RULES[node.op_type](call)))

    def _call(self, node, source: str) -> _Call:
        constants, options = self.constants, _options(node)
        if node.op_type in ("MatMul", "Conv") and (bias := self._bias_after(node)):
            options["bias"] = bias
        return _Call(node, options, constants, self.values[source], self.version)

    def _bias_after(self, node) -> str | None:
        """The constant that a sum after a layer without a bias adds, if nothing else reads it."""
        if self.readers[node.output[0]] != 1 or len(node.input) > 2:
            return None
        (after,) = (other for other in self.nodes if node.output[0] in other.input)
        others = [name for name in after.input if name != node.output[0]]
        if after.op_type != "Add" or len(others) != 1 or others[0] not in self.constants:
            return None
        shape = self.constants[others[0]].shape
        weight = self.constants.get(node.input[1])
        if weight is None or weight.ndim < 2:
            return None
        channels = weight.shape[0 if node.op_type == "Conv" else 1]
        tail = (1,) * (weight.ndim - 2 if node.op_type == "Conv" else 0)
        if shape not in ((channels, *tail), (1, channels, *tail)):
            return None
        self.given_away[after.output[0]] = node.output[0]
        return others[0]

    def _placed(self, call: _Call, source: str, steps: Iterable[Step]) -> tuple[fx.Node, Tensor]:
        node, value = self.made[source], self.values[source]
        for step in steps:
            if isinstance(step, nn.Module):
                node = self.graph.call_module(self._name(call, step), (node,))
                value = step.eval()(value)
            elif isinstance(step[0], str):
                node = self.graph.call_method(step[0], (node, *step[1]))
                value = getattr(value, step[0])(*step[1])
            else:
                node = self.graph.call_function(step[0], (node, *step[1]))
                value = step[0](value, *step[1])
        return node, value

    def _keep(self, node, made: fx.Node, value: Tensor) -> None:
        self.made[node.output[0]], self.values[node.output[0]] = made, value

    def _name(self, call: _Call, module: nn.Module) -> str:
        """``stage1.conv`` if the weights are ``stage1.conv.weight``; else after the node."""
        stem = call.name
        for given in call.node.input[1:2]:
            if given.endswith(".weight"):
                stem = given.removesuffix(".weight")
        name = re.sub(r"[^0-9A-Za-z_.]+", "_", stem).strip("._") or call.node.op_type
        if not hasattr(module, "weight") and stem != call.name:
            name += "_padding"
        taken = (
            part
            for part in name.split(".")
            if hasattr(self.empty, part) or keyword.iskeyword(part)
        )
        nested = (old for old in self.modules if f"{old}.".startswith(f"{name}."))
        inside = (old for old in self.modules if name.startswith(f"{old}."))
        if any((*taken, *nested, *inside)):
            name = name.replace(".", "_") + "_"
        while name in self.modules:
            name += "_"
        self.modules[name] = module
        return name


def _options(node) -> dict[str, object]:
    value = _onnx("helper").get_attribute_value
    return {option.name: value(option) for option in node.attribute}


# -- the rules: of one value ---------------------------------------------------------------------


def _parameter(array: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(array)), requires_grad=False)


def _of_axes(call: _Call, kind: str, axes: int) -> type[nn.Module]:
    if not 1 <= axes <= 3:
        raise call.refused(f"on {axes} axes")
    return getattr(nn, f"{kind}{axes}d")


def _pads(call: _Call, kernel: Sequence[int], strides, dilations) -> tuple[list[int], list[int]]:
    """Padding before and after, axis by axis, as the node says or as ``SAME`` means it."""
    auto = call.options.get("auto_pad", b"NOTSET").decode()
    axes = len(kernel)
    if auto in ("NOTSET", ""):
        pads = list(call.options.get("pads", [0] * 2 * axes))
        return pads[:axes], pads[axes:]
    sizes = call.source.shape[2:]
    totals = [
        max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) if auto != "VALID" else 0
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (more, less) if auto == "SAME_LOWER" else (less, more)


def _zeros(call: _Call, begin: Sequence[int], end: Sequence[int]) -> list[Step]:
    """Zeros around an image; where there are to be fewer than none, it is cut before."""
    sides = list(zip(begin, end, strict=True))
    cuts = [slice(max(0, -before), min(0, after) or None) for before, after in sides]
    whole = (slice(None),) * (call.source.ndim - len(sides))
    cut = [(operator.getitem, ((*whole, *cuts),))] if min((*begin, *end)) < 0 else []
    image = sides[2 - call.source.ndim :]
    pad = [max(0, size) for pair in reversed(image) for size in pair]
    return [*cut, zero_pad(call.name, pad, "constant", 0.0)] if any(pad) else cut


def _spread(call: _Call, axes: int, *options: str) -> list[tuple[int, ...]]:
    return [tuple(call.options.get(option, [1] * axes)) for option in options]


def _conv(call: _Call) -> list[Step]:
    weight, bias = call.constant(1), call.constant(2)
    if "bias" in call.options:
        bias = call.constants[call.options["bias"]].reshape(-1)
    kernel, groups = weight.shape[2:], call.options.get("group", 1)
    strides, dilations = _spread(call, len(kernel), "strides", "dilations")
    begin, end = _pads(call, kernel, strides, dilations)
    before = [] if begin == end and min(begin) >= 0 else _zeros(call, begin, end)
    module = _of_axes(call, "Conv", len(kernel))(
        weight.shape[1] * groups, len(weight), kernel, strides,
        [0] * len(kernel) if before else begin, dilations, groups,
        bias=bias is not None, device="meta",
    )  # fmt: skip
    module.padding = tuple(module.padding)
    return [*before, _with_weights(module, weight, bias)]


def _with_weights(module: nn.Module, weight: np.ndarray, bias: np.ndarray | None) -> nn.Module:
    module.weight = _parameter(weight)
    module.bias = None if bias is None else _parameter(bias)
    return module


def _linear(call: _Call, weight: np.ndarray, bias: np.ndarray | None) -> list[Step]:
    if weight.ndim != 2:
        raise call.refused(f"with weights of shape {weight.shape}")
    rows, columns = weight.shape
    if bias is not None:
        if bias.shape not in ((), (1,), (1, 1), (rows,), (1, rows)):
            raise call.refused(f"with a bias of shape {bias.shape} for {rows} outputs")
        bias = np.broadcast_to(bias.reshape(-1), (rows,))
    module = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    return [_with_weights(module, weight, bias)]


def _matmul(call: _Call) -> list[Step]:
    weight = call.constant(1)
    bias = call.constants[call.options["bias"]] if "bias" in call.options else None
    return _linear(call, weight.T, bias)


def _gemm(call: _Call) -> list[Step]:
    options, weight, bias = call.options, call.constant(1), call.constant(2)
    if options.get("transA", 0):
        raise call.refused("with transA=1")
    weight = weight if options.get("transB", 0) else weight.T
    alpha, beta = (np.asarray(options.get(k, 1), weight.dtype) for k in ("alpha", "beta"))
    return _linear(call, alpha * weight, None if bias is None else beta * bias)


def _batch_norm(call: _Call) -> list[Step]:
    options, version = call.options, call.version
    inference = not options.get("training_mode", 0) and not any(call.node.output[1:])
    if version < 7:
        inference = inference and bool(options.get("is_test", 0))
    if not inference:
        raise call.refused("in training mode", "Export the network in evaluation mode.")
    if not options.get("spatial", 1):
        raise call.refused("with numbers for each position")
    scale, shift, mean, variance = (call.constant(index) for index in range(1, 5))
    return [_norm(call, scale, shift, mean, variance, call.options.get("epsilon", 1e-5))]


def _norm(call: _Call, scale, shift, mean, variance, epsilon: float) -> nn.Module:
    kind = _of_axes(call, "BatchNorm", max(call.source.ndim - 2, 1))
    module = kind(len(scale), eps=epsilon)
    module.weight, module.bias = _parameter(scale), _parameter(shift)
    module.running_mean, module.running_var = _parameter(mean).data, _parameter(variance).data
    return module


def _channelwise(call: _Call) -> list[Step]:
    """A sum, difference, product or quotient with a number for each channel, as a batch norm."""
    kind = call.node.op_type
    index = 0 if call.node.input[0] in call.constants else 1
    numbers, axes = call.constant(index), call.source.ndim
    if axes < 2 or numbers.ndim > axes:
        raise call.refused(f"with a constant of shape {numbers.shape}")
    shape = (1,) * (axes - numbers.ndim) + numbers.shape
    along = [axis for axis, size in enumerate(shape) if size > 1] or [1]
    if along not in ([1], [axes - 1]):
        raise call.refused(
            f"of values of shape {tuple(call.source.shape)} with a constant of shape "
            f"{numbers.shape}, which is no number for each channel (dimension 1, or the last one),"
        )
    channels = call.source.shape[along[0]]
    if numbers.size not in (1, channels):
        raise call.refused(f"of {channels} channels with {numbers.size} numbers")
    if kind == "Div" and (not index or not numbers.all()):
        raise call.refused("by zero" if index else "by what depends on the input")
    numbers = np.broadcast_to(numbers.reshape(-1), (channels,))
    one, zero = np.ones_like(numbers), np.zeros_like(numbers)
    scale, shift = {
        "Add": lambda: (one, numbers),
        "Sub": lambda: (one, -numbers) if index else (-one, numbers),
        "Mul": lambda: (numbers, zero),
        "Div": lambda: (one / numbers, zero),
    }[kind]()
    norm = _norm(call, scale, shift, zero, one, 0.0)
    if along == [1]:
        return [norm]
    first, last = (0, axes - 1, *range(1, axes - 1)), (0, *range(2, axes), 1)
    return [("permute", (first,)), norm, ("permute", (last,))]


def _max_pool(call: _Call) -> list[Step]:
    return _pool(call, "MaxPool", {})


def _average_pool(call: _Call) -> list[Step]:
    counted = bool(call.options.get("count_include_pad", 0))
    return _pool(call, "AvgPool", {"count_include_pad": counted})


def _pool(call: _Call, kind: str, more: dict) -> list[Step]:
    """A pool with the same windows.

    Torch pads both sides alike, with what no window counts. So the first windows are the same; and
    those at the end are let in by ``ceil_mode``, or cut off.
    """
    kernel = tuple(call.options["kernel_shape"])
    strides, dilations = _spread(call, len(kernel), "strides", "dilations")
    begin, end = _pads(call, kernel, strides, dilations)
    if kind == "MaxPool":
        more = {"dilation": dilations}
    elif set(dilations) != {1}:
        raise call.refused("with dilations")
    pool = _of_axes(call, kind, len(kernel))
    round_up = bool(call.options.get("ceil_mode", 0))
    if more.get("count_include_pad") and begin != end:
        return [*_zeros(call, begin, end), pool(kernel, strides, ceil_mode=round_up)]
    sizes = zip(call.source.shape[2:], kernel, strides, dilations, begin, end, strict=True)
    wanted = [_windows(*size, round_up) for size in sizes]
    for ceil_mode in (round_up, not round_up):
        module = pool(kernel, strides, tuple(begin), ceil_mode=ceil_mode, **more)
        made = run(module, call.source)
        found = [] if made is None else list(made.shape[2:])
        if found == wanted:
            return [module]
        if found and all(map(operator.ge, found, wanted)):
            first = (slice(None), slice(None), *map(slice, wanted))
            return [module, (operator.getitem, (first,))]
    raise call.refused(f"with pads {begin} before and {end} after")


def _windows(size, kernel, stride, dilation, begin, end, round_up: bool) -> int:
    """How many windows a pool has along an axis."""
    room = size + begin + end - (kernel - 1) * dilation - 1
    if not round_up:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - ((count - 1) * stride >= size + begin)


def _global(kind: str) -> Callable[[_Call], list[Step]]:
    return lambda call: [_of_axes(call, kind, call.source.ndim - 2)(1)]


def _clip(call: _Call) -> list[Step]:
    low, high = (call.setting(i, option) for i, option in ((1, "min"), (2, "max")))
    low, high = (float(np.ravel(end)[0]) if end is not None else None for end in (low, high))
    largest = torch.finfo(call.source.dtype).max
    if high is not None and high >= largest:
        high = None
    if low is not None and low <= -largest:
        low = None
    if low is None and high is None:
        return []
    if low == 0 and high in (None, 6):
        return [nn.ReLU() if high is None else nn.ReLU6()]
    if low is None or high is None or not low < high:
        raise call.refused(f"to [{low}, {high}]", "Clip to two ends, the first one smaller.")
    return [nn.Hardtanh(low, high)]


def _hard_sigmoid(call: _Call) -> list[Step]:
    alpha, beta = call.options.get("alpha", 0.2), call.options.get("beta", 0.5)
    if abs(alpha - 1 / 6) > 1e-8 or beta != 0.5:
        raise call.refused(f"with alpha={alpha:g}, beta={beta:g} (1/6 and 1/2 are)")
    return [nn.Hardsigmoid()]


def _prelu(call: _Call) -> list[Step]:
    slope = call.constant(1)
    axes = call.source.ndim
    shape = (1,) * (axes - slope.ndim) + slope.shape  # as it broadcasts
    channels = call.source.shape[1] if axes > 1 else 1
    if slope.size != 1 and (slope.size != channels or len(shape) > axes or shape[1] != channels):
        raise call.refused(f"with slopes of shape {slope.shape}")
    module = nn.PReLU(slope.size)
    module.weight = _parameter(slope.reshape(-1))
    return [module]


def _gelu(call: _Call) -> list[Step]:
    return [nn.GELU(call.options.get("approximate", b"none").decode())]


def _identity(call: _Call) -> list[Step]:
    return []


def _dropout(call: _Call) -> list[Step]:
    training = call.constant(2)
    if training is not None and training.any():
        raise call.refused("in training mode", "Export the network in evaluation mode.")
    return [nn.Dropout()]


def _cast(call: _Call) -> list[Step]:
    wanted = _onnx("helper").tensor_dtype_to_np_dtype(call.options["to"])
    if np.dtype(wanted).name != str(call.source.dtype).removeprefix("torch."):
        raise call.refused(f"from {call.source.dtype} to {wanted}")
    return []


def _pad(call: _Call) -> list[Step]:
    axes = call.source.ndim
    pads = call.setting(1, "pads") or call.options.get("paddings", [0] * 2 * axes)
    value = call.setting(2, "value", 0.0)
    chosen = call.setting(3, "axes", list(range(axes)))
    chosen = [axis % axes for axis in chosen]
    begin, end = [0] * axes, [0] * axes
    for axis, before, after in zip(chosen, pads, pads[len(chosen) :], strict=False):
        begin[axis], end[axis] = before, after
    mode = call.options.get("mode", b"constant").decode()
    if not any(begin + end):
        return []
    filled = max((*begin, *end)) > 0 and (mode != "constant" or np.any(value))
    if filled or begin[0] or end[0] or max((*begin[:2], *end[:2])) > 0:
        what = f"by {list(pads)} with mode {mode} and value {np.ravel(value)[:1]}"
        raise call.refused(what, "Zeros around an image, channels first, are.")
    return _zeros(call, begin[1:], end[1:])


def _view(call: _Call, after: Sequence[int]) -> list[Step]:
    """A view is covered where each input of a batch stays one."""
    before = tuple(call.source.shape)
    if tuple(after) == before:
        return []
    if not after or after[0] != before[0]:
        raise call.refused(f"from {before} to {tuple(after)}, across the inputs of a batch,")
    return [nn.Flatten()] if len(after) == 2 else [("reshape", (-1, *after[1:]))]


def _reshape(call: _Call) -> list[Step]:
    wanted = np.ravel(call.setting(1, "shape")).tolist()
    if not call.options.get("allowzero", 0):
        wanted = [size or call.source.shape[axis] for axis, size in enumerate(wanted)]
    return _view(call, call.source.reshape(wanted).shape)


def _flatten(call: _Call) -> list[Step]:
    axis, shape = call.options.get("axis", 1), call.source.shape
    axis += len(shape) * (axis < 0)
    return _view(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _squeeze(call: _Call) -> list[Step]:
    shape = call.source.shape
    axes = call.setting(1, "axes", [axis for axis, size in enumerate(shape) if size == 1])
    gone = {axis % len(shape) for axis in axes}
    return _view(call, [size for axis, size in enumerate(shape) if axis not in gone])


def _unsqueeze(call: _Call) -> list[Step]:
    axes, shape = call.setting(1, "axes"), list(call.source.shape)
    for axis in sorted(axis % (len(shape) + len(axes)) for axis in axes):
        shape.insert(axis, 1)
    return _view(call, shape)


def _transpose(call: _Call) -> list[Step]:
    axes = call.source.ndim
    return [("permute", tuple(call.options.get("perm", reversed(range(axes)))))]


def _slice(call: _Call) -> list[Step]:
    shape = call.source.shape
    starts, ends = (call.setting(i, name) for i, name in ((1, "starts"), (2, "ends")))
    axes = call.setting(3, "axes", list(range(len(starts))))
    steps = call.setting(4, "steps", [1] * len(starts))
    parts = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise call.refused("backwards")
        first, last, step = slice(start, end, step).indices(shape[axis])
        if axis % len(shape):
            parts[axis % len(shape)] = slice(first, last, step)
        elif len(range(first, last, step)) != shape[axis]:
            raise call.refused("of the batch")
    return [(operator.getitem, (tuple(parts),))]


def _pieces(call: _Call) -> list[Step]:
    axis = call.options.get("axis", 0) % call.source.ndim
    size, count = call.source.shape[axis], len(call.node.output)
    each = -(-size // count)
    sizes = call.setting(1, "split") or [min(each, size - each * i) for i in range(count)]
    if axis == 0:
        raise call.refused("of the batch")
    ends = np.cumsum(sizes).tolist()
    whole = (slice(None),) * axis
    return [
        (operator.getitem, ((*whole, slice(end - size, end)),))
        for end, size in zip(ends, sizes, strict=True)
    ]


def _mean(call: _Call) -> list[Step]:
    axes = call.setting(1, "axes")
    if not axes and call.options.get("noop_with_empty_axes", 0):
        return []
    axes = tuple(axes or range(call.source.ndim))
    return [("mean", (axes, bool(call.options.get("keepdims", 1))))]


#: What a node of each kind is: steps that follow one another.
RULES: dict[str, Callable[[_Call], list[Step]]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": lambda call: [nn.ReLU()],
    "Clip": _clip,
    "LeakyRelu": lambda call: [nn.LeakyReLU(call.options.get("alpha", 0.01))],
    "PRelu": _prelu,
    "Elu": lambda call: [nn.ELU(call.options.get("alpha", 1.0))],
    "Sigmoid": lambda call: [nn.Sigmoid()],
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda call: [nn.Hardswish()],
    "Tanh": lambda call: [nn.Tanh()],
    "Gelu": _gelu,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global("AdaptiveAvgPool"),
    "GlobalMaxPool": _global("AdaptiveMaxPool"),
    "ReduceMean": _mean,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _pieces,
    "Pad": _pad,
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    **dict.fromkeys(("Sub", "Div"), _channelwise),
}
COMMUTES = ("Add", "Mul", "Sub", "Sum")


# -- the rules: of several values ------------------------------------------------------------------


def _tensors(reader: _Reader, node) -> list[str]:
    """What a node reads; refuses constants among it."""
    known = [name for name in node.input if name in reader.made]
    if len(known) != len(node.input):
        raise reader._call(node, known[0]).refused("of a constant and what depends on the input")
    return known


def _sum(reader: _Reader, node) -> tuple[fx.Node, Tensor]:
    """Of equal shapes; or with a number for each channel."""
    if node.op_type == "Add" and set(node.input) & set(reader.constants):
        return _with_numbers(reader, node)
    names = _tensors(reader, node)
    shapes = {tuple(reader.values[name].shape) for name in names}
    if len(shapes) > 1:
        raise reader._call(node, names[0]).refused(f"of different shapes {sorted(shapes)}")
    made, value = reader.made[names[0]], reader.values[names[0]]
    for name in names[1:]:
        made = reader.graph.call_function(operator.add, (made, reader.made[name]))
        value = value + reader.values[name]
    return made, value


def _with_numbers(reader: _Reader, node) -> tuple[fx.Node, Tensor]:
    (name,) = (name for name in node.input if name in reader.made)
    call = reader._call(node, name)
    return reader._placed(call, name, _channelwise(call))


def _product(reader: _Reader, node) -> tuple[fx.Node, Tensor]:
    """With a number for each channel; x σ(x) as the activation it is; or with a gate."""
    if set(node.input) & set(reader.constants):
        return _with_numbers(reader, node)
    one, other = names = _tensors(reader, node)
    for values, gate in (names, names[::-1]):
        maker = reader.makers.get(gate)
        if maker is not None and maker.op_type in SWISHES and list(maker.input) == [values]:
            call = reader._call(node, values)
            return reader._placed(call, values, [SWISHES[maker.op_type]()])
    made = reader.graph.call_function(operator.mul, (reader.made[one], reader.made[other]))
    return made, reader.values[one] * reader.values[other]


SWISHES = {"Sigmoid": nn.SiLU, "HardSigmoid": nn.Hardswish}


def _concat(reader: _Reader, node) -> tuple[fx.Node, Tensor]:
    names = _tensors(reader, node)
    values = [reader.values[name] for name in names]
    axis = _options(node)["axis"] % values[0].ndim
    made = [reader.made[name] for name in names]
    return reader.graph.call_function(torch.cat, (made, axis)), torch.cat(values, axis)


JOINS = {"Add": _sum, "Sum": _sum, "Mul": _product, "Concat": _concat}
