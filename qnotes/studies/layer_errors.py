"""What happens to the error at each layer of the chain, on given inputs (theory, T1).

Both networks run on the same inputs and are compared after every layer. T1 takes the difference
apart: old error that the layer carries on, and new error that its changed weights make.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor, fx, nn

from qnotes.networks.tracing import trace
from qnotes.propagation.chain import Chain, Link, chain
from qnotes.quantization.channels import bias_of

BATCH = 32

#: Values of the state by the name of their node.
Values = dict[str, Tensor]


def layer_errors(
    network: nn.Module,
    quantized: nn.Module,
    inputs: Tensor,
    *,
    precision: torch.dtype = torch.float32,
) -> pd.DataFrame:
    """The error after each layer, and the two parts of T1 that it is made of.

    Every number is the largest absolute value over inputs and coordinates. After a layer counts
    the whole state of the chain, with the coordinates that a skip connection carries along.

    Args:
        network: the reference, with batch norms folded.
        quantized: the same network with other weights.
        inputs: of shape (inputs, ...).
        precision: that copies of both networks run in; float32 is what networks run in.

    Returns:
        A row a layer, from 0 (the input) to L, with the columns

        - ``name``: the modules of the layer;
        - ``activation``: ‖S_ℓ‖ or ‖S'_ℓ‖, whichever is larger;
        - ``error``: ‖Δ_ℓ‖;
        - ``carried``, ``made``: ‖W Δ_{ℓ-1}‖ and ‖(W - W') S'_{ℓ-1}‖, before the activation;
        - ``carried_sizes``, ``made_sizes``: the same with the absolute value of every factor, that
          is, as if no two summands had opposite signs;
        - ``residue``: what the two sides of T1 differ by; rounding, if all is right.
    """
    reference, other = (trace(net, copied=True).to(precision) for net in (network, quantized))
    links = chain(reference, tuple(inputs.shape))
    batches = inputs.to(precision).split(BATCH)
    with torch.no_grad():
        found = [_numbers(links, reference, other, batch) for batch in batches]
    table = pd.DataFrame(np.maximum.reduce(found), columns=list(_COLUMNS))
    table.index.name = "layer"
    table.insert(0, "name", ["input", *(link.name for link in links.links)])
    return table


_COLUMNS = (
    "activation",
    "error",
    "carried",
    "made",
    "carried_sizes",
    "made_sizes",
    "residue",
)


def _numbers(links: Chain, network, quantized, batch: Tensor) -> np.ndarray:
    states = _states(links, network)
    wanted = set().union(*states)
    ours, theirs = (_record(graph, wanted, batch) for graph in (network, quantized))
    after = [_after(state, ours, theirs) for state in states]
    parts = [_parts(link, quantized, ours, theirs) for link in links.links]
    nothing = (np.nan,) * (len(_COLUMNS) - 2)
    return np.array([(*a, *p) for a, p in zip(after, [nothing, *parts], strict=True)])


def _states(links: Chain, network: fx.GraphModule) -> list[set[str]]:
    """Names of the values that the state consists of, before the first layer and after each."""
    states: list[set[str]] = [set() for _ in range(len(links.links) + 1)]
    for layer, link in enumerate(links.links, start=1):
        for term in link.terms:
            for state in states[term.source.made_by : layer]:
                state.add(term.source.node.name)
    states[-1].add(next(node.name for node in network.graph.nodes if node.op == "output"))
    return states


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the values of some nodes."""

    def __init__(self, graph: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(graph)
        self.wanted = wanted
        self.seen: Values = {}

    def run_node(self, node: fx.Node) -> Tensor:
        value = super().run_node(node)
        if node.name in self.wanted:
            self.seen[node.name] = value.clone()  # a later operation may write in place
        return value


def _record(graph: fx.GraphModule, wanted: set[str], batch: Tensor) -> Values:
    recorder = _Recorder(graph, wanted)
    recorder.run(batch.clone())
    return recorder.seen


def _after(state: set[str], ours: Values, theirs: Values) -> tuple[float, float]:
    activation = max(max(_top(ours[name]), _top(theirs[name])) for name in state)
    return activation, max(_top(ours[name] - theirs[name]) for name in state)


def _parts(link: Link, quantized: fx.GraphModule, ours: Values, theirs: Values) -> tuple:
    terms = list(_terms(link, quantized, ours, theirs))
    before, carried, made, bias, carried_sizes, made_sizes = map(sum, zip(*terms, strict=True))
    residue = before - (carried + made + bias)
    return tuple(map(_top, (carried, made, carried_sizes, made_sizes, residue)))


def _terms(link: Link, quantized, ours: Values, theirs: Values) -> Iterator[tuple]:
    """For each summand of a layer: its difference, and the parts of T1 with and without signs."""
    for term in link.terms:
        mine, its = ours[term.source.node.name], theirs[term.source.node.name]
        old = mine - its
        if term.module is None:
            yield old, old, 0.0 * old, 0.0, old.abs(), 0.0 * old
            continue
        module, rounded = term.module, quantized.get_submodule(term.target)
        change = module.weight - rounded.weight
        before = module(mine) - rounded(its)
        carried, made = _apply(module, module.weight, old), _apply(module, change, its)
        sizes = _apply(module, module.weight.abs(), old.abs())
        yield (
            before,
            carried,
            made,
            _bias_change(module, rounded, before),
            sizes,
            _apply(module, change.abs(), its.abs()),
        )


def _apply(module: nn.Module, weight: Tensor, value: Tensor) -> Tensor:
    """A layer with other weights and without its bias."""
    parameters = {"weight": weight}
    if module.bias is not None:
        parameters["bias"] = torch.zeros_like(module.bias)
    return torch.func.functional_call(module, parameters, (value,))


def _bias_change(module: nn.Module, rounded: nn.Module, like: Tensor) -> Tensor | float:
    if module.bias is None and rounded.bias is None:
        return 0.0
    change = (bias_of(module) - bias_of(rounded)).to(like)
    return change.view(1, -1, *[1] * (like.dim() - 2))


def _top(values: Tensor) -> float:
    return values.abs().max().item()
