"""Residual networks without their skip connections: what the connections cost a bound."""

from __future__ import annotations

import copy

from torch import fx

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE, SUM, operations


def without_skips(network: fx.GraphModule) -> fx.GraphModule:
    """A copy of a network in which each sum keeps only the summand with most layers behind it.

    It computes another function. Only its bounds are of interest.

    Args:
        network: folded, such as `qnotes.fold` returns, or quantized after that.

    Raises:
        QnotesError: for a sum of two branches with equally many layers, neither of which is a skip.
    """
    plain = copy.deepcopy(network)
    behind: dict[fx.Node, int] = {}
    for operation in operations(plain):
        node, depths = operation.node, [behind[read] for read in operation.inputs]
        behind[node] = max(depths, default=0) + (operation.kind == AFFINE)
        if operation.kind == SUM:
            node.replace_all_uses_with(_longest(operation.inputs, depths))
    # What ran beside the main path has no reader left; a write to the main path would stay.
    for node in reversed(plain.graph.nodes):
        if node.op not in ("placeholder", "output") and not node.users:
            plain.graph.erase_node(node)
    plain.delete_all_unused_submodules()
    plain.recompile()
    return plain


def _longest(summands: tuple[fx.Node, ...], depths: list[int]) -> fx.Node:
    if depths.count(max(depths)) > 1:
        names = " and ".join(node.name for node in summands)
        raise QnotesError(f"{names} have equally many layers; which of them is the skip?")
    return summands[depths.index(max(depths))]
