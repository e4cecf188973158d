"""Figures of the book, a function each; none of them shows itself twice."""

from qnotes.plots.convolutions import counting, fan_in_and_width, image_sizes, matrices
from qnotes.plots.layerwise import plain_mean_map, shares, sorted_norms, step_costs, tangent
from qnotes.plots.style import decades, power_of_ten, subplots, title, use_style
from qnotes.plots.sweeps import against_bits, against_depth, gain, ladder
from qnotes.plots.weights import image_and_outputs, layer_norms, rounding

__all__ = [
    "against_bits",
    "against_depth",
    "counting",
    "decades",
    "fan_in_and_width",
    "gain",
    "image_and_outputs",
    "image_sizes",
    "ladder",
    "layer_norms",
    "matrices",
    "plain_mean_map",
    "power_of_ten",
    "rounding",
    "shares",
    "sorted_norms",
    "step_costs",
    "subplots",
    "tangent",
    "title",
    "use_style",
]
