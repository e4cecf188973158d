"""The grid of a sweep: every combination of the values on its axes, a cell each."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from qnotes.errors import QnotesError
from qnotes.networks import provenance
from qnotes.quantization import quantize

#: What `quantize` takes and a scheme does not set: the axes, and what does not change a result.
OTHERS = ("network", "bits", "seed", "progress")


@dataclass(frozen=True)
class Cell:
    """All that the rows of one cell depend on, besides the code.

    Attributes:
        network: a name that `load` knows.
        weights: ``digits``, ``imagenet`` or ``random``.
        sha256: of the weights' file; None where there is no file.
        scheme: the name of the scheme.
        options: keyword options of `quantize`.
        bits: width of a code.
        equalization: method of `equalize`, or None.
        relu6: what `equalize` does with ReLU6.
        radius: D; inputs lie in [-D, D]^N_0.
        seed: of random inputs, random weights, and of what is random in a scheme.
        inputs: how many inputs of a kind errors are measured on.
        accuracy: whether the accuracy is measured.
        precision: in which the networks run for what is measured.
    """

    network: str
    weights: str
    sha256: str | None
    scheme: str
    options: Mapping[str, object] | None
    bits: int
    equalization: str | None
    relu6: str | None
    radius: float
    seed: int
    inputs: int
    accuracy: bool
    precision: str

    @property
    def weight_seed(self) -> int:
        """The seed of the weights: other sources than ``random`` do not read it."""
        return self.seed if self.weights == "random" else 0

    @property
    def unquantized(self) -> Cell:
        """The cell without what quantizes: cells that agree here share their reference."""
        return replace(self, scheme="", options=None, bits=0)


def cells(
    networks, weights, schemes, bits, equalization, radius, seed, *, relu6: str, **settings
) -> list[Cell]:
    """The cells of a grid, the first axis slowest.

    Args:
        networks, weights, bits, equalization, radius, seed: one value or several.
        schemes: as in `sweep`.
        relu6: what `equalize` does with ReLU6.
        settings: the other attributes of a cell, the same for all.
    """
    networks, weights = several("networks", networks), several("weights", weights)
    for name in networks:
        if not isinstance(name, str):
            raise QnotesError(f"networks must be names that load knows; got {name!r}")
    hashes = {pair: _sha256(*pair) for pair in product(networks, weights)}
    axes = (
        networks,
        weights,
        named_schemes(schemes).items(),
        several("bits", bits),
        several("equalization", equalization),
        several("radius", radius),
        several("seed", seed),
    )
    return [
        Cell(
            network=network,
            weights=source,
            sha256=hashes[network, source],
            scheme=scheme,
            options=options,
            bits=width,
            equalization=method,
            relu6=None if method is None else relu6,
            radius=size,
            seed=number,
            **settings,
        )
        for network, source, (scheme, options), width, method, size, number in product(*axes)
    ]


def several(axis: str, given) -> list:
    """The values of an axis: of the one or the several that were given."""
    one = given is None or isinstance(given, str) or not isinstance(given, Iterable)
    values = [_plain(value) for value in ([given] if one else given)]
    if not values:
        raise QnotesError(f"{axis} is empty; give one value or several")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise QnotesError(f"{axis} has {twice[0]!r} twice; give each value once")
    return values


def _plain(value):
    """A number of numpy as Python's, which every function takes."""
    return value.item() if hasattr(value, "item") else value


def named_schemes(given) -> dict[str, dict[str, object]]:
    """Schemes by name: from one mapping of options, several of them, or a mapping from names."""
    if isinstance(given, Mapping) and given and all(isinstance(v, Mapping) for v in given.values()):
        schemes = dict(given)
    else:
        listed = [given] if isinstance(given, Mapping) else list(given)
        schemes = {_name(options): options for options in listed}
        if len(schemes) < len(listed):
            raise QnotesError("schemes has one scheme twice; give each once")
    if not schemes:
        raise QnotesError("schemes is empty; give one scheme or several")
    for name, options in schemes.items():
        _check_options(name, options)
    return {name: dict(options) for name, options in schemes.items()}


def _name(options) -> str:
    if not isinstance(options, Mapping):
        raise QnotesError(
            f"a scheme is a mapping of options of quantize, such as {{'symmetric': False}}; "
            f"got {options!r}"
        )
    return ", ".join(f"{option}={value}" for option, value in options.items()) or "default"


def scheme_options() -> dict[str, object]:
    """The options of `quantize` that a scheme may set, with their defaults."""
    parameters = inspect.signature(quantize).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in OTHERS}


def _check_options(name: str, options: Mapping[str, object]) -> None:
    for option in ("bits", "seed"):
        if option in options:
            raise QnotesError(f"scheme {name!r}: {option} is an axis of the grid; pass it as one")
    known = scheme_options()
    for option, value in options.items():
        if option not in known:
            raise QnotesError(
                f"scheme {name!r}: quantize has no option {option!r}; it has {', '.join(known)}"
            )
        if not isinstance(value, str | int | float | None):
            raise QnotesError(
                f"scheme {name!r}: {option} must be text, a number, True, False or None; got a "
                f"{type(value).__name__}"
            )


def _sha256(network: str, weights: str) -> str | None:
    """The hash of the weights' file; None for weights that are not there, as loading will say."""
    try:
        return provenance(network, weights).get("sha256")
    except QnotesError:
        return None
