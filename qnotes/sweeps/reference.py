"""What the cells of one network share in a process: the reference, its inputs and its outputs."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, fx, nn

import qnotes
from qnotes.errors import QnotesError
from qnotes.networks import digits, fold, input_shape, load, provenance
from qnotes.observation import accuracy, outputs, random_inputs
from qnotes.sweeps.grid import Cell

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Reference:
    """A network to quantize, and what its quantized copies are compared with.

    Attributes:
        model: the folded network, equalized where the cell says so.
        shape: of one batch of inputs.
        inputs: by kind, what errors are measured on.
        outputs: by kind, what the reference answers.
        accuracy: share of the test images that the reference names; NaN where not measured.
    """

    model: nn.Module
    shape: tuple[int, ...]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    accuracy: float


def reference(cell: Cell) -> Reference:
    """The reference of a cell; the last one is kept, since the cells that share it run together."""
    return _reference(cell.unquantized)


def forget() -> None:
    """Free what is kept: a network of full size takes half a gigabyte."""
    _reference.cache_clear()
    _folded.cache_clear()


def in_precision(network: nn.Module, precision: str) -> nn.Module:
    """A copy of a network in the precision that it is measured in.

    With channels last, depthwise convolutions run three times as fast on a processor.
    """
    return copy.deepcopy(network).to(PRECISIONS[precision], memory_format=torch.channels_last)


def digits_accuracy(network: nn.Module, cell: Cell) -> float:
    """Share of the digits' test images that a network names; NaN where the cell asks for none."""
    if not cell.accuracy or cell.weights != "digits":
        return math.nan
    return accuracy(network, *digits("test"))


@lru_cache(maxsize=1)
def _reference(cell: Cell) -> Reference:
    folded = _folded(cell.network, cell.weights, cell.sha256, cell.weight_seed)
    model, compared = _equalized(folded, cell)
    running = in_precision(compared, cell.precision)
    inputs = _inputs(cell)
    return Reference(
        model,
        input_shape(cell.network, cell.weights),
        inputs,
        {kind: outputs(running, batch) for kind, batch in inputs.items()},
        digits_accuracy(running, cell),
    )


@lru_cache(maxsize=1)
def _folded(network: str, weights: str, sha256: str | None, seed: int) -> fx.GraphModule:
    folded = fold(load(network, weights=weights, seed=seed))
    found = provenance(network, weights, seed).get("sha256")
    if found != sha256:
        raise QnotesError(
            f"{network}: the sweep asked for weights with sha256 {sha256}, this worker has "
            f"{found}; give all workers the same data"
        )
    return folded


def _equalized(folded: fx.GraphModule, cell: Cell) -> tuple[nn.Module, nn.Module]:
    """The network to quantize, and the one that it is compared with."""
    if cell.equalization is None:
        return folded, folded
    equalized = qnotes.equalize(folded, method=cell.equalization, relu6=cell.relu6)
    return equalized.model, equalized.reference


def _inputs(cell: Cell) -> dict[str, Tensor]:
    shape = input_shape(cell.network, cell.weights)
    drawn = random_inputs(shape, count=cell.inputs, radius=cell.radius, seed=cell.seed)
    found = {"random inputs": drawn}
    # The images reach from -1 to 1.
    if cell.weights == "digits" and cell.radius >= 1:
        found = {"digits": some_digits("test", cell.inputs, cell.seed), **found}
    return found


def some_digits(split: str, count: int, seed: int) -> Tensor:
    """Some images of the digits, drawn without repetition."""
    images, _ = digits(split)
    return images[torch.randperm(len(images), generator=_generator(seed))[:count]]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
