"""Quantization routines: grids, and whole networks."""

from qnotes.quantization.model import Quantized, QuantizedLayer, quantize

__all__ = ["Quantized", "QuantizedLayer", "quantize"]
