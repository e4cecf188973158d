"""Quantizing a whole network: a new network with its weights on grids, and what was stored."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE_MODULES, operations
from qnotes.networks.tracing import check_finite, trace
from qnotes.quantization.calibrated import calibration_inputs, round_on_data
from qnotes.quantization.grid import Grid, code_dtype
from qnotes.quantization.layer import FLOAT_BITS, QuantizedLayer, rows
from qnotes.quantization.levels import Codebook
from qnotes.quantization.rounding import DIRECT, stochastic
from qnotes.quantization.scheme import CALIBRATED, Scheme, bits_of_layers

#: Weights that are rounded at a time.
BLOCK = 1 << 18

#: Biases are rounded to the nearest level of one symmetric grid a layer.
BIAS_SCHEME = Scheme(granularity="tensor")


@dataclass(frozen=True)
class Quantized:
    """A quantized network.

    Attributes:
        model: the network with its weights on the grids (dequantized).
        layers: what was stored for the weights of each layer, by the layer's name.
        scheme: the options that `quantize` was given, as far as they matter.
        biases: the same for biases; empty where they are as they were.
    """

    model: fx.GraphModule
    layers: Mapping[str, QuantizedLayer]
    scheme: Mapping[str, object]
    biases: Mapping[str, QuantizedLayer] = field(default_factory=dict)

    @property
    def storage_bits(self) -> int:
        """Bits of all layers, scales and biases; biases that are not quantized count 32 each."""
        stored = sum(layer.storage_bits for layer in (*self.layers.values(), *self.biases.values()))
        floats = [
            module.bias.numel()
            for name, module in self.model.named_modules()
            if name in self.layers and name not in self.biases and module.bias is not None
        ]
        return stored + FLOAT_BITS * sum(floats)


def quantize(
    network: nn.Module,
    *,
    bits: int | Mapping[str, int] = 8,
    granularity: str = "channel",
    group_size: int | None = None,
    symmetric: bool = True,
    convention: str = "narrow",
    grid: str = "uniform",
    clip: str = "minmax",
    percentile: float = 99.9,
    rounding: str = "nearest",
    seed: int = 0,
    calibration: Tensor | Iterable | None = None,
    bias_bits: int | None = None,
    progress: bool = False,
) -> Quantized:
    """Round the weights of every linear and convolutional layer to a grid.

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`); it is not changed.
        bits: width of a code, 1 to 16; or a mapping that gives each layer its own.
        granularity: ``tensor`` for one scale a layer, ``channel`` for one an output channel,
            ``group`` for one for every `group_size` weights of a channel. Channels differ much
            after folding, so the default is ``channel``.
        group_size: weights of a channel, flattened, that share a scale; the last group of a channel
            may be shorter.
        symmetric: levels around 0 with zero_point 0; else from the smallest to the largest weight,
            with a zero point.
        convention: which symmetric grid, with q = 2^(bits-1) and a the largest absolute weight:
            ``narrow``, codes in [1-q, q-1], scale a/(q-1), as LiteRT and ONNX Runtime store weights
            of 8 bits; ``full``, codes in [-q, q-1], scale a/(q-1/2), torchao's ``SYMMETRIC``;
            ``unclipped``, the same codes and the smallest scale that clips neither end, torchao's
            ``SYMMETRIC_NO_CLIPPING_ERR``.
        grid: ``uniform``; ``power-of-two``, the same with the scale rounded up to a power of two;
            ``log2``, whose levels are powers of two; ``kmeans``, a codebook.
        clip: ``minmax``: the grid reaches the largest weight. ``percentile``: it reaches as many
            weights as `percentile` says. ``mse``: as far as makes the squared error smallest.
        percentile: share of the weights inside the range, in percent.
        rounding: ``nearest`` (ties to even), ``floor``, ``ceil``, ``zero`` (truncation),
            ``stochastic``; or, with calibration data, ``adaptive`` (AdaRound), ``gptq``, ``gpfq``.
        seed: of stochastic rounding, which has a generator of its own.
        calibration: inputs for the roundings that look at data: a tensor of shape (inputs, ...), or
            an iterable of such batches, or of pairs of a batch and labels. Others do not use it.
        bias_bits: width of the codes of biases, which get one symmetric grid a layer; without it,
            biases stay as they are.
        progress: show a bar over layers for roundings that look at data.

    Returns:
        The new network, and codes, scale, zero_point and the changes made for each layer.

    Raises:
        QnotesError: for an unknown option or weights that are not finite, by the layer's name.
        UnsupportedOperation: for a network that the theory does not cover, by the operation.
    """
    scheme = Scheme(
        granularity, group_size, symmetric, convention, grid, clip, percentile, rounding, seed
    )
    source = _checked(network, scheme, calibration, bias_bits)
    return _quantized(source, bits_of_layers(scheme, bits, list(source.modules)), progress)


def quantize_each(
    network: nn.Module,
    bits: Iterable[int] = range(2, 17),
    *,
    calibration: Tensor | Iterable | None = None,
    bias_bits: int | None = None,
    **options,
) -> Iterator[Quantized]:
    """The same network at several bit-widths, one after the other; its ranges are found once.

    Args:
        network: the reference; it is not changed.
        bits: widths of a code.
        calibration: as for `quantize`.
        bias_bits: as for `quantize`.
        options: further options of `quantize`.

    Raises:
        QnotesError: as `quantize`, for all bit-widths before the first is made.
    """
    source = _checked(network, Scheme(**options), calibration, bias_bits)
    widths = [bits_of_layers(source.scheme, width, list(source.modules)) for width in bits]
    return (_quantized(source, of_layers, progress=False) for of_layers in widths)


@dataclass(frozen=True)
class _Source:
    """A checked network, and what does not depend on the bits of its weights."""

    network: fx.GraphModule
    modules: Mapping[str, nn.Module]
    scheme: Scheme
    ranges: Mapping[str, tuple[Tensor, Tensor] | None]
    inputs: Tensor | None
    bias_bits: int | None


@torch.no_grad()
def _checked(network: nn.Module, scheme: Scheme, calibration, bias_bits) -> _Source:
    traced = trace(network)
    operations(traced)  # refuses what is not covered, before anything is rounded
    modules = {n: m for n, m in traced.named_modules() if isinstance(m, AFFINE_MODULES)}
    for name, module in modules.items():
        check_finite(name, {"weight": module.weight, "bias": module.bias})
    if not modules:
        raise QnotesError("the network has no layer with weights, so nothing is quantized")
    if bias_bits is not None:
        BIAS_SCHEME.check_bits(bias_bits, "bias_bits")
    needed = scheme.rounding in CALIBRATED
    inputs = calibration_inputs(calibration, scheme.rounding) if needed else None
    ranges = {name: scheme.ranges(rows(module.weight)) for name, module in modules.items()}
    return _Source(traced, modules, scheme, ranges, inputs, bias_bits)


@torch.no_grad()
def _quantized(source: _Source, bits: Mapping[str, int], progress: bool) -> Quantized:
    # Weights are about to be replaced: a copy of them would be thrown away.
    shared = {id(module.weight): module.weight for module in source.modules.values()}
    model = copy.deepcopy(source.network, shared)
    grids = {
        name: source.scheme.make_grid(rows(module.weight), bits[name], source.ranges[name])
        for name, module in source.modules.items()
    }
    layers = {
        name: QuantizedLayer(
            codes.view(source.modules[name].weight.shape),
            grids[name],
            bits[name],
            source.modules[name].weight.detach(),
        )
        for name, codes in _rounded(source, model, grids, progress)
    }
    described = {"bits": _one_or_all(bits), **source.scheme.described()}
    if source.inputs is not None:
        described["calibration"] = len(source.inputs)
    biases = {}
    if source.bias_bits is not None:
        biases = _quantize_biases(model, source.bias_bits)
        described["bias_bits"] = source.bias_bits
    return Quantized(model, layers, described, biases)


def _rounded(source: _Source, model, grids, progress: bool) -> Iterator[tuple[str, Tensor]]:
    """The codes of each layer, whose weights in the model are replaced on the way."""
    if source.inputs is not None:
        found = round_on_data(
            source.network, model, grids, source.inputs, source.scheme.rounding, progress=progress
        )
        for name, codes in found:
            set_weight(model.get_submodule(name), name, grids[name].decode(codes))
            yield name, codes
        return
    rounding = DIRECT.get(source.scheme.rounding)
    if rounding is None:
        rounding = stochastic(torch.Generator().manual_seed(source.scheme.seed))
    for name, module in source.modules.items():
        codes, levels = _put_on_grid(rows(module.weight), grids[name], rounding)
        set_weight(model.get_submodule(name), name, levels)
        yield name, codes


def _put_on_grid(weight: Tensor, grid: Grid | Codebook, rounding) -> tuple[Tensor, Tensor]:
    """Codes and levels of a weight, in blocks that fit the processor's cache."""
    codes = torch.empty(weight.shape, dtype=code_dtype(grid.qmin, grid.qmax), device=weight.device)
    levels = torch.empty_like(weight)
    step = max(1, BLOCK // weight.shape[1])
    for part in (slice(at, at + step) for at in range(0, len(weight), step)):
        here = grid.of_rows(part)
        codes[part] = here.encode(weight[part], rounding)
        levels[part] = here.decode(codes[part])
    return codes, levels


def set_weight(module: nn.Module, name: str, levels: Tensor) -> None:
    """Give a copied layer a weight of its own: layers that share one would round it twice."""
    check_finite(name, {"quantized weight": levels})
    weight = module.weight
    module.weight = nn.Parameter(levels.view(weight.shape), weight.requires_grad)


def _quantize_biases(model: fx.GraphModule, bits: int) -> dict[str, QuantizedLayer]:
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, AFFINE_MODULES) and module.bias is not None:
            bias = module.bias.detach()
            grid = BIAS_SCHEME.make_grid(rows(bias), bits)
            codes = grid.encode(rows(bias))
            module.bias = nn.Parameter(grid.decode(codes)[0], module.bias.requires_grad)
            found[name] = QuantizedLayer(codes[0], grid, bits, bias)
    return found


def _one_or_all(bits: Mapping[str, int]) -> int | dict[str, int]:
    return next(iter(bits.values())) if len(set(bits.values())) == 1 else dict(bits)
