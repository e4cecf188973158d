"""Batch-norm folding: the reference network of every error."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from qnotes.errors import QnotesError, UnsupportedOperation
from qnotes.networks.operations import AFFINE_MODULES
from qnotes.networks.tracing import check_finite, is_altered, trace

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(network: nn.Module) -> fx.GraphModule:
    """A copy of a network in float64 with each batch norm folded into the layer before it.

    At inference a batch norm is affine, so `bn(conv(x))` is one convolution with other weights.
    Quantization starts from these weights, and every error is measured against this network.

    Args:
        network: any traceable module in evaluation mode; it is not changed.

    Returns:
        A graph module whose layers keep their names, computing the same function.

    Raises:
        UnsupportedOperation: for a batch norm that does not directly follow a layer of its own.
        QnotesError: for NaN or infinite weights, by the layer's name.
    """
    folded = trace(network, copied=True).double()
    for norm in [node for node in folded.graph.nodes if is_module(folded, node, NORMS)]:
        _fold_into_previous(folded, norm)
    folded.graph.lint()
    folded.delete_all_unused_submodules()
    folded.recompile()
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
    _make_affine(batch_norm)
    fuse = fuse_linear_bn_eval if isinstance(module, nn.Linear) else fuse_conv_bn_eval
    graph.set_submodule(str(layer.target), fuse(module, batch_norm))
    norm.replace_all_uses_with(layer)
    graph.graph.erase_node(norm)


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
    for node in (layer, norm):
        calls = [other for other in graph.graph.nodes if other.op == "call_module"]
        if sum(other.target == node.target for other in calls) > 1:
            raise UnsupportedOperation(
                f"{node.target}: is used in several places, so a batch norm cannot be folded there"
            )


def _check_norm(name: str, norm: nn.Module) -> None:
    if norm.training:
        raise QnotesError(f"{name}: is in training mode; call .eval() on the network first")
    if is_altered(norm):
        raise UnsupportedOperation(f"{name}: has hooks or a forward of its own, lost in folding")
    if norm.running_mean is None:
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
