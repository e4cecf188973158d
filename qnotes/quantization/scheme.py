"""The options of a quantization, checked once and kept together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from qnotes.errors import QnotesError, check_choice, check_whole, real, whole
from qnotes.quantization.grids import (
    CLIPS,
    CONVENTIONS,
    DIRECT,
    Codebook,
    Grid,
    affine_grid,
    kmeans_codebook,
    least_squares,
    log2_grid,
    minmax,
    parts,
    percentiles,
    symmetric_grid,
    weight_range,
)

BITS = range(1, 17)
CALIBRATED = ("adaptive", "gptq", "gpfq")
CHOICES = {
    "granularity": ("tensor", "channel", "group"),
    "symmetric": (True, False),
    "convention": CONVENTIONS,
    "grid": ("uniform", "power-of-two", "log2", "kmeans"),
    "clip": CLIPS,
    "rounding": (*DIRECT, "stochastic", *CALIBRATED),
}


@dataclass(frozen=True)
class Scheme:
    """How weights are quantized, but for the number of bits; the options of `quantize`."""

    granularity: str = "channel"
    symmetric: bool = True
    group_size: int | None = None
    convention: str = "narrow"
    grid: str = "uniform"
    clip: str = "minmax"
    rounding: str = "nearest"
    percentile: float = 99.9
    seed: int = 0

    def __post_init__(self) -> None:
        for option, known in CHOICES.items():
            check_choice(option, getattr(self, option), known)
        self._check_numbers()
        if not self.uniform:
            self._check_levels_of_their_own()

    def _check_numbers(self) -> None:
        grouped = self.granularity == "group"
        size = whole(self.group_size)
        if grouped and (size is None or size < 1):
            raise QnotesError(
                "granularity='group' needs group_size, the number of weights that share a scale, "
                f"as a whole number of at least 1; got {self.group_size!r}"
            )
        if not grouped and self.group_size is not None:
            raise QnotesError(
                f"group_size={self.group_size!r} goes with granularity='group'; got granularity="
                f"{self.granularity!r}"
            )
        percentile = real(self.percentile)
        if percentile is None or not 0 < percentile <= 100:
            raise QnotesError(f"percentile must lie in (0, 100]; got {self.percentile!r}")
        plain = {
            "group_size": size,
            "percentile": percentile,
            "seed": check_whole("seed", self.seed, 0),
        }
        for option, value in plain.items():  # a number of numpy's could not be written as JSON
            object.__setattr__(self, option, value)

    def _check_levels_of_their_own(self) -> None:
        if not self.symmetric or self.convention != "narrow":
            raise QnotesError(
                f"grid={self.grid!r} has levels of its own: symmetric=False and convention choose "
                "between uniform grids"
            )
        if self.rounding != "nearest":
            raise QnotesError(
                f"rounding={self.rounding!r} counts in steps of a uniform grid; with grid="
                f"{self.grid!r} use rounding='nearest'"
            )
        if self.grid == "kmeans" and self.clip != "minmax":
            raise QnotesError(
                f"clip={self.clip!r} sets the ends of a range; k-means finds its levels without one"
            )

    @property
    def uniform(self) -> bool:
        """Whether levels are equally spaced."""
        return self.grid in ("uniform", "power-of-two")

    def check_bits(self, bits: object, layer: str = "") -> int:
        """Bits as a number that this scheme has a grid for, or a clear error."""
        where = f"{layer}: " if layer else ""
        width = whole(bits)
        if width not in BITS:
            raise QnotesError(
                f"{where}bits must be an integer from {BITS[0]} to {BITS[-1]}; got {bits!r}"
            )
        if width == 1 and (self.grid == "log2" or (self.uniform and self.symmetric)):
            raise QnotesError(
                f"{where}with bits=1 a symmetric grid has the level 0 and no other on both sides; "
                "use symmetric=False or grid='kmeans', which have two levels, or 2 bits"
            )
        return width

    def bits_of_layers(self, bits: object, names: list[str]) -> dict[str, int]:
        """Bits for each layer: one number for all, or a mapping that names every layer."""
        if not isinstance(bits, Mapping):
            return dict.fromkeys(names, self.check_bits(bits))
        missing, unknown = set(names) - set(bits), set(bits) - set(names)
        if missing or unknown:
            wrong = f"without {', '.join(sorted(missing))}" if missing else ""
            extra = f"with the unknown {', '.join(sorted(map(str, unknown)))}" if unknown else ""
            raise QnotesError(
                "bits for each layer must name each layer once; got a mapping "
                + f"{wrong} {extra}".rstrip()
                + f". The layers are {', '.join(names)}"
            )
        return {name: self.check_bits(bits[name], name) for name in names}

    def grids(self, rows: Tensor) -> Callable[[int], Grid | Codebook]:
        """The grid of a layer as a function of the bits; what they do not decide is found now.

        Args:
            rows: weights, a row for each channel.
        """
        blocks = parts(rows, self.group_size, together=self.granularity == "tensor")
        if self.grid == "kmeans":
            return lambda bits: kmeans_codebook(blocks, bits, self.group_size)
        if self.clip == "mse":
            levels = self._levels
            return lambda bits: self._grid(
                weight_range(blocks, lambda b: least_squares(b, partial(levels, bits=bits))), bits
            )
        ends = minmax
        if self.clip == "percentile":
            ends = partial(percentiles, percentile=self.percentile, symmetric=self.symmetric)
        return partial(self._grid, weight_range(blocks, ends))

    def _grid(self, ends: tuple[Tensor, Tensor], bits: int) -> Grid:
        return replace(self._levels(*ends, bits=bits), group_size=self.group_size)

    def _levels(self, low: Tensor, high: Tensor, bits: int) -> Grid:
        if self.grid == "log2":
            return log2_grid(low, high, bits)
        if self.symmetric:
            return symmetric_grid(low, high, bits, self.convention, self.grid == "power-of-two")
        return affine_grid(low, high, bits, self.grid == "power-of-two")

    def described(self) -> dict[str, object]:
        """The options that matter, by name; what the others do not use is left out."""
        matters = {
            "group_size": self.granularity == "group",
            "convention": self.symmetric and self.uniform,
            "percentile": self.clip == "percentile",
            "seed": self.rounding == "stochastic",
        }
        return {name: value for name, value in vars(self).items() if matters.get(name, True)}

