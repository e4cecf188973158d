"""GPTQ: round column by column, and let the columns that are left make up for each error."""

from __future__ import annotations

import torch
from torch import Tensor

from qnotes.quantization.problem import RoundingProblem

#: Share of the mean of the diagonal that is added to it, as the authors do.
DAMPING = 0.01


def gptq(problem: RoundingProblem) -> Tensor:
    """Levels by GPTQ (Frantar, Ashkboos, Hoefler and Alistarh 2023, arXiv:2210.17323).

    The error of a row is E(e) = eᵀG e. Round its first weight, so that e_1 = c = q_1 - w_1, and
    choose the others, not rounded yet, to make E smallest. The Lagrangian eᵀG e - 2 λ (e_1 - c) is
    stationary where G e = λ u_1, u_1 the first unit vector. So e = λ G⁻¹u_1, the constraint gives
    λ = c / (G⁻¹)_11, and

        e = c · (G⁻¹)_{·1} / (G⁻¹)_11,  at a cost of  E = c² / (G⁻¹)_11.

    This is the step of the optimal brain surgeon. The weights become w + e, and the same is done
    with the second weight and the moments without the first row and column. Nothing has to be
    inverted again: with G⁻¹ = UᵀU, U upper triangular (Cholesky), the inverse of G without its
    first t-1 rows and columns is the product UᵀU of the lower right block of U, whose first column
    is U_tt · U_{t,·}. So step t adds c · U_{t,j} / U_tt to the weights j > t.

    G is singular where inputs are linearly dependent. As the authors do, a hundredth of the mean of
    its diagonal is added to the diagonal. A column whose inputs are all zero is rounded to nearest:
    the authors set its weights to zero. Columns are taken in their given order, and a weight that
    has left the grid gets its first or last level.

    Args:
        problem: of a layer; its `drift` is not used, the reference is X̃ w.

    Returns:
        Levels, of the weight's shape.
    """
    factor = _factor(problem.gram)
    weight = problem.weight.clone()
    levels = torch.empty_like(weight)
    for column in range(weight.shape[2]):
        levels[..., column] = problem.nearest(weight[..., column], column)
        error = levels[..., column] - weight[..., column]
        row = factor[:, column, None, column:]
        weight[..., column:] += (error / row[..., 0])[..., None] * row
    return levels


def _factor(gram: Tensor) -> Tensor:
    """U with (G + damping)⁻¹ = UᵀU, up to a factor that no step depends on."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(1)[:, None, None]
    # In units of the mean, tiny moments do not vanish and huge ones do not overflow.
    damped = gram / torch.where(mean > 0, mean, 1.0)
    unread = (diagonal == 0).to(gram.dtype)
    damped.diagonal(dim1=1, dim2=2).add_(DAMPING + unread)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)
