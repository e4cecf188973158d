"""Quantization routines: grids, ranges, rounding, and whole networks."""

from qnotes.quantization.layer import QuantizedLayer
from qnotes.quantization.model import Quantized, quantize, quantize_each
from qnotes.quantization.storage import load_quantized, save_quantized

__all__ = [
    "Quantized",
    "QuantizedLayer",
    "load_quantized",
    "quantize",
    "quantize_each",
    "save_quantized",
]
