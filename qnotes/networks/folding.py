"""Batch-norm folding: the reference network of every error."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from qnotes.errors import QnotesError, UnsupportedOperation, foreign
from qnotes.networks.operations import AFFINE_MODULES
from qnotes.networks.probing import probe_of, run, same
from qnotes.networks.tracing import check_finite, is_altered, trace

#: `SyncBatchNorm` is a plain batch norm in evaluation mode.
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def fold(network: nn.Module, *, input_shape: tuple[int, ...] | None = None) -> fx.GraphModule:
    """A copy of a network in float64 with each batch norm folded into the layer before it.

    At inference a batch norm is affine, so `bn(conv(x))` is one convolution with other weights.
    Quantization starts from these weights, and every error is measured against this network.

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
        UnsupportedOperation: for a batch norm that does not directly follow a layer of its own, and
            for a network that computes something else than its trace.
        QnotesError: for NaN or infinite weights, by the layer's name.
    """
    folded = trace(network, copied=True, input_shape=input_shape).double()
    norms = [node for node in folded.graph.nodes if is_module(folded, node, NORMS)]
    probe = probe_of(folded, input_shape) if norms else None
    before = None if probe is None else run(folded, probe)
    for norm in norms:
        _fold_into_previous(folded, norm)
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


def is_module(graph: fx.GraphModule, node: fx.Node, types: tuple[type, ...]) -> bool:
    """Whether a node calls a module of exactly one of these types."""
    return node.op == "call_module" and type(graph.get_submodule(str(node.target))) in types


def _fold_into_previous(graph: fx.GraphModule, norm: fx.Node) -> None:
    layer = norm.all_input_nodes[0]
    if not (isinstance(layer, fx.Node) and is_module(graph, layer, AFFINE_MODULES)):
        raise UnsupportedOperation(
            f"{norm.target}: this batch norm follows {layer}, which is not a convolution or linear "
            "layer, so there is nothing to fold it into"
        )
    _refuse_sharing(graph, layer, norm)
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


def _refuse_sharing(graph: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> None:
    if len(layer.users) > 1:
        raise UnsupportedOperation(
            f"{layer.target}: its output is read before and after {norm.target}, so the batch norm "
            "cannot be folded into it"
        )
    modules = dict(graph.named_modules(remove_duplicate=False))
    for node in (layer, norm):
        reads = [other for other in graph.graph.nodes if other.op == "get_attr"]
        for other in reads:  # what it reads would be other weights
            if str(other.target).rpartition(".")[0] == node.target:
                raise UnsupportedOperation(
                    f"{node.target}: the network also reads {other.target} by itself, so a batch "
                    "norm cannot be folded there"
                )
        calls = [other for other in graph.graph.nodes if other.op == "call_module"]
        if sum(modules[str(o.target)] is modules[str(node.target)] for o in calls) > 1:
            raise UnsupportedOperation(
                f"{node.target}: is used in several places, so a batch norm cannot be folded there"
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
        raise QnotesError(f"{name}: its running variance is negative")
