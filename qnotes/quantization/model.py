"""Quantizing a whole network: a new network with its weights on grids, and what was stored."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError, check_choice
from qnotes.networks.operations import AFFINE_MODULES, operations
from qnotes.networks.tracing import check_finite, trace, widened
from qnotes.quantization.calibration import calibration_inputs, round_on_data
from qnotes.quantization.channels import is_channelwise
from qnotes.quantization.grids import DIRECT, Codebook, Grid, put_on_grid, rows, stochastic
from qnotes.quantization.scheme import CALIBRATED, Scheme
from qnotes.quantization.stored import Quantized, QuantizedLayer

#: Biases are rounded to the nearest level of one symmetric grid a layer.
BIAS_SCHEME = Scheme(granularity="tensor")
CHANNELWISE = ("round", "keep")


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
    channelwise: str = "round",
    progress: bool = False,
) -> Quantized:
    """Round the weights of every linear and convolutional layer to a grid.

    Args:
        network: the reference, with batch norms folded (`qnotes.fold`); it is not changed.
            Weights in float16 or bfloat16 are rounded, and returned, in float64.
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
        channelwise: what to do with layers of one weight a channel, such as batch norms that could
            not be folded: ``round`` them like all others, or ``keep`` them as they are.
        progress: show a bar over layers for roundings that look at data.

    Returns:
        The new network, and codes, scale, zero_point and the changes made for each layer.

    Raises:
        QnotesError: for an unknown option or weights that are not finite, by the layer's name.
        UnsupportedOperation: for a network that the theory does not cover, by the operation.
    """
    scheme = Scheme(
        granularity, symmetric, group_size, convention, grid, clip, rounding, percentile, seed
    )
    source = _checked(network, scheme, calibration, bias_bits, channelwise)
    return _quantized(source, scheme.bits_of_layers(bits, list(source.modules)), progress)


def quantize_each(
    network: nn.Module,
    bits: Iterable[int] = range(2, 17),
    *,
    calibration: Tensor | Iterable | None = None,
    bias_bits: int | None = None,
    channelwise: str = "round",
    **options,
) -> Iterator[Quantized]:
    """The same network at several bit-widths, one after the other; its ranges are found once.

    Args:
        network: the reference; it is not changed.
        bits: widths of a code.
        calibration, bias_bits, channelwise, options: as for `quantize`.

    Raises:
        QnotesError: as `quantize`, for all bit-widths before the first is made.
    """
    if not isinstance(bits, Iterable) or isinstance(bits, str):
        raise QnotesError(f"bits must be several widths, as in range(2, 17); got {bits!r}")
    scheme = Scheme(**options)
    source = _checked(network, scheme, calibration, bias_bits, channelwise)
    widths = [scheme.bits_of_layers(width, list(source.modules)) for width in bits]
    return (_quantized(source, of_layers) for of_layers in widths)


@dataclass(frozen=True)
class _Source:
    """A checked network, its layers by name, and what the bits of its weights do not decide."""

    network: fx.GraphModule
    modules: Mapping[str, nn.Module]
    scheme: Scheme
    grids: Mapping[str, Callable[[int], Grid | Codebook]]
    inputs: Tensor | None  # calibration data, where the rounding looks at some
    bias_bits: int | None


@torch.no_grad()
def _checked(
    network: nn.Module, scheme: Scheme, calibration, bias_bits, channelwise: str
) -> _Source:
    """Check everything that was passed in, and find the ranges."""
    traced = widened(trace(network))
    operations(traced)  # refuses what is not covered, before anything is rounded
    modules = {n: m for n, m in traced.named_modules() if isinstance(m, AFFINE_MODULES)}
    for name, module in modules.items():
        check_finite(name, {"weight": module.weight, "bias": module.bias})
    check_choice("channelwise", channelwise, CHANNELWISE)
    kept = {n for n, m in modules.items() if channelwise == "keep" and is_channelwise(m)}
    modules = {name: module for name, module in modules.items() if name not in kept}
    if not modules:
        raise QnotesError("the network has no layer with weights, so nothing is quantized")
    if bias_bits is not None:
        BIAS_SCHEME.check_bits(bias_bits, "bias_bits")
    needed = scheme.rounding in CALIBRATED
    inputs = calibration_inputs(calibration, scheme.rounding) if needed else None
    grids = {name: scheme.grids(rows(module.weight)) for name, module in modules.items()}
    return _Source(traced, modules, scheme, grids, inputs, bias_bits)


@torch.no_grad()
def _quantized(source: _Source, bits: Mapping[str, int], progress: bool = False) -> Quantized:
    # Weights are about to be replaced: a copy of them would be thrown away.
    shared = {id(module.weight): module.weight for module in source.modules.values()}
    model = copy.deepcopy(source.network, shared)
    grids = {name: make(bits[name]) for name, make in source.grids.items()}
    layers = {}
    for name, codes, levels in _rounded(source, model, grids, progress):
        check_finite(name, {"quantized weight": levels})
        weight = source.modules[name].weight
        # A weight of its own: layers that share one would round it twice.
        levels = nn.Parameter(levels.view(weight.shape), weight.requires_grad)
        model.get_submodule(name).weight = levels
        stored = codes.view(weight.shape), grids[name], bits[name], weight.detach()
        layers[name] = QuantizedLayer(*stored)
    one = len(set(bits.values())) == 1
    described = {"bits": bits[name] if one else dict(bits), **source.scheme.described()}
    if source.inputs is not None:
        described["calibration"] = len(source.inputs)
    if source.bias_bits is None:
        return Quantized(model, layers, described)
    described["bias_bits"] = source.bias_bits
    return Quantized(model, layers, described, _quantize_biases(model, source))


def _rounded(source: _Source, model, grids, progress) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Codes and levels of each layer, which the model has when the next one is asked for."""
    rounding = source.scheme.rounding
    if source.inputs is not None:
        yield from round_on_data(
            source.network, model, grids, source.inputs, rounding, progress=progress
        )
        return
    function = DIRECT.get(rounding) or stochastic(source.scheme.seed)
    for name, module in source.modules.items():
        yield name, *put_on_grid(rows(module.weight), grids[name], function)


def _quantize_biases(model: fx.GraphModule, source: _Source) -> dict[str, QuantizedLayer]:
    found, bits = {}, source.bias_bits
    for name in source.modules:
        module = model.get_submodule(name)
        if module.bias is not None:
            bias = module.bias.detach()
            grid = BIAS_SCHEME.grids(rows(bias))(bits)
            codes, levels = put_on_grid(rows(bias), grid, DIRECT["nearest"])
            module.bias = nn.Parameter(levels[0], module.bias.requires_grad)
            found[name] = QuantizedLayer(codes[0], grid, bits, bias)
    return found
