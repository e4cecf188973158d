"""Quantization routines: grids, whole networks, and what is done before and after rounding."""

from qnotes.quantization.absorption import absorb_biases
from qnotes.quantization.bias_correction import correct_bias
from qnotes.quantization.equalization import Equalized, equalize
from qnotes.quantization.model import Quantized, QuantizedLayer, quantize
from qnotes.quantization.statistics import batch_norm_statistics, measured_statistics

__all__ = [
    "Equalized",
    "Quantized",
    "QuantizedLayer",
    "absorb_biases",
    "batch_norm_statistics",
    "correct_bias",
    "equalize",
    "measured_statistics",
    "quantize",
]
