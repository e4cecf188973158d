"""Which levels change a layer's output least? The problem, and three ways to look for an answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from qnotes.quantization.grids import Grid
from qnotes.threads import one_thread

# AdaRound. The stretched sigmoid passes 0 and 1, so that they can be reached.
LOW, HIGH = -0.1, 1.1
#: Weight of the regularizer in units of the squared error.
REGULARIZATION = 0.2
#: Exponent of the regularizer, from the first to the last step.
FIRST_POWER, LAST_POWER = 20.0, 2.0
#: Share of the steps that pass before the regularizer begins.
WARM_UP = 0.2
STEPS = 1000
LEARNING_RATE = 0.01
#: Layers of fewer weights are learned on one thread: a step is over before others could help.
SMALL = 1 << 18

#: GPTQ. Share of the mean of the diagonal that is added to it, as the authors do.
DAMPING = 0.01


@dataclass(frozen=True)
class RoundingProblem:
    """Levels q for a row w of weights that make ‖X w - X̃ q‖² small.

    X holds what the layer reads in the reference, X̃ what it reads in the network that is quantized
    up to here, a row for each input and place. With the change e = q - w, the moments G = X̃ᵀX̃ and
    D = X̃ᵀ(X - X̃),

        ‖X w - X̃ q‖² = ‖(X - X̃) w - X̃ e‖² = eᵀG e - 2 eᵀD w + a number without e,

    so the moments are all that is needed. With X̃ in place of X, D is zero. Rows share the moments
    of their group of channels, and are otherwise independent once the grid is there.

    All tensors are float64.

    Attributes:
        weight: the rows w, of shape (groups, rows, fan-in).
        scale: distance of two levels, of the weight's shape.
        lowest: the first level as a multiple of the scale, of the weight's shape.
        highest: the last level as a multiple of the scale, of the weight's shape.
        gram: G, of shape (groups, fan-in, fan-in).
        drift: D, of the same shape.
    """

    weight: Tensor
    scale: Tensor
    lowest: Tensor
    highest: Tensor
    gram: Tensor
    drift: Tensor

    @classmethod
    def of(cls, rows: Tensor, grid: Grid, gram: Tensor, drift: Tensor) -> RoundingProblem:
        """The problem of a layer, from its weights, a row for each channel, and their grid."""
        shape = (len(gram), -1, rows.shape[1])
        scale, zero_point = (
            grid.spread(values.double(), rows.shape[1]).expand(rows.shape).reshape(shape)
            for values in (grid.scale, grid.zero_point)
        )
        lowest, highest = grid.qmin - zero_point, grid.qmax - zero_point
        return cls(rows.double().reshape(shape), scale, lowest, highest, gram, drift)

    def nearest(self, weight: Tensor, column: int) -> Tensor:
        """The levels nearest to a column of weights, of shape (groups, rows)."""
        scale, lowest, highest = (
            values[..., column] for values in (self.scale, self.lowest, self.highest)
        )
        return scale * (weight / scale).round().clamp(lowest, highest)

    def objective(self, levels: Tensor) -> Tensor:
        """‖X w - X̃ q‖² without the number that q does not change, of shape (groups, rows)."""
        change = levels.double().view(self.weight.shape) - self.weight
        pull = self.weight @ self.drift.mT
        return (change * (change @ self.gram - 2 * pull)).sum(2)


def better_codes(rows: Tensor, grid: Grid, gram: Tensor, drift: Tensor, rounding: str) -> Tensor:
    """Codes of a layer: for each row those that a method finds, or of nearest if they are better.

    Given the grid, the rows of a layer do not depend on each other. So no method is worse than
    rounding to nearest on what it makes small: ‖X w - X̃ q‖² for ``adaptive`` and ``gpfq``,
    ‖X̃ (w - q)‖² for ``gptq``. For the output of the network that is no theorem.
    """
    problem = RoundingProblem.of(rows, grid, gram, drift)
    candidate = grid.encode(METHODS[rounding](problem).view(rows.shape))
    nearest = grid.encode(rows)
    # The objective of what is really stored.
    found, plain = (problem.objective(grid.decode(codes)) for codes in (candidate, nearest))
    return torch.where((found < plain).view(-1, 1), candidate, nearest)


# -- AdaRound --------------------------------------------------------------------------------------


def adaptive(problem: RoundingProblem) -> Tensor:
    """Levels by adaptive rounding (Nagel et al. 2020, arXiv:2004.10568), of the weight's shape.

    Each weight goes to the level below or to the level above, a step d apart. The choice is
    relaxed: a variable V stands for the share h = clip(1.2 sigmoid(V) - 0.1, 0, 1) of the step, and
    V begins where h gives the weight itself. Adam makes the sum of two things small: the objective,
    and λ Σ (1 - |2h - 1|^β), which is zero only where every h is 0 or 1. By the chain rule, with
    e = q - w, its derivative by V is

        (2 d (G e - D w) / unit - 2 λ β sign(2h - 1) |2h - 1|^(β-1)) · dh/dV.

    During the first fifth of the steps there is no regularizer; then β falls from 20, where it
    moves only what is near 0 or 1 already, to 2, along half a cosine. In the end h is rounded.

    The stretch of the sigmoid, the first fifth and the fall of β are the authors', the last two as
    in their toolkit AIMET. Different here: the objective is ‖X w - X̃ q‖² before the activation,
    where theirs is after it. It comes from second moments, so each step sees all inputs, and no
    random number is drawn. It is divided by a unit, the row's mean of s_j² ‖X̃_j‖², so that λ means
    the same for every layer, whatever the size of its inputs and weights; theirs is 0.01 without a
    unit. With λ from 0.1 to 1.6 results differ little; below, many h are still between 0 and 1 in
    the end. There are 1000 steps of rate 0.01, where more gain little.
    """
    steps = problem.weight / problem.scale
    below = problem.scale * steps.floor().clamp(problem.lowest, problem.highest)
    above = problem.scale * steps.ceil().clamp(problem.lowest, problem.highest)
    with one_thread() if problem.weight.numel() < SMALL else nullcontext():
        return torch.where(_learned(problem, below, above) >= 0.5, above, below)


def _learned(problem: RoundingProblem, below: Tensor, above: Tensor) -> Tensor:
    """The share of a step that each weight goes up."""
    step = above - below
    factor = 2 * step / _unit(problem)
    pull = problem.weight @ problem.drift.mT
    between = ((problem.weight - below) / step).nan_to_num(0.0).clamp(0, 1)
    variable = torch.logit((between - LOW) / (HIGH - LOW))
    optimizer = torch.optim.Adam([variable], lr=LEARNING_RATE, fused=True)
    for passed in range(STEPS):
        share, slope = _share(variable)
        change = below + step * share - problem.weight
        variable.grad = factor * (change @ problem.gram - pull)
        if passed >= WARM_UP * STEPS:
            variable.grad -= _regularizer_slope(share, _power(passed))
        variable.grad *= slope
        optimizer.step()
    return _share(variable)[0]


def _unit(problem: RoundingProblem) -> Tensor:
    """Mean of s_j² ‖X̃_j‖² over a row; 1 where it is zero."""
    diagonal = problem.gram.diagonal(dim1=1, dim2=2)[:, None]
    mean = (problem.scale.square() * diagonal).mean(2, keepdim=True)
    return torch.where(mean > 0, mean, 1.0)


def _share(variable: Tensor) -> tuple[Tensor, Tensor]:
    """The share that a variable stands for, and its derivative."""
    sigmoid = torch.sigmoid(variable)
    stretched = sigmoid * (HIGH - LOW) + LOW
    share = stretched.clamp(0, 1)
    return share, (HIGH - LOW) * sigmoid * (1 - sigmoid) * (share == stretched)


def _regularizer_slope(share: Tensor, power: float) -> Tensor:
    """How fast λ |2h - 1|^β grows with h."""
    signed = 2 * share - 1
    return 2 * REGULARIZATION * power * signed.sign() * signed.abs() ** (power - 1)


def _power(passed: int) -> float:
    share = (passed / STEPS - WARM_UP) / (1 - WARM_UP)
    return LAST_POWER + (FIRST_POWER - LAST_POWER) * (1 + math.cos(math.pi * share)) / 2


# -- column by column ------------------------------------------------------------------------------


def gptq(problem: RoundingProblem) -> Tensor:
    """Levels by GPTQ (Frantar, Ashkboos, Hoefler and Alistarh 2023, arXiv:2210.17323).

    Round column by column, and let the columns that are left make up for each error. The error of a
    row is E(e) = eᵀG e. Round its first weight, so that e_1 = c = q_1 - w_1, and choose the others,
    not rounded yet, to make E smallest. The Lagrangian eᵀG e - 2 λ (e_1 - c) is stationary where
    G e = λ u_1, u_1 the first unit vector. So e = λ G⁻¹u_1, the constraint gives λ = c / (G⁻¹)_11,
    and

        e = c · (G⁻¹)_{·1} / (G⁻¹)_11,  at a cost of  E = c² / (G⁻¹)_11.

    This is the step of the optimal brain surgeon. The weights become w + e, and the same is done
    with the second weight and the moments without the first row and column. Nothing has to be
    inverted again: with G⁻¹ = UᵀU, U upper triangular (Cholesky), the inverse of G without its
    first t-1 rows and columns is the product UᵀU of the lower right block of U, whose first column
    is U_tt · U_{t,·}. So step t adds c · U_{t,j} / U_tt to the weights j > t.

    G is singular where inputs are linearly dependent. As the authors do, a hundredth of the mean of
    its diagonal is added to the diagonal. A column whose inputs are all zero is rounded to nearest:
    the authors set its weights to zero. Columns are taken in their given order, and a weight that
    has left the grid gets its first or last level. `drift` is not used: the reference is X̃ w.
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


def gpfq(problem: RoundingProblem) -> Tensor:
    """Levels by greedy path following (Lybrand and Saab 2021, arXiv:2010.11113).

    Adding up columns, X w = Σ_j w_j X_j is the end of a path. The levels follow it, one column
    after the other, and never look back: with u_0 = 0 and u_t = u_{t-1} + w_t X_t - q_t X̃_t, the
    level q_t is the one that makes ‖u_t‖ smallest. As a function of q_t, ‖u_t‖² is a parabola with
    its vertex at ⟨X̃_t, u_{t-1} + w_t X_t⟩ / ‖X̃_t‖², so the best level is the nearest to the vertex.
    In moments, with e = q - w and X̃ᵀX = G + D, the vertex is

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


METHODS: dict[str, Callable[[RoundingProblem], Tensor]] = {
    "adaptive": adaptive,
    "gptq": gptq,
    "gpfq": gpfq,
}
#: Methods that compare with the output of the reference, X w; the others with X̃ w.
FOLLOW_REFERENCE = ("adaptive", "gpfq")
