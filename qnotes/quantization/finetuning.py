"""Training that knows of the rounding: the straight-through estimator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations

from qnotes.errors import QnotesError, foreign, whole
from qnotes.networks.architectures import seeded
from qnotes.networks.operations import AFFINE_MODULES, operations
from qnotes.networks.probing import plain
from qnotes.networks.tracing import trace
from qnotes.networks.training import fit
from qnotes.quantization.grids import rows
from qnotes.quantization.scheme import Scheme
from qnotes.threads import one_thread

#: A third of what training from scratch uses: the network is already trained.
LEARNING_RATE = 1e-3


@torch.inference_mode(False)
@torch.enable_grad()
def finetune(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    bits: int | None,
    epochs: int = 4,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
    **options,
) -> fx.GraphModule:
    """Train a folded classifier further while its weights are rounded in every forward pass.

    The forward pass uses Q(W), the weights on their grid. Q is a staircase, its derivative is zero
    almost everywhere, so the backward pass takes it for the identity: the straight-through
    estimator (Bengio, Léonard and Courville 2013, arXiv:1308.3432). The grid follows the weights,
    step by step.

    Args:
        network: the reference, with batch norms folded; it is not changed.
        images: of shape (images, channels, height, width), such as the digits.
        labels: class numbers, of shape (images,).
        bits: width of a code in the forward pass; None trains without rounding, for comparison.
        epochs: how often each image is seen.
        learning_rate: the largest of a one-cycle schedule.
        seed: of the order and the shifts of the images.
        progress: called after each epoch.
        options: of `qnotes.quantize` that choose grid, range and granularity.

    Returns:
        A network with the trained weights and biases, *not* rounded, in float64; quantize it with
        the same bits and options.

    Raises:
        QnotesError: for options that look at data, fewer than one epoch, or training that diverged.
    """
    scheme = Scheme(**options)
    if scheme.rounding != "nearest":
        raise QnotesError(f"finetune rounds to nearest; got rounding={scheme.rounding!r}")
    number = whole(epochs)
    if number is None or number < 1:
        raise QnotesError(f"epochs must be a whole number of at least 1; got {epochs!r}")
    images, labels = _checked_data(images, labels)
    model = trace(network, copied=True)
    operations(model)
    # Folding leaves biases that do not train, where a layer had none.
    model = model.float().requires_grad_()
    layers = [module for module in model.modules() if isinstance(module, AFFINE_MODULES)]
    if bits is not None:
        scheme.check_bits(bits)
        for layer in layers:
            register_parametrization(layer, "weight", _StraightThrough(scheme, bits), unsafe=True)
    said = f"cannot train on images of shape {tuple(images.shape)}"
    with seeded(seed), one_thread(), foreign(said):
        fit(model, images, labels, epochs=number, learning_rate=learning_rate, progress=progress)
    if bits is not None:
        for layer in layers:
            remove_parametrizations(layer, "weight", leave_parametrized=False)
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise QnotesError(f"training diverged at learning_rate={learning_rate}; use a smaller one")
    return model.double().eval()


def _checked_data(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """In the precision of training."""
    if not all(isinstance(tensor, Tensor) for tensor in (images, labels)):
        came = f"{type(images).__name__} and {type(labels).__name__}"
        raise QnotesError(f"images and labels must be tensors; got {came}")
    if images.dim() != 4 or labels.shape != images.shape[:1] or not len(images):
        raise QnotesError(
            "images must be of shape (images, channels, height, width), with a label each; got "
            f"{tuple(images.shape)} and {tuple(labels.shape)}"
        )
    if not images.is_floating_point() or labels.is_floating_point() or labels.is_complex():
        raise QnotesError(
            f"images must be floating point numbers and labels whole ones; got {images.dtype} and "
            f"{labels.dtype}"
        )
    images, labels = plain("images", images), plain("labels", labels)
    return images.cpu().to(torch.float32), labels.cpu().long()


class _StraightThrough(nn.Module):
    """Forward: the weight on its grid. Backward: the identity."""

    def __init__(self, scheme: Scheme, bits: int) -> None:
        super().__init__()
        self.scheme, self.bits = scheme, bits

    def forward(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            weight_rows = rows(weight)
            grid = self.scheme.grids(weight_rows)(self.bits)
            levels = grid.decode(grid.encode(weight_rows)).view(weight.shape)
        return weight + (levels - weight).detach()
