"""Where hidden units may be rescaled: between two layers that only homogeneous operations join.

A positive factor passes through an operation σ with σ(c x) = c σ(x). So a layer may multiply its
outputs by positive factors, one a channel, and the next layer divide its weights by them, as long
as nothing else reads the values in between.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import fx, nn

from qnotes.networks.operations import (
    AFFINE,
    CONCATENATION,
    GATED,
    IDENTITIES,
    INPUT,
    OUTPUT,
    POINTWISE_MODULES,
    REARRANGEMENT,
    SUM,
    ZERO_PADS,
    Operation,
    operations,
    readers,
)
from qnotes.networks.rearranging import PositionsMean
from qnotes.networks.tracing import trace

#: Pools by the number of dimensions that they pool over.
POOLS = {
    dimensions: tuple(m for m in POINTWISE_MODULES if m.__name__.endswith(f"Pool{dimensions}d"))
    for dimensions in (1, 2, 3)
}
#: Operations with σ(c x) = c σ(x) for c > 0. Max pooling pads with -inf, which stays -inf.
HOMOGENEOUS = (
    *IDENTITIES,
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Flatten, PositionsMean),
    *(*POOLS[1], *POOLS[2], *POOLS[3], *ZERO_PADS),
)


@dataclass(frozen=True)
class Boundary:
    """Hidden units between two layers that may be rescaled.

    Attributes:
        before: the layer that makes them; factors multiply its rows and biases.
        after: the layer that reads them; its columns are divided by the factors.
        between: the operations on the way.
        channels: how many units there are, a channel of a feature map counted once.
    """

    before: str
    after: str
    between: tuple[Operation, ...]
    channels: int

    def __str__(self) -> str:
        return " → ".join([self.before, *(step.name for step in self.between), self.after])


@dataclass(frozen=True)
class Stop:
    """Values that may not be changed, and why."""

    source: str  # the layer that makes them, or the network's input
    at: str  # the operation where the way to the next layer ends
    reason: str


@dataclass(frozen=True)
class Regions:
    """All boundaries of a network, and where there is none.

    Attributes:
        regions: maximal runs of boundaries; each reads on from the layer where the last one ended.
        stops: one for the input and for each use of a layer without a boundary after it.
    """

    regions: tuple[tuple[Boundary, ...], ...]
    stops: tuple[Stop, ...]

    @property
    def boundaries(self) -> tuple[Boundary, ...]:
        """The boundaries of all regions, in order."""
        return tuple(boundary for region in self.regions for boundary in region)


def find_regions(network: nn.Module) -> Regions:
    """Find the regions of a network that can be rescaled, and say where and why they stop.

    Args:
        network: with batch norms folded; its input has a batch dimension first.

    Raises:
        UnsupportedOperation: for an operation that the theory does not cover, by name.
    """
    graph = trace(network)
    found = operations(graph)
    reading = readers(found)
    fixed = _fixed_layers(graph, found)
    sources = [operation for operation in found if operation.kind in (INPUT, AFFINE)]
    ends = [_follow(source, reading, fixed) for source in sources]
    boundaries = [end for end in ends if isinstance(end, Boundary)]
    stops = tuple(end for end in ends if isinstance(end, Stop))
    return Regions(_runs(boundaries), stops)


def _runs(boundaries: list[Boundary]) -> tuple[tuple[Boundary, ...], ...]:
    after = {boundary.before: boundary for boundary in boundaries}
    inner = {boundary.after for boundary in boundaries}
    runs = [[boundary] for boundary in boundaries if boundary.before not in inner]
    for run in runs:
        while run[-1].after in after:
            run.append(after[run[-1].after])
    return tuple(map(tuple, runs))


def _fixed_layers(graph: fx.GraphModule, found: list[Operation]) -> dict[str, str]:
    """Layers whose weights may not change, and why: those that are used, or stored, twice."""
    uses = Counter(operation.name for operation in found if operation.kind == AFFINE)
    fixed = {name: "is used in several places" for name, count in uses.items() if count > 1}
    owners: dict[int, set[str]] = {}
    for name, parameter in graph.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter.data_ptr(), set()).add(name.rpartition(".")[0])
    for shared in owners.values():
        for name in shared & uses.keys() if len(shared) > 1 else ():
            others = ", ".join(sorted(shared - {name}))
            fixed.setdefault(name, f"shares its weights with {others}")
    return fixed


def _follow(
    source: Operation, reading: dict[fx.Node, list[Operation]], fixed: dict[str, str]
) -> Boundary | Stop:
    """From a layer forward to the next one, or to what is in the way."""
    if source.kind == INPUT:
        return Stop(source.name, source.name, "it is the input of the network")
    if source.name in fixed:
        return Stop(source.name, source.name, fixed[source.name])
    at, between, units = source, [], len(source.module.weight)
    made = dimensions = dimensions_of(source.module)
    while True:
        if len(reading[at.node]) != 1:
            what = "is read more than once" if reading[at.node] else "is not read"
            return Stop(source.name, at.name, what)
        (at,) = reading[at.node]
        if at.kind == AFFINE:
            break
        if reason := _obstacle(at, dimensions):
            return Stop(source.name, at.name, reason)
        if isinstance(at.module, nn.Flatten) or _drops_positions(at.module):
            dimensions = 0
        between.append(at)
    reason = fixed.get(at.name) or misfit(
        at.module, units=units, of_image=made > 0, dimensions=dimensions
    )
    if reason:
        return Stop(source.name, at.name, reason)
    return Boundary(source.name, at.name, tuple(between), units)


def dimensions_of(module: nn.Module) -> int:
    """Dimensions of the image of each channel; 0 for a vector."""
    return 0 if isinstance(module, nn.Linear) else len(module.kernel_size)


def _obstacle(operation: Operation, dimensions: int) -> str | None:
    if operation.kind == OUTPUT:
        return "it is the output of the network"
    if operation.kind == SUM:
        return "it is a sum: its other summand would need the same factors"
    if operation.kind == CONCATENATION:
        return "it is a concatenation: its other parts would be read with the same layer"
    if operation.kind == GATED:
        return "it is a product with a gate"
    if operation.kind == REARRANGEMENT:
        return "it moves channels, or leaves some of them out"
    if type(operation.module) not in HOMOGENEOUS:
        return f"{type(operation.module).__name__} is not positively homogeneous"
    if mixes_units(operation.module, dimensions):
        return "it pools or pads over several units, which have factors of their own"
    return None


def _drops_positions(module: nn.Module) -> bool:
    return isinstance(module, PositionsMean) and not module.keepdim


def mixes_units(module: nn.Module, dimensions: int) -> bool:
    """Whether a pool or padding is not one of each channel's image, but of channels or a vector."""
    if type(module) in ZERO_PADS:
        return ZERO_PADS.index(type(module)) + 1 > dimensions
    is_pool = any(type(module) in pools for pools in POOLS.values())
    return is_pool and type(module) not in POOLS.get(dimensions, ())


def misfit(reads: nn.Module, *, units: int, of_image: bool, dimensions: int) -> str | None:
    """Why the channels that a layer reads are not given units; None where they are.

    Units may be the channels of an image of so many dimensions (0: a vector); flattened, each of
    them has several columns.
    """
    if dimensions_of(reads) != dimensions:
        return "it reads another dimension than that of the units"
    columns = reads.in_features if isinstance(reads, nn.Linear) else reads.in_channels
    flattened = of_image and dimensions == 0
    if columns != units and not (flattened and columns % units == 0):
        return f"it reads {columns} values, not {units} units"
    return None
