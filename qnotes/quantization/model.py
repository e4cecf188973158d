"""Quantizing a whole network: a new network with its weights on grids, and what was stored."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qnotes.errors import QnotesError
from qnotes.networks.operations import AFFINE_MODULES, operations
from qnotes.networks.tracing import check_finite, trace
from qnotes.quantization.calibration import calibration_inputs, round_on_data
from qnotes.quantization.grids import DIRECT, Codebook, Grid, code_dtype, rows, stochastic
from qnotes.quantization.scheme import CALIBRATED, Scheme
from qnotes.quantization.stored import Quantized, QuantizedLayer

#: Weights that are rounded at a time.
BLOCK = 1 << 18

#: Biases are rounded to the nearest level of one symmetric grid a layer.
BIAS_SCHEME = Scheme(granularity="tensor")


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
    chosen = granularity, symmetric, group_size, convention, grid, clip, rounding, percentile, seed
    source = _Source.of(network, Scheme(*chosen), calibration, bias_bits)
    return source.quantized(source.bits(bits), progress=progress)


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
    source = _Source.of(network, Scheme(**options), calibration, bias_bits)
    widths = [source.bits(width) for width in bits]
    return (source.quantized(width) for width in widths)


@dataclass(frozen=True)
class _Source:
    """A checked network, and what does not depend on the bits of its weights.

    Attributes:
        network: the reference.
        modules: its layers, by name.
        scheme: how weights are quantized.
        grids: of each layer, from its bits.
        inputs: calibration data, where the rounding looks at some.
        bias_bits: width of the codes of biases; None where they stay.
    """

    network: fx.GraphModule
    modules: Mapping[str, nn.Module]
    scheme: Scheme
    grids: Mapping[str, Callable[[int], Grid | Codebook]]
    inputs: Tensor | None
    bias_bits: int | None

    @classmethod
    @torch.no_grad()
    def of(cls, network: nn.Module, scheme: Scheme, calibration, bias_bits) -> _Source:
        """Check everything that was passed in, and find the ranges."""
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
        grids = {name: scheme.grids(rows(module.weight)) for name, module in modules.items()}
        return cls(traced, modules, scheme, grids, inputs, bias_bits)

    def bits(self, bits: int | Mapping[str, int]) -> dict[str, int]:
        """Checked bits of each layer."""
        return self.scheme.bits_of_layers(bits, list(self.modules))

    @torch.no_grad()
    def quantized(self, bits: Mapping[str, int], *, progress: bool = False) -> Quantized:
        """The network with these bits."""
        # Weights are about to be replaced: a copy of them would be thrown away.
        shared = {id(module.weight): module.weight for module in self.modules.values()}
        model = copy.deepcopy(self.network, shared)
        grids = {name: make(bits[name]) for name, make in self.grids.items()}
        layers = {}
        for name, codes, levels in self._rounded(model, grids, progress):
            check_finite(name, {"quantized weight": levels})
            weight = self.modules[name].weight
            # A weight of its own: layers that share one would round it twice.
            levels = nn.Parameter(levels.view(weight.shape), weight.requires_grad)
            model.get_submodule(name).weight = levels
            stored = codes.view(weight.shape), grids[name], bits[name], weight.detach()
            layers[name] = QuantizedLayer(*stored)
        one = len(set(bits.values())) == 1
        described = {"bits": bits[name] if one else dict(bits), **self.scheme.described()}
        if self.inputs is not None:
            described["calibration"] = len(self.inputs)
        if self.bias_bits is None:
            return Quantized(model, layers, described)
        described["bias_bits"] = self.bias_bits
        return Quantized(model, layers, described, _quantize_biases(model, self.bias_bits))

    def _rounded(self, model, grids, progress: bool) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Codes and levels of each layer, which the model has when the next one is asked for."""
        rounding = self.scheme.rounding
        if self.inputs is not None:
            yield from round_on_data(
                self.network, model, grids, self.inputs, rounding, progress=progress
            )
            return
        function = DIRECT.get(rounding) or stochastic(self.scheme.seed)
        for name, module in self.modules.items():
            yield name, *_put_on_grid(rows(module.weight), grids[name], function)


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


def _quantize_biases(model: fx.GraphModule, bits: int) -> dict[str, QuantizedLayer]:
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, AFFINE_MODULES) and module.bias is not None:
            bias = module.bias.detach()
            grid = BIAS_SCHEME.grids(rows(bias))(bits)
            codes = grid.encode(rows(bias))
            module.bias = nn.Parameter(grid.decode(codes)[0], module.bias.requires_grad)
            found[name] = QuantizedLayer(codes[0], grid, bits, bias)
    return found
