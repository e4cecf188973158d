"""T16: what a sample of inputs promises about the distribution that it was drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import beta, binom
from torch import Tensor, nn

from qnotes.errors import QnotesError, foreign, real
from qnotes.networks.probing import plain
from qnotes.networks.tracing import check_evaluation, check_module, check_values, own_copy
from qnotes.observation.measured import distances, margins, outputs


@dataclass(frozen=True)
class Tolerance:
    """An error that few inputs of a distribution exceed, as far as a sample can tell.

    Attributes:
        error: at least `fraction` of the distribution has an error of at most this.
        fraction: p, as asked for.
        confidence: the probability, over the draw of the sample, with which that is so; at least
            this, as asked for.
        inputs: n, how many inputs were drawn.
        rank: k; `error` is the k-th largest error of the sample, the smallest that can be promised.
        median: the median error of the sample, which promises nothing.
        largest: the largest error of the sample.
        agreed: on how many inputs both networks have the same top class; None where the networks
            have a single output, or outputs that are no scores of classes.
        agreement: at least this share of the distribution has the same top class in both networks,
            with probability `confidence` over the draw; None as above.
    """

    error: float
    fraction: float
    confidence: float
    inputs: int
    rank: int
    median: float
    largest: float
    agreed: int | None
    agreement: float | None


def tolerance(
    network: nn.Module,
    quantized: nn.Module,
    inputs: Tensor,
    *,
    fraction: float = 0.99,
    confidence: float = 0.95,
) -> Tolerance:
    """A promise from data (T16): an error that at most 1 - fraction of a distribution exceeds.

    The distribution is the one that the inputs were drawn from: independently of each other, and
    without a look at them when network, scheme and options were chosen. Nothing is assumed of the
    networks or of the distribution. The promise says nothing about any single input, and nothing
    about another distribution.

    It is the k-th largest error of the sample, with the largest k for which fewer than k of n draws
    come from the worst 1 - fraction of the distribution with probability at most 1 - confidence
    (Wilks 1941). 299 inputs are enough for the defaults, and 473 allow the second largest.

    Where outputs are scores of classes, of shape (inputs, classes), the share of the distribution
    with the same top class is promised too, by the lower bound of Clopper and Pearson (1934). An
    input counts as agreed only if both networks have the same largest score and no second one as
    large: ties count against the promise. Each of the two promises holds with `confidence`; both
    together hold with 1 - 2 (1 - confidence) at least.

    Networks run as copies in float64, batch by batch, where the first one is.

    Args:
        network: the reference, in eval mode.
        quantized: its quantized copy, in eval mode.
        inputs: the sample, of shape (inputs, ...).
        fraction: share of the distribution that shall be covered, between 0 and 1.
        confidence: probability of a sample for which that is true, between 0 and 1.

    Raises:
        QnotesError: for a sample too small for any promise (the message says how many inputs are
            needed), options that cannot be used, networks in training mode, inputs that a network
            cannot take, or values that are not finite.
    """
    for option, value in {"fraction": fraction, "confidence": confidence}.items():
        _check_share(option, value)
    _check_sample(inputs)
    rank = promised_rank(len(inputs), fraction, confidence)
    if not rank:
        raise QnotesError(
            f"{len(inputs)} inputs are too few to promise a fraction of {fraction:g} with a "
            f"confidence of {confidence:g}; draw {inputs_needed(fraction, confidence)}, or ask "
            "for less"
        )
    ours, theirs = _both_outputs(network, quantized, inputs)
    errors = distances(ours, theirs).sort(descending=True).values
    agreed = _agreed(ours, theirs)
    return Tolerance(
        error=errors[rank - 1].item(),
        fraction=float(fraction),
        confidence=float(confidence),
        inputs=len(inputs),
        rank=rank,
        median=errors.quantile(0.5).item(),
        largest=errors[0].item(),
        agreed=agreed,
        agreement=None if agreed is None else least_share(agreed, len(inputs), confidence),
    )


def promised_rank(inputs: int, fraction: float, confidence: float) -> int:
    """The largest k whose k-th largest error can be promised (T16); 0 if the sample is too small.

    The sum of T16, in double precision.
    """
    counts = np.arange(inputs)
    return int((binom.cdf(counts, inputs, 1 - fraction) <= 1 - confidence).sum())


def inputs_needed(fraction: float, confidence: float) -> int:
    """The fewest inputs whose largest error can be promised: 1 - fraction^n ≥ confidence."""
    enough = max(1, math.ceil(math.log1p(-confidence) / math.log(fraction)))
    # The logarithms round; the sum of T16 decides.
    while not promised_rank(enough, fraction, confidence):
        enough += 1
    while enough > 1 and promised_rank(enough - 1, fraction, confidence):
        enough -= 1
    return enough


def least_share(count: int, draws: int, confidence: float) -> float:
    """Clopper and Pearson's lower bound on a probability, from how many of the draws had it."""
    return float(beta.ppf(1 - confidence, count, draws - count + 1)) if count else 0.0


def _agreed(ours: Tensor, theirs: Tensor) -> int | None:
    """On how many inputs both networks have the same top class, and no tie for it."""
    if ours.dim() != 2 or ours.shape[1] < 2:
        return None
    same = ours.argmax(1) == theirs.argmax(1)
    return int((same & (margins(ours) > 0) & (margins(theirs) > 0)).sum())


def _both_outputs(
    network: nn.Module, quantized: nn.Module, inputs: Tensor
) -> tuple[Tensor, Tensor]:
    ours = _finite_outputs("network", network, inputs)
    theirs = _finite_outputs("quantized network", quantized, inputs)
    if ours.shape != theirs.shape or len(ours) != len(inputs):
        raise QnotesError(
            f"outputs of shapes {tuple(ours.shape)} and {tuple(theirs.shape)} for {len(inputs)} "
            "inputs; expected equal ones, a row an input"
        )
    return ours, theirs


def _finite_outputs(name: str, network: nn.Module, inputs: Tensor) -> Tensor:
    """Outputs of a copy in float64, on the CPU."""
    check_module(network)
    check_evaluation(network, f"the {name}")
    check_values(network)
    copied = own_copy(network, weights=True).double().requires_grad_(False)
    with foreign(f"the {name} cannot take inputs of shape {tuple(inputs.shape)}"):
        found = outputs(copied, inputs.double()).cpu()
    if not (found.is_floating_point() and torch.isfinite(found).all()):
        raise QnotesError(f"outputs of the {name} are complex, NaN or infinite")
    return found


def _check_share(option: str, value: object) -> None:
    if real(value) is None or not 0 < value < 1:
        raise QnotesError(f"{option} must be a number between 0 and 1, as in 0.95; got {value!r}")


def _check_sample(inputs: object) -> None:
    given = isinstance(inputs, Tensor)
    if not given or inputs.dim() < 2 or not len(inputs) or inputs.is_complex():
        came = f"{inputs.dtype} of shape {tuple(inputs.shape)}" if given else type(inputs).__name__
        raise QnotesError(f"inputs must be a real tensor of shape (inputs, ...); got {came}")
    if not torch.isfinite(plain("inputs", inputs)).all():
        raise QnotesError("inputs have values that are NaN or infinite")
