"""Layerwise bounds on what quantizing its weights does to a convolutional network.

    import qnotes as qn

    folded = qn.fold(qn.load("resnet20"))
    quant = qn.quantize(folded, bits=8)
    profile = qn.profile(folded, quant.model, input_shape=(1, 1, 32, 32))
    qn.bounds(profile)
"""

from qnotes.errors import QnotesError, UnsupportedOperation, WeightsUnavailable
from qnotes.ladder import bounds, gain_factors
from qnotes.networks import digits, fold, input_shape, load, names, profile, provenance
from qnotes.observation import Observation, accuracy, observe, output_errors, outputs, random_inputs
from qnotes.profiles import Layer, Profile
from qnotes.quantization import (
    Quantized,
    QuantizedLayer,
    load_quantized,
    quantize,
    quantize_each,
    save_quantized,
)
from qnotes.sweeps import describe, sweep
from qnotes.theory import Theorem, theorems

__version__ = "0.1.0"

__all__ = [
    "Layer",
    "Observation",
    "Profile",
    "QnotesError",
    "Quantized",
    "QuantizedLayer",
    "Theorem",
    "UnsupportedOperation",
    "WeightsUnavailable",
    "accuracy",
    "bounds",
    "describe",
    "digits",
    "fold",
    "gain_factors",
    "input_shape",
    "load",
    "load_quantized",
    "names",
    "observe",
    "output_errors",
    "outputs",
    "profile",
    "provenance",
    "quantize",
    "quantize_each",
    "random_inputs",
    "save_quantized",
    "sweep",
    "theorems",
]
