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
from qnotes.plots.grids import (
    gap_against_bits,
    layer_gaps,
    number_lines,
    outlier,
    staircase,
)
from qnotes.plots.layerwise import plain_mean_map, shares, sorted_norms, step_costs, tangent
from qnotes.plots.looseness import (
    bits_saved,
    certified_bits,
    practice,
    side_by_side,
    waterfall,
)
from qnotes.plots.mobilenet import caps_along, channel_spread, granularity
from qnotes.plots.norms import (
    box_image,
    norms_by_network,
    parametrizations,
    products,
    rescaling,
    stretch,
)
from qnotes.plots.resnets import costs
from qnotes.plots.schemes import (
    bound_and_error,
    channel_levels,
    scheme_accuracy,
    scheme_changes,
    storage,
)
from qnotes.plots.style import decades, power_of_ten, subplots, title, use_style
from qnotes.plots.sweeps import against_bits, against_depth, ladder
from qnotes.plots.training import (
    distances_and_moves,
    norms_before_and_after,
    trained_networks,
)
from qnotes.plots.travel import bounds_and_truth, carried_and_made, error_path, losses
from qnotes.plots.weights import image_and_outputs, layer_norms, rounding

__all__ = [
    "against_bits",
    "against_depth",
    "along_chain",
    "bits_saved",
    "block_graph",
    "block_matrices",
    "bound_against_error",
    "bound_and_error",
    "bounds_and_truth",
    "bounds_by_method",
    "box_image",
    "by_strength",
    "caps_along",
    "carried_and_made",
    "certified_bits",
    "channel_levels",
    "channel_spread",
    "choices",
    "chosen_bits",
    "costs",
    "counting",
    "decades",
    "distances_and_moves",
    "error_path",
    "fan_in_and_width",
    "gap_against_bits",
    "granularity",
    "image_and_outputs",
    "image_sizes",
    "ladder",
    "layer_gaps",
    "layer_norms",
    "losses",
    "matrices",
    "norms_and_constant",
    "norms_before_and_after",
    "norms_by_method",
    "norms_by_network",
    "number_lines",
    "outlier",
    "parametrizations",
    "plain_mean_map",
    "power_of_ten",
    "practice",
    "products",
    "rescaling",
    "rounding",
    "scheme_accuracy",
    "scheme_changes",
    "share_maps",
    "shares",
    "side_by_side",
    "sorted_norms",
    "stacked_factors",
    "staircase",
    "step_costs",
    "storage",
    "stretch",
    "subplots",
    "tangent",
    "title",
    "trained_networks",
    "two_rankings",
    "use_style",
    "waterfall",
]
