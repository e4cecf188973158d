"""GPFQ: follow the path of the layer's output, one column after the other, and never look back."""

from __future__ import annotations

import torch
from torch import Tensor

from qnotes.quantization.problem import RoundingProblem


def gpfq(problem: RoundingProblem) -> Tensor:
    """Levels by greedy path following (Lybrand and Saab 2021, arXiv:2010.11113).

    Adding up columns, X w = Σ_j w_j X_j is the end of a path. The levels follow it: with
    u_0 = 0 and u_t = u_{t-1} + w_t X_t - q_t X̃_t, the level q_t is the one that makes ‖u_t‖
    smallest. As a function of q_t, ‖u_t‖² is a parabola with its vertex at
    ⟨X̃_t, u_{t-1} + w_t X_t⟩ / ‖X̃_t‖², so the best level is the nearest to the vertex. In moments,
    with e = q - w and X̃ᵀX = G + D, the vertex is

        w_t + (Σ_{j≤t} D_tj w_j - Σ_{j<t} G_tj e_j) / G_tt.

    A column whose inputs are all zero is rounded to nearest.

    What the authors prove. For one layer (X̃ = X) and Gaussian inputs the error decays with the
    width of the layer (2021). For general grids and a range of input distributions, dense and
    convolutional layers, the relative square error essentially decays linearly in the number of
    weights (Zhang, Zhou and Saab 2023, arXiv:2201.11113).

    What two lines show, for any inputs with X̃ = X. Only the part of u_t along X_t depends on q_t,
    and it is at most s/2 ‖X_t‖ long, s the scale, unless the vertex lies outside the grid. So
    ‖u_t‖² ≤ ‖u_{t-1}‖² + s²/4 ‖X_t‖², and in the end

        ‖X w - X q‖² ≤ s²/4 Σ_t ‖X_t‖².

    Rounding to nearest has only the triangle inequality, (s/2 Σ_t ‖X_t‖)²: for columns of equal
    length that is more by a factor of the fan-in.

    Args:
        problem: of a layer.

    Returns:
        Levels, of the weight's shape.
    """
    weight, gram = problem.weight, problem.gram
    diagonal = gram.diagonal(dim1=1, dim2=2)
    length = torch.where(diagonal > 0, diagonal, torch.inf)
    pull = weight @ problem.drift.tril().mT
    change = torch.zeros_like(weight)
    for column in range(weight.shape[2]):
        left = pull[..., column] - (change @ gram[:, :, column, None])[..., 0]
        vertex = weight[..., column] + left / length[:, None, column]
        change[..., column] = problem.nearest(vertex, column) - weight[..., column]
    return weight + change
