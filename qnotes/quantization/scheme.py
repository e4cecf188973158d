"""The options of a quantization, checked once and kept together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from qnotes.errors import QnotesError
from qnotes.quantization.grid import CONVENTIONS, Grid, affine_grid, symmetric_grid
from qnotes.quantization.levels import Codebook, kmeans_codebook, log2_grid
from qnotes.quantization.ranges import CLIPS, parts, smallest_squared_error, weight_range
from qnotes.quantization.rounding import DIRECT

BITS = range(1, 17)
GRANULARITIES = ("tensor", "channel", "group")
GRIDS = ("uniform", "power-of-two", "log2", "kmeans")
CALIBRATED = ("adaptive", "gptq", "gpfq")
ROUNDINGS = (*DIRECT, "stochastic", *CALIBRATED)


@dataclass(frozen=True)
class Scheme:
    """How weights are quantized, but for the number of bits; the options of `quantize`."""

    granularity: str = "channel"
    group_size: int | None = None
    symmetric: bool = True
    convention: str = "narrow"
    grid: str = "uniform"
    clip: str = "minmax"
    percentile: float = 99.9
    rounding: str = "nearest"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice("granularity", self.granularity, GRANULARITIES)
        _check_choice("symmetric", self.symmetric, (True, False))
        _check_choice("convention", self.convention, CONVENTIONS)
        _check_choice("grid", self.grid, GRIDS)
        _check_choice("clip", self.clip, CLIPS)
        _check_choice("rounding", self.rounding, ROUNDINGS)
        self._check_group_size()
        self._check_percentile()
        self._check_combination()

    def _check_group_size(self) -> None:
        grouped = self.granularity == "group"
        if grouped and (not _whole(self.group_size) or self.group_size < 1):
            raise QnotesError(
                "granularity='group' needs group_size, the number of weights that share a scale, "
                f"as a whole number of at least 1; got {self.group_size!r}"
            )
        if not grouped and self.group_size is not None:
            raise QnotesError(
                f"group_size={self.group_size!r} goes with granularity='group'; got granularity="
                f"{self.granularity!r}"
            )

    def _check_percentile(self) -> None:
        number = isinstance(self.percentile, int | float) and not isinstance(self.percentile, bool)
        if not number or not 0 < self.percentile <= 100:
            raise QnotesError(f"percentile must lie in (0, 100]; got {self.percentile!r}")

    def _check_combination(self) -> None:
        if self.uniform:
            return
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
        if not _whole(bits) or bits not in BITS:
            raise QnotesError(
                f"{where}bits must be an integer from {BITS[0]} to {BITS[-1]}; got {bits!r}"
            )
        if bits == 1 and (self.grid == "log2" or (self.uniform and self.symmetric)):
            raise QnotesError(
                f"{where}with bits=1 a symmetric grid has the level 0 and no other on both sides; "
                "use symmetric=False or grid='kmeans', which have two levels, or 2 bits"
            )
        return bits

    def ranges(self, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """Ends of the ranges of a layer where they do not depend on the bits, else None."""
        if self.grid == "kmeans" or self.clip == "mse":
            return None
        blocks = parts(rows, self.granularity, self.group_size)
        return weight_range(blocks, self.clip, symmetric=self.symmetric, percentile=self.percentile)

    def make_grid(self, rows: Tensor, bits: int, ranges=None) -> Grid | Codebook:
        """The grid of a layer.

        Args:
            rows: weights, a row for each channel.
            bits: width of a code.
            ranges: what `ranges` returned for these rows, to save the pass over them.
        """
        if self.grid == "kmeans":
            return kmeans_codebook(rows, bits, self.granularity, self.group_size)
        if self.clip == "mse":
            blocks = parts(rows, self.granularity, self.group_size)
            ranges = smallest_squared_error(blocks, self._grid_maker(bits))
        made = self._grid_maker(bits)(*(ranges or self.ranges(rows)))
        return replace(made, group_size=self.group_size)

    def _grid_maker(self, bits: int) -> Callable[[Tensor, Tensor], Grid]:
        if self.grid == "log2":
            return lambda low, high: log2_grid(low, high, bits)
        options = {"power_of_two": self.grid == "power-of-two"}
        if not self.symmetric:
            return lambda low, high: affine_grid(low, high, bits, **options)
        options["convention"] = self.convention
        return lambda low, high: symmetric_grid(low, high, bits, **options)

    def described(self) -> dict[str, object]:
        """The options that matter, by name; what the others do not use is left out."""
        chosen: dict[str, object] = {"granularity": self.granularity, "symmetric": self.symmetric}
        if self.granularity == "group":
            chosen["group_size"] = self.group_size
        if self.symmetric and self.uniform:
            chosen["convention"] = self.convention
        chosen |= {"grid": self.grid, "clip": self.clip, "rounding": self.rounding}
        if self.clip == "percentile":
            chosen["percentile"] = self.percentile
        if self.rounding == "stochastic":
            chosen["seed"] = self.seed
        return chosen


def bits_of_layers(scheme: Scheme, bits: object, names: list[str]) -> dict[str, int]:
    """Bits for each layer: one number for all, or a mapping that names every layer."""
    if not isinstance(bits, Mapping):
        return dict.fromkeys(names, scheme.check_bits(bits))
    missing, unknown = set(names) - set(bits), set(bits) - set(names)
    if missing or unknown:
        wrong = f"without {', '.join(sorted(missing))}" if missing else ""
        extra = f"with the unknown {', '.join(sorted(map(str, unknown)))}" if unknown else ""
        raise QnotesError(
            f"bits for each layer must name each layer once; got a mapping {wrong} {extra}".rstrip()
            + f". The layers are {', '.join(names)}"
        )
    return {name: scheme.check_bits(bits[name], name) for name in names}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_choice(option: str, value: object, known: tuple) -> None:
    # Identity for booleans: 1 == True, and an unhashable or array value must not pass or crash.
    if not any(value is choice or (type(value) is str and value == choice) for choice in known):
        raise QnotesError(f"{option} must be one of {', '.join(map(repr, known))}; got {value!r}")
