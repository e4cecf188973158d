"""The profile: the few numbers per layer through which the theory sees a pair of networks.

A profile is all that stands between torch and the theorems. Torch code measures one
(`qnotes.profile`), the theory reads it (`qnotes.bounds`), and neither sees the other. It is a few
kilobytes of JSON, so results can be stored, shared and replotted without the weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from qnotes.errors import QnotesError, real
from qnotes.files import data_folder, write_whole

FORMAT = 1

#: Bit-widths of the stored profiles, and seeds of the trainings that they are of.
STORED_BITS = (4, 8)
STORED_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Layer:
    r"""One affine layer of the chain, for a network and its quantized copy.

    `qnotes.theorems.notation.QUANTITIES` says which symbol is made of which of these numbers.

    The matrix of a layer is the one of the chain: where a skip connection passes by, it carries the
    skipped coordinates along; where it joins, it adds them. Each norm is the larger of the two
    networks' norms, rounded up.

    Attributes:
        name: the layers of the network that it is made of, such as ``layer1.0.conv1``.
        kind: ``dense``, ``convolution``, or ``sum`` for a sum without weights.
        fan_in: :math:`n_\ell`, most weights that one output coordinate reads.
        reads: coordinates of the largest feature map that its weights read.
        row: most entries in one row, those of skip connections included; where two summands read
            the same coordinate, it counts twice.
        width: :math:`N_\ell`, coordinates after the layer, carried ones included.
        norm: :math:`r_\ell`, largest row sum of the absolute weights.
        joint_norm: largest row sum of the absolute weights and bias together.
        gap: :math:`\varepsilon_\ell`, largest change of one weight.
        gap_norm: :math:`\delta_\ell`, largest row sum of the absolute changes of the weights.
        bias_norm: :math:`\beta_\ell`, largest absolute bias.
        bias_gap: largest change of one bias.
        peak: largest absolute entry, weights and biases.
        slope: :math:`\kappa_\ell`, largest slope of the activations after the layer (T17). An
            activation σ with slope κ and σ(0) = c is 1-Lipschitz after κ W and κ b, so all other
            numbers are those of κ W and κ b, and the size of c is a bias: in joint_norm,
            bias_norm, peak.
    """

    name: str
    kind: str
    fan_in: int
    reads: int
    row: int
    width: int
    norm: float
    joint_norm: float
    gap: float
    gap_norm: float
    bias_norm: float
    bias_gap: float
    peak: float
    slope: float = 1.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, str):
                continue
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise QnotesError(
                    f"layer {self.name!r}: {entry.name} is {value!r}; expected a finite number ≥ 0"
                )


@dataclass(frozen=True)
class Profile:
    """A chain of layers, its input domain, and where its numbers come from.

    Attributes:
        layers: the chain, input first.
        input_width: :math:`N_0`, number of input coordinates.
        radius: D; inputs lie in :math:`[-D, D]^{N_0}`.
        provenance: weights, seed, scheme and versions, as far as they are known.
    """

    layers: tuple[Layer, ...]
    input_width: int
    radius: float
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise QnotesError("a profile needs at least one layer; got none")
        object.__setattr__(self, "radius", check_radius(self.radius))

    @property
    def depth(self) -> int:
        """L, the number of affine layers."""
        return len(self.layers)

    def to_json(self) -> str:
        """The profile as JSON text; `from_json` gives an equal profile back."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read a profile that `to_json` wrote."""
        try:
            content = json.loads(text)
            version = content.pop("format")
            layers = tuple(Layer(**layer) for layer in content.pop("layers"))
            profile = cls(layers=layers, **content)
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise QnotesError(f"this is not a profile that qnotes wrote: {error}") from error
        if version != FORMAT:
            raise QnotesError(f"profile of format {version!r}; this version reads format {FORMAT}")
        return profile

    def save(self, path: str | Path) -> None:
        """Write the profile to a file, whole or not at all."""
        path = Path(path)
        write_whole(path.parent, {path.name: self.to_json().encode()})

    @classmethod
    def read(cls, path: str | Path) -> Profile:
        """Read a profile that `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def check_radius(radius: float, *, inward: bool = False, zero: bool = False) -> float:
    """The radius as a float; refuses all but positive finite numbers, and 0 where it makes sense.

    A whole number with many digits lies between two floats: a bound is about the larger box, and a
    search (`inward`) about the smaller.
    """
    number = real(radius)
    if number is None or not 0 <= number < math.inf or not (number or zero):
        shown = repr(radius)
        if number is None and isinstance(radius, int) and not isinstance(radius, bool):
            shown = f"{shown:.40}, which no float holds"
        elif number is None:
            shown = f"the {type(radius).__name__} {shown:.40}"
            if hasattr(radius, "tolist"):
                shown += "; pass its .tolist()"
        raise QnotesError(f"radius must be {'0 or ' * zero}a positive finite number; got {shown}")
    if inward and number > radius:
        return math.nextafter(number, 0.0)
    return math.nextafter(number, math.inf) if number < radius and not inward else number


def stored_profile(
    name: str,
    *,
    bits: int,
    seed: int = 0,
    granularity: str = "channel",
    equalization: str | None = None,
) -> Profile:
    """A profile that comes with the book: of a digits network, or of a ResNet-50; symmetric grids.

    Reading it and its bounds need no torch. Its ``provenance`` also has what a profile cannot tell:
    ``log10_T8``, the decimal logarithm of the vector form; and under ``held_out``, on the digits
    that training did not see, the accuracy after quantizing, the largest and the median error, and
    the median distance of the two largest outputs before quantizing.

    ``open_nsfw`` is Yahoo's content classifier, a ResNet-50 with half the channels that was trained
    on ImageNet first. Its weights are not stored here. Its profiles are for inputs in [-151, 151],
    with a scale per channel or per tensor, as it was trained and equalized; ``errors`` in the
    provenance are on parts of photographs and on random inputs.

    Args:
        name: one of `names()`, such as ``resnet20``; or ``open_nsfw``.
        bits: 4 or 8.
        seed: of the training: 0, 1 or 2. `load` has the weights of seed 0; those of the others are
            not kept.
        granularity: ``channel`` or, for ``open_nsfw``, ``tensor``.
        equalization: None or, for ``open_nsfw``, ``cle`` or ``even``, as in `equalize`.

    Raises:
        QnotesError: for a profile that is not stored; the message has those that are.
    """
    path = profiles_folder() / stored_name(name, bits, seed, granularity, equalization)
    if not path.is_file():
        asked = [f"{bits!r} bits", f"seed {seed!r}"]
        if granularity != "channel":
            asked.append(f"granularity {granularity!r}")
        if equalization is not None:
            asked.append(f"equalization {equalization!r}")
        found = sorted(file.stem for file in profiles_folder().glob("*.json"))
        ours = [stem for stem in found if stem.startswith(f"{name}-")] or found
        raise QnotesError(
            f"no stored profile of {name!r} at {', '.join(asked)}, in {path.parent}; "
            f"there are: {', '.join(ours) or 'none; run `make profiles`'}"
        )
    return Profile.read(path)


def stored_name(
    name: str,
    bits: int,
    seed: int | None = 0,
    granularity: str = "channel",
    equalization: str | None = None,
) -> str:
    """What the file of a stored profile is called; what is usual is not named.

    Usual are seed 0, whose weights are kept, a scale for each channel, and no equalization.
    """
    parts = [name]
    if seed:
        parts.append(f"seed{seed}")
    parts += [equalization] if equalization else []
    parts += [granularity] if granularity != "channel" else []
    return f"{'-'.join(parts)}-{bits}bit.json"


def profiles_folder() -> Path:
    """The folder ``profiles`` beside the checkpoints."""
    return data_folder() / "profiles"
