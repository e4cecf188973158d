"""Batch-norm folding: the reference network of every error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from qnotes.errors import QnotesError, UnsupportedOperation, foreign
from qnotes.networks.operations import AFFINE_MODULES, FUNCTIONS, METHODS, SUMS
from qnotes.networks.probing import first_with_weights, probe_of, run, same
from qnotes.networks.tracing import check_finite, is_altered, trace

#: `SyncBatchNorm` is a plain batch norm in evaluation mode.
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
#: In evaluation mode, and with running statistics, these are batch norms too.
OF_INSTANCES = {
    nn.InstanceNorm1d: nn.BatchNorm1d,
    nn.InstanceNorm2d: nn.BatchNorm2d,
    nn.InstanceNorm3d: nn.BatchNorm3d,
}

#: Dimensions of each value in a run of a graph, which happens when it is first asked for.
Ranks = Callable[[], Mapping[fx.Node, int]]


def fold(network: nn.Module, *, input_shape: tuple[int, ...] | None = None) -> fx.GraphModule:
    """A copy of a network in float64 with each batch norm folded into the layer before it.

    At inference a batch norm is affine, so `bn(conv(x))` is one convolution with other weights.
    Quantization starts from these weights, and every error is measured against this network. An
    instance norm with running statistics is a batch norm.

    A batch norm that does not follow a layer of its own, as in DenseNet, becomes a layer: a
    depthwise convolution of size 1, under its own name (T17). For a vector it is a linear
    layer with a diagonal matrix. `qnotes.quantize` rounds it, too, unless told to keep it.

    A batch norm normalizes dimension 1, which is the one that a linear layer makes only if there is
    no other: the folded layer takes inputs of two dimensions alone, and raises for others.

    The network, its trace and the result run once on a small random input, and must agree: of
    `input_shape`, with smaller images where the network can take them; without it, of a shape that
    the first layer can take.

    Args:
        network: any traceable module in evaluation mode, on any device; it is not changed.
        input_shape: shape of one batch, batch dimension first.

    Returns:
        A graph module on the CPU whose layers keep their names, computing the same function.

    Raises:
        UnsupportedOperation: for a batch norm that is not affine or whose weights are also read by
            themselves, and for a network that computes something else than its trace.
        QnotesError: for NaN or infinite weights, by the layer's name.
    """
    folded = trace(network, copied=True, input_shape=input_shape).double().eval()
    _instances_as_batches(folded)
    norms = [node for node in folded.graph.nodes if is_module(folded, node, NORMS)]
    probe = probe_of(folded, input_shape) if norms else None
    before = None if probe is None else run(folded, probe)
    # A probe of a guessed shape says nothing about a norm that the guess was made from.
    known = input_shape is not None or isinstance(first_with_weights(folded), AFFINE_MODULES)
    ranks = cache(lambda: _ranks(folded, probe if known else None))  # few networks need them
    for norm in norms:
        _fold_or_place(folded, norm, ranks)
    folded.graph.lint()
    folded.delete_all_unused_submodules()
    folded.recompile()
    if isinstance(before, torch.Tensor) and not same(run(folded, probe), before):
        raise UnsupportedOperation(
            f"{type(network).__name__}: folding its batch norms would change what it computes for "
            f"an input of shape {tuple(probe.shape)}; fold them before you pass it"
        )
    for name, module in folded.named_modules():
        if isinstance(module, AFFINE_MODULES):
            check_finite(name, {"weight": module.weight, "bias": module.bias})
    return folded


def _instances_as_batches(graph: fx.GraphModule) -> None:
    """Write instance norms with running statistics as the batch norms that they are."""
    for name, norm in list(graph.named_modules(remove_duplicate=False)):
        kind = OF_INSTANCES.get(type(norm))
        if kind is None or norm.running_mean is None or norm.training or is_altered(norm):
            continue
        same = kind(norm.num_features, norm.eps, affine=False)
        for key in ("weight", "bias", "running_mean", "running_var"):
            setattr(same, key, getattr(norm, key))
        graph.set_submodule(name, same.eval())


def is_module(graph: fx.GraphModule, node: fx.Node, types: tuple[type, ...]) -> bool:
    """Whether a node calls a module of exactly one of these types."""
    return node.op == "call_module" and type(graph.get_submodule(str(node.target))) in types


def _fold_or_place(graph: fx.GraphModule, norm: fx.Node, ranks: Ranks) -> None:
    layer = norm.all_input_nodes[0]
    for node in (layer, norm):
        _refuse_read_weights(graph, node)
    if _belongs_to(graph, layer, norm):
        _fold_into_previous(graph, layer, norm)
    else:
        _place(graph, norm, ranks)


def _belongs_to(graph: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> bool:
    """Whether a norm follows a layer that nothing else reads, and both are used once."""
    if not is_module(graph, layer, AFFINE_MODULES) or len(layer.users) > 1:
        return False
    modules = dict(graph.named_modules(remove_duplicate=False))
    used = [modules[str(node.target)] for node in graph.graph.nodes if node.op == "call_module"]
    own = [modules[str(node.target)] for node in (layer, norm)]
    return all(sum(module is one for module in used) == 1 for one in own)


def _place(graph: fx.GraphModule, norm: fx.Node, ranks: Ranks) -> None:
    """Put a layer of one weight a channel in the place of a norm."""
    name = str(norm.target)
    batch_norm = graph.get_submodule(name)
    if type(batch_norm) not in NORMS:
        return  # used in several places, and replaced at the first
    _check_norm(name, batch_norm)
    dimensions = _dimensions(graph, norm, ranks)
    if dimensions is None:
        raise UnsupportedOperation(
            f"{name}: whether this {type(batch_norm).__name__} reads a vector or an image cannot "
            "be told from what it follows; pass input_shape, or put a Flatten or a convolution "
            "before it"
        )
    _make_affine(batch_norm)
    scale = batch_norm.weight / (batch_norm.running_var + batch_norm.eps).sqrt()
    bias = batch_norm.bias - batch_norm.running_mean * scale
    channels = len(scale)
    if dimensions:
        options = {"groups": channels, "dtype": scale.dtype}
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
        module, weight = kind(channels, channels, 1, **options), scale
    else:
        module, weight = nn.Linear(channels, channels, dtype=scale.dtype), torch.diag(scale)
        _take_vectors_alone(graph, norm)
    module.weight = nn.Parameter(weight.detach().view_as(module.weight))
    module.bias = nn.Parameter(bias.detach())
    graph.set_submodule(name, module.eval())


def _dimensions(graph: fx.GraphModule, norm: fx.Node, ranks: Ranks) -> int | None:
    """Dimensions of the image that a norm reads, 0 for a vector, as far as anything says so.

    Args:
        graph: that is being folded.
        norm: a node of it.
        ranks: runs the graph, and says the dimensions of its values, batch and channels included.
    """
    if norm in ranks():
        return ranks()[norm] - 2
    kind = type(graph.get_submodule(str(norm.target)))
    at = norm if kind in (nn.BatchNorm2d, nn.BatchNorm3d) else norm.all_input_nodes[0]
    while at.op == "call_module" or at.target in (*SUMS, *FUNCTIONS, *METHODS):
        kind = type(graph.get_submodule(str(at.target))) if at.op == "call_module" else None
        if kind in (nn.Linear, nn.Flatten) or at.target in (torch.flatten, "flatten"):
            return 0
        name = kind.__name__ if kind else ""
        if name[-2:] in ("1d", "2d", "3d") and kind is not nn.BatchNorm1d:
            return int(name[-2])
        at = at.all_input_nodes[0]
    return None


def _ranks(graph: fx.GraphModule, probe: torch.Tensor | None) -> dict[fx.Node, int]:
    """Dimensions of each value when a graph runs on a probe."""
    if probe is None:
        return {}
    run = _Ranks(graph)
    with torch.no_grad():
        run.run(probe.clone())
    return run.found


class _Ranks(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.found[n] = result.ndim
        return result


def _fold_into_previous(graph: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> None:
    batch_norm = graph.get_submodule(str(norm.target))
    _check_norm(str(norm.target), batch_norm)
    module = graph.get_submodule(str(layer.target))
    if is_altered(module):
        raise UnsupportedOperation(
            f"{layer.target}: has hooks or a forward of its own, which come before {norm.target} "
            "and cannot be folded; remove them first"
        )
    _make_affine(batch_norm)
    dense = isinstance(module, nn.Linear)
    if dense:
        _take_vectors_alone(graph, layer)
    with foreign(f"{norm.target}: cannot be folded into {layer.target}"):
        fuse = fuse_linear_bn_eval if dense else fuse_conv_bn_eval
        graph.set_submodule(str(layer.target), fuse(module, batch_norm))
    norm.replace_all_uses_with(layer)
    graph.graph.erase_node(norm)


def _take_vectors_alone(graph: fx.GraphModule, layer: fx.Node) -> None:
    """Flatten what a linear layer reads, unless something did: it then fits two dimensions only."""
    source = layer.all_input_nodes[0]
    known = source.target is torch.flatten or source.target == "flatten"
    if known or is_module(graph, source, (nn.Flatten,)):
        return
    with graph.graph.inserting_before(layer):
        layer.replace_input_with(source, graph.graph.call_function(torch.flatten, (source, 1)))


def _make_affine(norm: nn.Module) -> None:
    """Write out the weights of 1 and biases of 0 of a copied batch norm without parameters."""
    if norm.weight is None:
        norm.weight = nn.Parameter(torch.ones_like(norm.running_mean))
    if norm.bias is None:
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))


def _refuse_read_weights(graph: fx.GraphModule, node: fx.Node) -> None:
    """What the network reads by itself would be other weights."""
    for other in graph.graph.nodes:
        if other.op == "get_attr" and str(other.target).rpartition(".")[0] == node.target:
            raise UnsupportedOperation(
                f"{node.target}: the network also reads {other.target} by itself, so a batch "
                "norm cannot be folded there"
            )


def _check_norm(name: str, norm: nn.Module) -> None:
    if norm.training:
        raise QnotesError(f"{name}: is in training mode; call .eval() on the network first")
    if is_altered(norm):
        raise UnsupportedOperation(f"{name}: has hooks or a forward of its own, lost in folding")
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedOperation(
            f"{name}: this batch norm keeps no running statistics, so it depends on the batch"
        )
    check_finite(
        name,
        {
            "running mean": norm.running_mean,
            "running variance": norm.running_var,
            "weight": norm.weight,
            "bias": norm.bias,
        },
    )
    if (norm.running_var + norm.eps <= 0).any():
        raise QnotesError(f"{name}: its running variance is negative, or 0 with eps=0")
