"""Figures of the book, a function each; none of them shows itself twice."""

from qnotes.plots.allocation import choices, chosen_bits, share_maps, two_rankings
from qnotes.plots.chains import along_chain, block_graph, block_matrices
from qnotes.plots.convolutions import counting, fan_in_and_width, image_sizes, matrices
from qnotes.plots.earlier import norms_and_constant, stacked_factors
from qnotes.plots.equalization import (
    bound_against_error,
    bounds_by_method,
    by_strength,
    norms_by_method,
)
from qnotes.plots.layerwise import plain_mean_map, shares, sorted_norms, step_costs, tangent
from qnotes.plots.mobilenet import caps_along, channel_spread, granularity
from qnotes.plots.resnets import costs, families, norms_and_fan_ins
from qnotes.plots.schemes import (
    bound_and_error,
    channel_levels,
    scheme_accuracy,
    scheme_changes,
    storage,
)
from qnotes.plots.style import decades, power_of_ten, subplots, title, use_style
from qnotes.plots.sweeps import against_bits, against_depth, gain, ladder
from qnotes.plots.training import (
    distances_and_moves,
    norms_before_and_after,
    trained_networks,
)
from qnotes.plots.weights import image_and_outputs, layer_norms, rounding

__all__ = [
    "against_bits",
    "against_depth",
    "along_chain",
    "block_graph",
    "block_matrices",
    "bound_against_error",
    "bound_and_error",
    "bounds_by_method",
    "by_strength",
    "caps_along",
    "channel_levels",
    "channel_spread",
    "choices",
    "chosen_bits",
    "costs",
    "counting",
    "decades",
    "distances_and_moves",
    "families",
    "fan_in_and_width",
    "gain",
    "granularity",
    "image_and_outputs",
    "image_sizes",
    "ladder",
    "layer_norms",
    "matrices",
    "norms_and_constant",
    "norms_and_fan_ins",
    "norms_before_and_after",
    "norms_by_method",
    "plain_mean_map",
    "power_of_ten",
    "rounding",
    "scheme_accuracy",
    "scheme_changes",
    "share_maps",
    "shares",
    "sorted_norms",
    "stacked_factors",
    "step_costs",
    "storage",
    "subplots",
    "tangent",
    "title",
    "trained_networks",
    "two_rankings",
    "use_style",
]
