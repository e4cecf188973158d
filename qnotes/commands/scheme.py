"""Options of the quantizer, taken from the signature and the docstring of `quantize`."""

from __future__ import annotations

import argparse
import inspect
import re

from torch import Tensor

from qnotes.commands.networks import Chosen
from qnotes.commands.numbers import positive
from qnotes.errors import QnotesError
from qnotes.observation import random_inputs
from qnotes.quantization import Quantized, quantize
from qnotes.quantization.scheme import CALIBRATED
from qnotes.sweeps.reference import some_digits

#: Not options of their own: bits comes as --bits, symmetric as --affine, seed is everybody's.
ELSEWHERE = ("bits", "symmetric", "seed")


def add_scheme(parser: argparse.ArgumentParser) -> None:
    """Add every option of `quantize` that is a number or a word, and ``--affine``."""
    group = parser.add_argument_group("quantizer", "as qnotes.quantize has them")
    explained = _explanations(inspect.getdoc(quantize) or "")
    group.add_argument("--affine", action="store_true", help="affine grids instead of symmetric")
    for name, (kind, default) in _words_and_numbers().items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=default,
            metavar={str: "NAME", int: "N", float: "NUMBER"}[kind],
            help=f"{explained.get(name, '')} (default: {default})".replace("%", "%%"),
        )
    group.add_argument(
        "--calibration",
        type=positive,
        metavar="N",
        help="how many inputs the roundings adaptive, gptq and gpfq look at: training images for "
        "digits weights and a radius of at least 1, else random ones",
    )


def quantized(options: argparse.Namespace, chosen: Chosen) -> Quantized:
    """The network that a call names, quantized as the call says."""
    given = scheme(options)
    if options.calibration:
        given["calibration"] = _inputs(options, chosen)
    return quantize(chosen.folded, bits=options.bits, **given)


def _inputs(options: argparse.Namespace, chosen: Chosen) -> Tensor:
    count, seed = options.calibration, options.seed
    if chosen.provenance.get("weights") == "digits" and options.radius >= 1:
        return some_digits("train", count, seed)
    return random_inputs(chosen.input_shape, count=count, radius=options.radius, seed=seed)


def scheme(options: argparse.Namespace) -> dict[str, object]:
    """The options of `quantize` that a call was given, all but the bits and calibration inputs."""
    if options.rounding in CALIBRATED and not options.calibration:
        raise QnotesError(
            f"--rounding {options.rounding} looks at data: give --calibration N, a number of inputs"
        )
    given = {name: getattr(options, name) for name in _words_and_numbers()}
    if "seed" in inspect.signature(quantize).parameters:
        given["seed"] = options.seed
    return {"symmetric": not options.affine, **given}


def _words_and_numbers() -> dict[str, tuple[type, object]]:
    """Options whose default, or else whose annotation, is a word or a number."""
    found = {}
    for name, parameter in inspect.signature(quantize).parameters.items():
        if name in ELSEWHERE or parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        kind = type(parameter.default)
        if parameter.default is None:
            first = str(parameter.annotation).split(" | ")[0]
            kind = {"str": str, "int": int, "float": float}.get(first)
        if kind in (str, int, float):
            found[name] = (kind, parameter.default)
    return found


def _explanations(docstring: str) -> dict[str, str]:
    """What the section Args of a docstring says about each argument."""
    _, _, arguments = docstring.partition("Args:\n")
    arguments, _, _ = arguments.partition("\n\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", arguments, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}
