"""Small networks made by hand, for the chapters: each shows one thing that real ones hide."""

from __future__ import annotations

from itertools import product

import pandas as pd
import torch
from torch import Tensor, nn

from qnotes.observation import output_errors
from qnotes.propagation.measuring import profile
from qnotes.studies.costs import plain_mean
from qnotes.theory.layerwise import MEAN_FORM


def two_layers(
    *, fan_ins: tuple[int, int], norms: tuple[float, float], gaps: tuple[float, float]
) -> tuple[nn.Module, nn.Module]:
    """A ReLU network of two layers and its changed copy; no biases, equal weights in a layer.

    All weights are nonnegative and those of the copy are the larger ones, so the corner (1, …, 1)
    of the box has the largest error.

    Args:
        fan_ins: n_1 and n_2; the widths are (n_1, n_2, 1).
        norms: r_1 and r_2, the norms of the copy's layers.
        gaps: ε_1 and ε_2, by how much the weights of the copy are larger.

    Returns:
        The network and its copy, float64.
    """
    entries = [norm / fan_in for norm, fan_in in zip(norms, fan_ins, strict=True)]
    lower = [entry - gap for entry, gap in zip(entries, gaps, strict=True)]
    return _two_layers(fan_ins, lower), _two_layers(fan_ins, entries)


def _two_layers(fan_ins, entries) -> nn.Module:
    widths = (*fan_ins, 1)
    layers = [nn.Linear(*widths[at : at + 2], bias=False).double() for at in range(2)]
    for layer, entry in zip(layers, entries, strict=True):
        nn.init.constant_(layer.weight, entry)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1]).eval()


def corner_error(network: nn.Module, changed: nn.Module) -> float:
    """The error of a network made by `two_layers` at the corner (1, …, 1)."""
    corner = torch.ones(1, network[0].in_features, dtype=torch.float64)
    return output_errors(network, changed, corner).item()


def plain_mean_map(*, octaves: int = 6, gap: float = 1e-6) -> pd.DataFrame:
    """The plain-mean formula against the error of real networks of two layers.

    Args:
        octaves: ratios of norms and of fan-ins go from 2^-octaves to 2^octaves.
        gap: change of every weight.

    Returns:
        A row a network: ``norms``, log2 of r_1/r_2; ``fan_ins``, log2 of n_2/n_1; and the
        formulae over the error, ``plain`` for the plain mean and ``ours`` for T4.
    """
    wrong = plain_mean(MEAN_FORM)
    rows = []
    for norm, fan_in in product(range(-octaves, octaves + 1), repeat=2):
        sizes = (2 ** max(0, -fan_in), 2 ** max(0, fan_in))
        pair = two_layers(fan_ins=sizes, norms=(2 ** (norm / 2), 2 ** (-norm / 2)), gaps=(gap, gap))
        measured = profile(*pair, input_shape=(1, sizes[0]), radius=1.0)
        error = corner_error(*pair)
        ratios = {
            name: 10 ** theorem.evaluate(measured) / error
            for name, theorem in (("plain", wrong), ("ours", MEAN_FORM))
        }
        rows.append({"norms": norm, "fan_ins": fan_in, **ratios})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------ convolutions


def numbered(convolution: nn.Module) -> nn.Module:
    """Give a convolution the weights 1, 2, 3, …, no two alike, so that its matrix shows each."""
    count = convolution.weight.numel()
    numbers = torch.arange(1, count + 1, dtype=torch.float64)
    convolution.weight = nn.Parameter(numbers.view_as(convolution.weight), requires_grad=False)
    return convolution.double()


def randomized(convolution: nn.Module, *, seed: int) -> nn.Module:
    """Give a convolution standard normal weights, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    shape = convolution.weight.shape
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    convolution = convolution.double()
    convolution.weight = nn.Parameter(drawn, requires_grad=False)
    return convolution


def as_matrix(layer: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """The matrix of an affine layer without its bias: each unit vector is pushed through it.

    Args:
        layer: any affine module.
        input_shape: shape of one batch, batch dimension first.

    Returns:
        A row for each output coordinate, a column for each input coordinate, float64. Coordinates
        are counted as `flatten` counts them: channels first.
    """
    shape = tuple(input_shape[1:])
    size = torch.Size(shape).numel()
    units = torch.eye(size, dtype=layer.weight.dtype).view(size, *shape)
    with torch.no_grad():
        columns = layer(units) - layer(torch.zeros_like(units[:1]))
    return columns.flatten(1).T.double()


def row_facts(convolution: nn.Module, input_shape: tuple[int, ...]) -> dict[str, float]:
    """What the matrix of a convolution says, beside what T6 says about it.

    Returns:
        ``rows`` and ``columns`` of the matrix; ``in a row``, most entries in one row that are not
        zero; ``n``, the fan-in p_h p_w c/groups; ``norm``, largest absolute row sum; ``filter``,
        largest absolute sum of a filter.
    """
    matrix = as_matrix(convolution, input_shape)
    weight = convolution.weight.detach().double()
    return {
        "rows": matrix.shape[0],
        "columns": matrix.shape[1],
        "in a row": int((matrix != 0).sum(1).max()),
        "n": weight[0].numel(),
        "norm": matrix.abs().sum(1).max().item(),
        "filter": weight.abs().flatten(1).sum(1).max().item(),
    }


def fan_ins(network: nn.Module, measured) -> pd.DataFrame:
    """How many weights an output of each layer reads, counted in three ways.

    Args:
        network: the folded network.
        measured: its profile.

    Returns:
        A row a layer of the chain: ``layer``; ``reads``, coordinates of the largest map that its
        weights read, as if it were dense; ``without groups``, p_h p_w c; ``n``, which divides by
        the groups; and ``depthwise``, whether one of its modules reads a single channel of many.
    """
    rows = []
    for layer in measured.layers:
        modules = _modules(network, layer.name)
        groups = [getattr(module, "groups", 1) for module in modules]
        counts = [module.weight[0].numel() for module in modules]
        rows.append(
            {
                "layer": layer.name,
                "reads": layer.reads,
                "without groups": sum(c * g for c, g in zip(counts, groups, strict=True)),
                "n": layer.fan_in,
                "depthwise": any(
                    g > 1 and g == m.in_channels for g, m in zip(groups, modules, strict=True)
                ),
            }
        )
    return pd.DataFrame(rows)


def _modules(network: nn.Module, name: str) -> list[nn.Module]:
    """The modules with weights of a layer; a sum without weights has none."""
    known = dict(network.named_modules())
    return [known[part] for part in name.split(" + ") if hasattr(known.get(part), "weight")]
