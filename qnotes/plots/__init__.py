"""Figures of the book, a function each; none of them shows itself twice."""

from qnotes.plots.style import decades, power_of_ten, subplots, title, use_style
from qnotes.plots.sweeps import against_bits, against_depth, gain, ladder
from qnotes.plots.weights import image_and_outputs, layer_norms, rounding

__all__ = [
    "against_bits",
    "against_depth",
    "decades",
    "gain",
    "image_and_outputs",
    "ladder",
    "layer_norms",
    "power_of_ten",
    "rounding",
    "subplots",
    "title",
    "use_style",
]
