"""Quantization routines: grids, ranges, rounding, and whole networks."""

from qnotes.quantization.layer import QuantizedLayer
from qnotes.quantization.model import Quantized, quantize, quantize_each

__all__ = ["Quantized", "QuantizedLayer", "quantize", "quantize_each"]
