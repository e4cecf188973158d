"""The matrix of a convolution, with a symbol for each weight (theory, T6)."""

from __future__ import annotations

import sympy as sp


def convolution_matrix(
    *,
    channels_in: int = 1,
    channels_out: int = 1,
    size: int = 4,
    kernel: int = 3,
    stride: int = 1,
    padding: int = 1,
    groups: int = 1,
) -> sp.Matrix:
    """The matrix that maps the pixels of an image to those of its convolution.

    Args:
        channels_in: of the image.
        channels_out: number of filters.
        size: height and width of the image.
        kernel: height and width of a filter.
        stride: pixels between two outputs.
        padding: rows and columns of zeros on each side.
        groups: of channels; as many as `channels_in` for a depthwise convolution.

    Returns:
        A row for each output pixel, a column for each input pixel, channels first. Entry
        `w_o_c_y_x` is the weight of filter `o` (from 1) at channel `c` of its group, row `y`,
        column `x` (from 0).
    """
    out = (size + 2 * padding - kernel) // stride + 1
    per_group = (channels_in // groups, channels_out // groups)
    matrix = sp.zeros(channels_out * out**2, channels_in * size**2)
    for o, y, x in _grid(channels_out, out, out):
        for c, dy, dx in _grid(per_group[0], kernel, kernel):
            row, column = y * stride + dy - padding, x * stride + dx - padding
            if 0 <= row < size and 0 <= column < size:
                channel = o // per_group[1] * per_group[0] + c
                place = (channel * size + row) * size + column
                weight = sp.Symbol(f"w_{o + 1}_{c}_{dy}_{dx}", real=True)
                matrix[(o * out + y) * out + x, place] = weight
    return matrix


def _grid(*sizes: int):
    return sp.utilities.iterables.cartes(*map(range, sizes))


#: Kernels, strides, paddings and groups on which the proof of T6 counts weights row by row.
EXAMPLES = (
    {"channels_in": 1, "channels_out": 1, "size": 4, "kernel": 3, "groups": 1},
    {"channels_in": 2, "channels_out": 2, "size": 4, "kernel": 3, "groups": 1, "stride": 2},
    {"channels_in": 2, "channels_out": 2, "size": 3, "kernel": 3, "groups": 2},
    {"channels_in": 3, "channels_out": 2, "size": 3, "kernel": 1, "groups": 1, "padding": 0},
    {"channels_in": 4, "channels_out": 2, "size": 3, "kernel": 2, "groups": 2, "padding": 0},
    {"channels_in": 1, "channels_out": 1, "size": 6, "kernel": 5, "groups": 1, "padding": 2},
)
