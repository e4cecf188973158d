"""Quantization routines: grids, whole networks, and what is done before and after rounding."""

from qnotes.quantization.absorption import Absorbed, absorb_biases
from qnotes.quantization.bias_correction import Corrected, correct_bias
from qnotes.quantization.equalization import Equalized, equalize
from qnotes.quantization.finetuning import finetune
from qnotes.quantization.model import quantize, quantize_each
from qnotes.quantization.statistics import batch_norm_statistics, measured_statistics
from qnotes.quantization.stored import (
    Quantized,
    QuantizedLayer,
    load_quantized,
    save_quantized,
)
