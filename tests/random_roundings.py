"""Random rounding problems with the data that they come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qnotes.quantization.data_roundings import RoundingProblem
from qnotes.quantization.grids import Grid
from qnotes.quantization.scheme import Scheme

torch.set_num_threads(1)


@dataclass(frozen=True)
class Drawn:
    """A problem, its matrices, and its grid.

    Attributes:
        problem: made from the rest.
        weight: of shape (rows, fan-in), rows of all groups.
        grid: of the weight.
        reads: X, of shape (groups, places, fan-in).
        reads_quantized: X̃, of the same shape.
    """

    problem: RoundingProblem
    weight: Tensor
    grid: Grid
    reads: Tensor
    reads_quantized: Tensor

    def error(self, levels: Tensor, *, reference: bool = True) -> Tensor:
        """‖X w - X̃ q‖², or ‖X̃ (w - q)‖² without the reference, from the matrices."""
        reads = self.reads if reference else self.reads_quantized
        weight = self.problem.weight
        return (reads @ weight.mT - self.reads_quantized @ levels.mT).square().sum(1)

    @property
    def nearest(self) -> Tensor:
        """What rounding to nearest gives, of the problem's shape."""
        return self.grid.decode(self.grid.encode(self.weight)).view(self.problem.weight.shape)


def draw(
    seed: int,
    *,
    rows: int = 4,
    fan_in: int = 6,
    groups: int = 1,
    bits: int = 3,
    scheme: Scheme | None = None,
    same: bool = False,
) -> Drawn:
    """Correlated inputs, as activations are: positive, and mixed from few directions."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weight = normal(groups * rows, fan_in)
    reads = (normal(groups, 40, fan_in) @ normal(groups, fan_in, fan_in) + 1).relu()
    reads_quantized = reads if same else (reads + 0.1 * normal(*reads.shape)).relu()
    grid = (scheme or Scheme()).grids(weight)(bits)
    gram = reads_quantized.mT @ reads_quantized
    drift = reads_quantized.mT @ (reads - reads_quantized)
    problem = RoundingProblem.of(weight, grid, gram, drift)
    return Drawn(problem, weight, grid, reads, reads_quantized)
