"""T6, convolutional networks: T5 with the weights of one filter for the fan-in and the norm.

A convolution is a matrix whose rows are pieces of filters. So its fan-in is the number of weights
of a filter, and its norm the largest absolute sum of a filter; the size of the image is in neither.
"""

import numpy as np
import sympy as sp

from qnotes.theorems.proof_steps import (
    Cases,
    Identity,
    Nonnegative,
    Step,
    StepError,
    Verified,
    equation,
    must_vanish,
)
from qnotes.theorems.T2_recursion import LIPSCHITZ, OUR_PROOF
from qnotes.theorems.T5_layerwise_with_biases import MEAN_FORM_WITH_BIASES
from qnotes.theorems.theorem import Hypothesis, Theorem, proof_of


def _has_no_convolution(profile) -> str | None:
    if any(layer.kind == "convolution" for layer in profile.layers):
        return None
    return "needs a convolution; this network has none"


CONVOLUTION = Theorem(
    number="T6",
    form="mean form",
    name="convolutional networks",
    source=(
        "The paper has norms of convolutions, and counts the weights of a kernel over all "
        "channels. Here a convolution is a dense layer that reads the weights of one filter, and "
        "T5 does the rest. " + OUR_PROOF
    ),
    whose="the paper's, in our form",
    statement=MEAN_FORM_WITH_BIASES.statement,
    definitions=MEAN_FORM_WITH_BIASES.definitions,
    hypotheses=(
        LIPSCHITZ,
        Hypothesis("at least one layer is a convolution", _has_no_convolution),
    ),
    tight=True,
    premises=(MEAN_FORM_WITH_BIASES,),
)


@proof_of(CONVOLUTION)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """A convolution is a matrix whose rows are pieces of filters; then T5."""
    (dense,) = theorem.premises
    inside = sp.symbols("w_1:5", nonnegative=True)
    outside = sp.symbols("w_5:10", nonnegative=True)
    fan_in, height, width, channels = sp.symbols("n p_h p_w c", positive=True)
    groups = sp.Symbol(r"\mathrm{groups}", positive=True)
    return (
        Verified(
            title="rows of the matrix",
            reason="In the matrix of a convolution, built entry by entry for several kernels, "
            "strides, paddings and groups, each row holds weights of one filter, each at most "
            "once, and at most so many of them; a row in the interior holds them all.",
            printed=(equation(fan_in, height * width * channels / groups),),
            checked=_check_rows,
        ),
        Nonnegative(
            title="norm",
            reason="A row at the border (here a corner under a 3×3 kernel) lacks some weights "
            "of its filter, so its absolute sum is at most the filter's.",
            larger=sum(inside) + sum(outside),
            smaller=sum(inside),
            certificate=sum(outside),
        ),
        Identity(
            title="statement",
            reason="So a convolution is a dense layer with this fan-in and this norm: T5.",
            left=theorem.statement.rhs,
            right=dense.statement.rhs,
            printed=(theorem.statement,),
        ),
        Cases(
            title="the same mean",
            reason="With the norms of the filters, the mean is that of T5.",
            pairs=tuple((theorem.definitions[s], mean) for s, mean in dense.definitions.items()),
            printed=tuple(equation(*pair) for pair in theorem.definitions.items()),
        ),
    )


#: Kernels, strides, paddings and groups on which weights are counted row by row.
EXAMPLES = (
    {"channels_in": 1, "channels_out": 1, "size": 4, "kernel": 3, "groups": 1},
    {"channels_in": 2, "channels_out": 2, "size": 4, "kernel": 3, "groups": 1, "stride": 2},
    {"channels_in": 2, "channels_out": 2, "size": 3, "kernel": 3, "groups": 2},
    {"channels_in": 3, "channels_out": 2, "size": 3, "kernel": 1, "groups": 1, "padding": 0},
    {"channels_in": 4, "channels_out": 2, "size": 3, "kernel": 2, "groups": 2, "padding": 0},
    {"channels_in": 1, "channels_out": 1, "size": 6, "kernel": 5, "groups": 1, "padding": 2},
)


def _check_rows() -> None:
    for example in EXAMPLES:
        matrix = convolution_matrix(**example)
        bound = example["kernel"] ** 2 * example["channels_in"] // example["groups"]
        found = [[w for w in matrix.row(a) if w != 0] for a in range(matrix.rows)]
        if not all(len(set(weights)) == len(weights) <= bound for weights in found):
            raise StepError(f"a row of the convolution {example} holds more than {bound} weights")
        if max(map(len, found)) != bound:
            raise StepError(f"no row of the convolution {example} holds all {bound} weights")
        for weights in found:
            must_vanish(sp.Integer(len({w.name.split("_")[1] for w in weights}) - 1))


def convolution_matrix(
    *, channels_in: int, channels_out: int, size: int, kernel: int, groups: int, stride=1, padding=1
) -> sp.Matrix:
    """The matrix that maps the pixels of a square image to those of its convolution.

    It has a row for each output pixel and a column for each input pixel, channels first. Entry
    `w_o_c_y_x` is the weight of filter `o` (from 1) at channel `c` of its group, row `y`, column
    `x` (from 0).
    """
    out = (size + 2 * padding - kernel) // stride + 1
    per_group = (channels_in // groups, channels_out // groups)
    matrix = sp.zeros(channels_out * out**2, channels_in * size**2)
    for o, y, x in np.ndindex(channels_out, out, out):
        for c, dy, dx in np.ndindex(per_group[0], kernel, kernel):
            row, column = y * stride + dy - padding, x * stride + dx - padding
            if 0 <= row < size and 0 <= column < size:
                channel = o // per_group[1] * per_group[0] + c
                place = (channel * size + row) * size + column
                weight = sp.Symbol(f"w_{o + 1}_{c}_{dy}_{dx}", real=True)
                matrix[(o * out + y) * out + x, place] = weight
    return matrix
