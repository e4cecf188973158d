"""Which levels change a layer's output least? What roundings that look at data solve."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qnotes.quantization.grid import Grid


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
        """The problem of a layer.

        Args:
            rows: weights, a row for each channel.
            grid: of these rows.
            gram: G, of shape (groups, fan-in, fan-in).
            drift: D, of the same shape.
        """
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
        """‖X w - X̃ q‖² without the number that q does not change, of shape (groups, rows).

        Args:
            levels: q, of the weight's shape.
        """
        change = levels - self.weight
        pull = self.weight @ self.drift.mT
        return (change * (change @ self.gram - 2 * pull)).sum(2)
