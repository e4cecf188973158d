"""Layerwise bounds on what quantizing its weights does to a convolutional network.

    import qnotes as qn

    folded = qn.fold(qn.load("resnet20"))
    quant = qn.quantize(folded, bits=8)
    profile = qn.profile(folded, quant.model, input_shape=(1, 1, 32, 32))
    qn.bounds(profile)

A name is imported when it is first used, so that reading a stored profile and its bounds need no
torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "errors": ("QnotesError", "UnsupportedOperation", "WeightsUnavailable"),
    "networks": (
        "Preprocessing",
        "digits",
        "fold",
        "from_export",
        "from_onnx",
        "input_shape",
        "load",
        "names",
        "photographs",
        "preprocessing",
        "provenance",
    ),
    "observation": (
        "Effort",
        "Observation",
        "Tolerance",
        "accuracy",
        "observe",
        "output_errors",
        "outputs",
        "random_inputs",
        "tolerance",
    ),
    "propagation.certifying": ("Certificate", "certify"),
    "propagation.measuring": ("profile",),
    "propagation.profile_bounds": ("bounds", "gain_factors"),
    "propagation.profiles": ("Layer", "Profile", "stored_profile"),
    "quantization": (
        "Absorbed",
        "Corrected",
        "Equalized",
        "Quantized",
        "QuantizedLayer",
        "absorb_biases",
        "batch_norm_statistics",
        "correct_bias",
        "equalize",
        "finetune",
        "load_quantized",
        "measured_statistics",
        "quantize",
        "quantize_each",
        "save_quantized",
    ),
    "experiments": ("describe", "sweep"),
    "measurements": ("KnownErrors", "certified_table", "error_table", "known_errors"),
    "theorems": ("Theorem", "theorems"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'qnotes' has no attribute {name!r}")
    home = import_module(f"qnotes.{_HOME[name]}")
    return home if name == _HOME[name] else getattr(home, name)  # `theorems` can be called


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
