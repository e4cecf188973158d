"""From any module to a graph of its operations; the caller's network is never changed."""

from __future__ import annotations

import copy
import keyword
import operator
from collections.abc import Iterable

import torch
from torch import fx, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from qnotes.errors import QnotesError, UnsupportedOperation, foreign
from qnotes.networks.probing import check_same_function

#: Modules of torch that do something else in training mode.
MODAL = (
    nn.modules.batchnorm._NormBase,
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.RNNBase,
    nn.MultiheadAttention,
    nn.Transformer,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)
#: Precisions whose numbers float64 holds without rounding.
PRECISIONS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
EXPORT = "or export it with torch.export.export and pass the program to qnotes.from_export"


def trace(
    network: nn.Module, *, copied: bool = False, input_shape: tuple[int, ...] | None = None
) -> fx.GraphModule:
    """The graph of a network in evaluation mode, which computes what the network computes.

    A trace follows one path through Python code, and may follow another than the network does. So
    both run once, with and without gradients, on a random input: of `input_shape`, with smaller
    images where the network can take them; else of a shape that the first layer can take.

    Args:
        network: any module that `torch.fx` can trace; a graph module comes back as it is.
        copied: copy the weights, too, to the CPU, so that the result shares nothing with it.
        input_shape: of one batch, where it is known.

    Raises:
        UnsupportedOperation, QnotesError: names the layer, what is wrong with it, what to do.
    """
    graph, runner = _traced(network, copied)
    if runner is not None:
        check_same_function(runner, graph, input_shape)
    return graph


def graph_of(network: nn.Module) -> fx.GraphModule:
    """The same without a run beside it, for whoever compares the graph with the network itself."""
    return _traced(network, copied=False)[0]


def _traced(network: nn.Module, copied: bool) -> tuple[fx.GraphModule, nn.Module | None]:
    """The graph, and a copy of the network as it is, unless it is a graph module already."""
    check_module(network)
    if isinstance(network, fx.GraphModule):
        _check_graph(network)
    _check_parts(network)
    check_evaluation(network)
    if is_altered(network) or _calls_differently(network):
        raise UnsupportedOperation(
            f"{type(network).__name__} has hooks or a forward of its own, which a trace would "
            "lose; remove them first"
        )
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise UnsupportedOperation(
            "torch has a global forward hook, which may change what every module computes; call "
            ".remove() on the handle that register_module_forward_hook returned"
        )
    if not copied:
        _refuse_other_devices(network)
    if isinstance(network, fx.GraphModule):
        graph = _spelled_out(own_copy(network, weights=True).cpu()) if copied else network
        return graph, None
    if type(network).__module__.startswith("torch.nn.modules") and not list(network.children()):
        network = _alone(network)  # a layer is seen from outside
    runner = own_copy(network, weights=copied)
    if copied:
        runner = runner.cpu()
    tracer = _Tracer()
    with foreign(lambda error: _untraceable(network, tracer, error), UnsupportedOperation):
        # A copy of its own: what the forward pass writes into attributes are then proxies.
        graph = tracer.trace(own_copy(runner))
        traced = fx.GraphModule(tracer.root, graph, type(network).__name__)
    return _spelled_out(traced), runner


def _alone(layer: nn.Module) -> nn.Module:
    """A network of one layer, in the layer's mode."""
    network = nn.Sequential()
    network.add_module("layer", layer)
    return network.train(layer.training)


def own_copy(network: nn.Module, *, weights: bool = False) -> nn.Module:
    """A copy whose attributes and buffers are its own; its weights only if asked for."""
    shared = {} if weights else {id(weight): weight for weight in network.parameters()}
    with foreign(f"{type(network).__name__} cannot be copied"):
        return copy.deepcopy(network, shared)


# -- what a network may be -------------------------------------------------------------------------


def check_module(network: object) -> None:
    """Refuse all but modules with a graph to look at; says what to pass instead."""
    kind = type(network).__name__
    inner = {
        "_orig_mod": "a compiled network; pass its ._orig_mod",
        "model": f"expected a torch.nn.Module; got {kind}; pass its .model",
    }
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise QnotesError(f"{kind} wraps a network; pass its .module")
    if isinstance(network, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise QnotesError(
            f"{kind} is compiled by torch.jit, which left no modules; pass the torch.nn.Module "
            "that it was made of"
        )
    is_module = isinstance(network, nn.Module)
    attribute = "_orig_mod" if is_module else "model"
    if isinstance(getattr(network, attribute, None), nn.Module):
        raise QnotesError(inner[attribute])
    if isinstance(network, torch.export.ExportedProgram):
        raise QnotesError("got an exported program; pass it to qnotes.from_export first")
    if not is_module:
        raise QnotesError(f"expected a torch.nn.Module; got {kind}")
    if (place := torch.get_default_device()).type != "cpu":
        raise QnotesError(
            f"torch's default device is {place}, and bounds are computed on the CPU: call "
            "torch.set_default_device('cpu') first, or put the call inside torch.device('cpu')"
        )


def check_evaluation(network: nn.Module, what: str = "the network") -> None:
    """Refuse networks of which a part is in training mode."""
    if network.training:
        raise QnotesError(
            f"{what} is in training mode, where batch norm and dropout act differently; "
            "call .eval() on it first"
        )
    for name, module in network.named_modules():
        # A mode makes no difference to most of torch's own, such as those that hold others.
        foreign_class = not type(module).__module__.startswith("torch.nn.modules.")
        if module.training and (foreign_class or isinstance(module, MODAL)):
            raise QnotesError(f"{name}: is in training mode; call .eval() on {what} first")


def check_values(network: nn.Module) -> None:
    """Refuse a network that is about to run and of which a part has no values, by name."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        check_has_values(f"{name}: it", tensor)


def check_has_values(what: str, tensor: torch.Tensor) -> None:
    if tensor.is_meta:
        raise QnotesError(f"{what} is on the meta device and has no values; load them")


def _check_parts(network: nn.Module) -> None:
    """Refuse layers whose weights are not plain tensors of numbers, by name."""
    for name, module in network.named_modules():
        where = name or type(module).__name__
        _refuse_computed_weights(where, module)
        tensors = {**module._parameters, **module._buffers}
        for kind, tensor in tensors.items():
            if tensor is not None:
                _check_tensor(where, kind, tensor, trained=kind in module._parameters)


def _refuse_computed_weights(name: str, module: nn.Module) -> None:
    """Weights that another tensor and a rule make, anew at each call."""
    if parametrize.is_parametrized(module):
        computed = ", ".join(map(repr, module.parametrizations))
        raise UnsupportedOperation(
            f"{name}: a parametrization computes its {computed}; make the weights plain with "
            f"torch.nn.utils.parametrize.remove_parametrizations(layer, {computed})"
        )
    for hook in module._forward_pre_hooks.values():
        for kind, remedy in COMPUTED.items():
            if isinstance(hook, kind):
                raise UnsupportedOperation(
                    f"{name}: {kind.__name__} computes its weights at each call; make them plain "
                    f"with torch.nn.utils.{remedy}"
                )
    plain = {"weight", "bias"} & vars(module).keys()
    if any(isinstance(vars(module)[kind], torch.Tensor) for kind in plain):
        kind = min(plain)
        raise UnsupportedOperation(
            f"{name}: its {kind} is no parameter of the layer; set it as "
            f"layer.{kind} = torch.nn.Parameter(...)"
        )


COMPUTED = {
    BasePruningMethod: "prune.remove(layer, 'weight')",
    WeightNorm: "remove_weight_norm(layer)",
    SpectralNorm: "remove_spectral_norm(layer)",
}


def _check_tensor(name: str, kind: str, tensor: torch.Tensor, *, trained: bool) -> None:
    if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        raise QnotesError(
            f"{name}: its {kind} has no shape yet, since the layer is lazy; run the network on one "
            "input first"
        )
    if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.layout != torch.strided:
        what = f"a {type(tensor).__name__} of layout {tensor.layout}"
        raise UnsupportedOperation(
            f"{name}: its {kind} is {what}, not a plain tensor; pass the network as it was before "
            "its weights were converted"
        )
    check_has_values(f"{name}: its {kind}", tensor)
    if tensor.is_complex():
        raise UnsupportedOperation(
            f"{name}: the network has complex weights; the theory is about real ones"
        )
    if trained and tensor.dtype not in PRECISIONS:
        raise UnsupportedOperation(
            f"{name}: its {kind} is {tensor.dtype}; the theory is about real numbers, as float32"
        )


def _refuse_other_devices(network: nn.Module) -> None:
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.device.type != "cpu":
            raise QnotesError(
                f"{name}: is on the device {tensor.device}; pass the network with .cpu(), or "
                "qnotes.fold it, which makes a copy on the CPU"
            )


def is_altered(module: nn.Module) -> bool:
    """Whether a module may compute something else than its class says.

    Hooks change it, and so does an attribute of the instance that hides a method of the class.
    """
    hooks = module._forward_hooks or module._forward_pre_hooks
    kind = type(module)
    return bool(hooks) or any(callable(getattr(kind, name, None)) for name in vars(module))


def _calls_differently(network: nn.Module) -> bool:
    plain = isinstance(network, fx.GraphModule)  # each has a class and a call of its own
    return not plain and type(network).__call__ is not nn.Module.__call__


def _check_graph(network: fx.GraphModule) -> None:
    """Refuse a graph that is not what runs, and the graphs of exported programs."""
    for node in network.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            raise UnsupportedOperation(
                f"{node.name}: calls {node.target}, as the module of an exported program does; "
                "pass the program itself to qnotes.from_export"
            )
    if network.graph.python_code("self").src != network.code:
        raise QnotesError(
            "the graph of the network was edited and is not what runs; call .recompile() on it"
        )


def widened(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy in float64 of a graph whose weights are float16 or bfloat16; others as they are.

    Codes, scales and sums of 16 bits cannot be computed in numbers of 16 bits.
    """
    narrow = any(weight.dtype.itemsize < 4 for weight in graph.parameters())
    return own_copy(graph, weights=True).double() if narrow else graph


def _spelled_out(graph: fx.GraphModule) -> fx.GraphModule:
    """Options of layers of our own as their weights have them, one number for each axis."""
    for module in graph.modules():
        if type(module) is nn.Linear:
            module.out_features, module.in_features = module.weight.shape
        elif type(module) in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
            rows, columns, *kernel = module.weight.shape
            module.out_channels, module.in_channels = rows, columns * module.groups
            module.kernel_size = tuple(kernel)
            for option in ("stride", "padding", "dilation"):
                given = getattr(module, option)
                if isinstance(given, tuple) and len(given) == 1:
                    setattr(module, option, given * len(kernel))
    return graph


# -- tracing ---------------------------------------------------------------------------------------


def _untraceable(network: nn.Module, tracer: _Tracer, error: Exception) -> str:
    """The one place that says why a network cannot be traced: where, what happened, what to do."""
    path = next((name for name, _ in reversed(tracer.module_stack.values())), "")
    where = f"{path}: " if path else ""
    if isinstance(error, NameError) and "not installed as a submodule" in str(error):
        why, remedy = "because its forward makes layers with weights", "Make them in __init__"
    elif isinstance(error, NotImplementedError) and "forward" in str(error):
        why, remedy = "because it has no forward of its own", "Pass the module that calls it"
    elif isinstance(error, AssertionError):
        why, remedy = "because its forward asserts something of a value", "Take that out"
    elif words := words_of_python(name for name, _ in network.named_modules()):
        return f"{type(network).__name__} cannot be traced: {words}"
    else:
        why = "likely because its forward depends on the input's values or shape"
        remedy = "Take that out"
    first, *_ = str(error).splitlines() or [""]
    cause = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"{where}{type(network).__name__} cannot be traced, {why} ({cause}). {remedy}, {EXPORT}"


def words_of_python(names: Iterable[str]) -> str:
    """What is wrong with names that no code can have after a dot; torch.fx writes it so."""
    for name in names:
        if word := next(filter(keyword.iskeyword, name.split(".")), ""):
            return f"{name} has {word!r} in its name, a word of Python's own; rename it"
    return ""


class _Proxy(fx.Proxy):
    """A traced value that remembers `x += y`; plain fx reads it as `x + y` and loses the write.

    The same for `x *= y`.
    """

    def __iadd__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __imul__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def call_module(self, module, forward, args, kwargs):
        """One that forward itself made is traced through, if it has no weights."""
        try:
            self.path_of_module(module)
        except NameError:
            if next(module.parameters(), None) is not None:
                raise
            return forward(*args, **kwargs)
        return super().call_module(module, forward, args, kwargs)


def check_finite(name: str, tensors: dict[str, torch.Tensor | None]) -> None:
    """Refuse weights that are NaN or infinite, by the layer's name."""
    for kind, tensor in tensors.items():
        # A sum is finite only if every entry is, and costs far less than looking at each.
        if tensor is None or torch.isfinite(tensor.detach().sum()):
            continue
        if not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise QnotesError(
                f"{name}: {bad} of {tensor.numel()} values of its {kind} are NaN or infinite; "
                "a bound needs finite ones: load or train the network again"
            )
