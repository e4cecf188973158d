"""The network that a command is about: a name, a function in a file, or an exported program."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch
from torch import fx, nn

from qnotes.commands.numbers import shape
from qnotes.errors import QnotesError
from qnotes.networks import fold, input_shape, load, names, provenance
from qnotes.networks.exported import exported_input_shape, from_export
from qnotes.networks.weights import SOURCES

EXPORTED = ".pt2"
SEPARATOR = ".py:"


@dataclass(frozen=True)
class Chosen:
    """A folded network, the shape of its input, and where it comes from."""

    folded: fx.GraphModule
    input_shape: tuple[int, ...]
    provenance: Mapping[str, object] = field(default_factory=dict)


def add_network(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Add the network and what belongs to it; `also` ends its explanation."""
    parser.add_argument(
        "network",
        metavar="NETWORK",
        help=f"a name ({', '.join(names())}, and others with other weights); FILE.py:FUNCTION, a "
        "function without arguments that returns a torch.nn.Module; a program that "
        f"torch.export.save wrote, FILE.pt2{also}. They may run code: open only what you trust",
    )
    parser.add_argument(
        "--weights", choices=SOURCES, default="digits", help="of a named network (default: digits)"
    )
    parser.add_argument(
        "--input-shape",
        type=shape,
        metavar="N,N,...",
        help="batch dimension first, such as 1,3,224,224; needed for FILE.py:FUNCTION",
    )
    parser.add_argument(
        "--radius",
        type=float,
        default=1.0,
        metavar="D",
        help="inputs lie in [-D, D] (default: 1)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)"
    )


def choose(options: argparse.Namespace) -> Chosen:
    """Load and fold the network that a call names."""
    if options.network.endswith(EXPORTED):
        return _from_program(Path(options.network), options.input_shape)
    if SEPARATOR in options.network:
        return _from_function(options.network, options.input_shape)
    folded = fold(load(options.network, weights=options.weights, seed=options.seed))
    given = options.input_shape or input_shape(options.network, options.weights)
    return Chosen(folded, given, provenance(options.network, options.weights, options.seed))


def _from_program(path: Path, given: tuple[int, ...] | None) -> Chosen:
    if not path.is_file():
        raise QnotesError(f"no file {path}")
    try:
        program = torch.export.load(path)
    except Exception as error:  # of many kinds, whatever the file holds
        raise QnotesError(f"{path} is no program that torch.export.save wrote: {error}") from error
    own = exported_input_shape(program)
    if given is not None and given[1:] != own[1:]:
        raise QnotesError(f"{path} takes inputs of shape {own}; leave --input-shape out")
    return Chosen(fold(from_export(program)), own, {"source": path.name})


def _from_function(text: str, given: tuple[int, ...] | None) -> Chosen:
    file, _, function = text.rpartition(":")
    if given is None:
        raise QnotesError(f"{text} needs --input-shape, such as --input-shape 1,3,224,224")
    module = _imported(Path(file))
    if not callable(getattr(module, function, None)):
        raise QnotesError(f"{file} has no function {function!r}")
    network = getattr(module, function)()
    if not isinstance(network, nn.Module):
        raise QnotesError(f"{text} returned {type(network).__name__}; expected a torch.nn.Module")
    return Chosen(fold(network), given, {"source": f"{Path(file).name}:{function}"})


def _imported(path: Path) -> ModuleType:
    if not path.is_file():
        raise QnotesError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
