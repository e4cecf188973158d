"""Two networks as copies that a search runs: the difference of their outputs, and its gradient."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError
from qnotes.networks.probing import place_of
from qnotes.networks.tracing import check_evaluation, check_values, own_copy
from qnotes.observation.measured import run_rows


def chosen_device(network: nn.Module, device: str | torch.device | None) -> torch.device:
    """The device asked for; else a CUDA device if there is one, else where the network is."""
    if device is None:
        return torch.device("cuda") if torch.cuda.is_available() else place_of(network)
    try:
        place = torch.device(device)
        torch.zeros(1, dtype=torch.float64, device=place).item()
    except (RuntimeError, TypeError, AssertionError) as error:
        raise QnotesError(f"device={device!r} cannot compute in float64 here: {error}") from error
    return place


class Pair:
    """Copies of the two networks in one precision; inputs and results are float64."""

    def __init__(self, network: nn.Module, quantized: nn.Module, place: torch.device) -> None:
        for name, net in (("network", network), ("quantized network", quantized)):
            check_evaluation(net, f"the {name}")
            check_values(net)
        self.precision = torch.float64
        self.networks = [
            own_copy(net, weights=True).to(place, torch.float64).requires_grad_(False)
            for net in (network, quantized)
        ]

    def single(self) -> Pair:
        """The same in float32."""
        pair = copy.copy(self)
        pair.precision = torch.float32
        pair.networks = [copy.deepcopy(net).float() for net in self.networks]
        return pair

    @property
    def size(self) -> int:
        """Number of weights of the reference."""
        return sum(weight.numel() for weight in self.networks[0].parameters())

    def differences(self, inputs: Tensor) -> Tensor:
        """Differences of the outputs, a row an input."""
        # Copies, since a network may overwrite its input.
        mine, its = (run_rows(net, inputs.to(self.precision, copy=True)) for net in self.networks)
        if mine.shape != its.shape:
            raise QnotesError(
                f"outputs of shapes {tuple(mine.shape)} and {tuple(its.shape)} for "
                f"{len(inputs)} inputs; expected equal ones, a row an input"
            )
        return (mine - its).reshape(len(mine), -1).double()

    def gradients(self, inputs: Tensor, outputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gradient of one output's difference for each input, and all differences.

        One output, by default the one that differs most: where two differ alike, the gradient of
        their maximum may cancel out.
        """
        inputs = inputs.clone().requires_grad_()
        with torch.enable_grad():
            differences = self.differences(inputs)
            outputs = differences.abs().argmax(1) if outputs is None else outputs
            chosen = differences.gather(1, outputs[:, None])
            if not chosen.requires_grad:  # the outputs do not depend on the input
                return torch.zeros_like(inputs), differences
            (gradient,) = torch.autograd.grad(chosen.sum(), inputs)
            return gradient, differences.detach()
