"""From any module to a graph of its operations; the caller's network is never changed."""

from __future__ import annotations

import copy
import operator

import torch
from torch import fx, nn

from qnotes.errors import QnotesError, UnsupportedOperation


def trace(network: nn.Module, *, copied: bool = False) -> fx.GraphModule:
    """The graph of a network in evaluation mode.

    Args:
        network: any module that `torch.fx` can trace; a graph module comes back as it is.
        copied: copy the network first, so that the result shares nothing with it.
    """
    check_module(network)
    if network.training:
        raise QnotesError(
            "the network is in training mode, where batch norm and dropout act differently; "
            "call .eval() on it first"
        )
    if any(tensor.is_complex() for tensor in (*network.parameters(), *network.buffers())):
        raise UnsupportedOperation("the network has complex weights; the theory is about real ones")
    if is_altered(network):
        raise UnsupportedOperation(
            f"{type(network).__name__} has hooks or a forward of its own, which a trace would "
            "lose; remove them first"
        )
    network = copy.deepcopy(network) if copied else network
    if isinstance(network, fx.GraphModule):
        return network
    tracer = _Tracer()
    try:
        graph = tracer.trace(network)
        return fx.GraphModule(tracer.root, graph, type(network).__name__)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        raise UnsupportedOperation(
            f"{type(network).__name__} cannot be traced, likely because its forward depends on the "
            f"input's values or shape: {error}"
        ) from error


def is_altered(module: nn.Module) -> bool:
    """Whether a module may compute something else than its class says."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(hooks) or "forward" in vars(module)


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


def check_module(network: object) -> None:
    """Refuse all but modules; of a result of `qnotes.quantize`, say where its network is."""
    if not isinstance(network, nn.Module):
        hint = "; pass its .model" if isinstance(getattr(network, "model", None), nn.Module) else ""
        raise QnotesError(f"expected a torch.nn.Module; got {type(network).__name__}{hint}")


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
