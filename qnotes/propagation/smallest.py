"""Several domains side by side: after each operation, each learns what the others know.

Two kinds of number are compared: how large a coordinate of Δ, or of S' - S'(c), can be, and how
long all of them are in ℓ². Whatever is smaller goes on, in every domain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from qnotes.networks.operations import Operation
from qnotes.propagation.euclidean import added, log_length
from qnotes.propagation.intervals import Interval, Signed, met, outward
from qnotes.propagation.outward import log_up
from qnotes.propagation.pair import Pair
from qnotes.propagation.walk import Bounds, Domain


@dataclass(frozen=True)
class Known:
    """ln of what bounds a value; what is not known is inf.

    Attributes:
        peaks: on the coordinates of Δ, broadcast to (images, ...).
        length: on ‖Δ‖₂, (images,).
        sizes: on the coordinates of S', as peaks.
    """

    peaks: Tensor
    length: Tensor
    sizes: Tensor

    def __and__(self, other: Known) -> Known:
        """The smaller of each."""
        return Known(*(torch.minimum(a, b) for a, b in zip(self, other, strict=True)))

    def __iter__(self):
        return iter((self.peaks, self.length, self.sizes))


def known(value: object, shape: tuple[int, ...]) -> Known:
    """What a value of some domain says, in the terms that all of them share."""
    if isinstance(value, Known):
        return value
    if isinstance(value, Bounds):  # of channels, or of layers
        size, error = (logs.view(1, -1, *[1] * (len(shape) - 2)) for logs in value)
        positions = math.log(math.prod(shape[2:])) / 2
        length = torch.logsumexp(2 * error.flatten(), 0)[None] / 2 + positions
        return Known(error, log_up(length, len(error)), size)
    if isinstance(value, Signed):
        sizes = value.error.size
        return Known(log_up(sizes.log()), log_length(sizes), log_up(value.theirs.size.log()))
    axes = [1] * (len(shape) - 1)
    far = added(value.ours, value.theirs).view(-1, *axes)
    peaks = torch.minimum(value.error.view(-1, *axes), added(log_up(value.gap.log()), far))
    theirs = log_up(value.center[1].value.abs().log())
    return Known(peaks, value.error, added(theirs, value.theirs.view(-1, *axes)))


def peak(value: object, shape: tuple[int, ...]) -> Tensor:
    """The largest of the peaks, and nothing else that is known: it costs less."""
    if isinstance(value, Bounds):
        return value.error.max()
    if isinstance(value, Signed):
        low, high = value.error
        return log_up(torch.maximum(-low.min(), high.max()).log())
    return known(value, shape).peaks.max()


def tightened(value: object, facts: Known, shape: tuple[int, ...]) -> object:
    """A value of some domain, made smaller by what is known."""
    if isinstance(value, Bounds):
        mine = known(value, shape)
        logs = zip((facts.sizes, facts.peaks), (mine.sizes, mine.peaks), strict=True)
        return Bounds(*(_by_channel(torch.minimum(a, b)) for a, b in logs))
    if isinstance(value, Signed):
        error = value.error & _within(facts.peaks)
        return met(value.ours, value.theirs & _within(facts.sizes), error)
    return value._replace(error=torch.minimum(value.error, facts.length))


def _by_channel(logs: Tensor) -> Tensor:
    return logs.movedim(1, 0).flatten(1).amax(1)


def _within(logs: Tensor) -> Interval:
    size = outward(logs, log_up(logs).exp() * (1 + 1e-14)).high
    return Interval(-size, size)


class Smallest(Domain):
    """Domains side by side.

    Args:
        pair: that is walked.
        domains: by name.
        facts: what is known of some values already, by name and node.
    """

    def __init__(
        self,
        pair: Pair,
        domains: Mapping[str, Domain],
        facts: Mapping[str, Mapping[fx.Node, Known]] | None = None,
    ) -> None:
        self.pair, self.domains, self.facts = pair, domains, facts or {}

    def apply(self, operation: Operation, reads: tuple[dict, ...]) -> dict[str, object]:
        """Each domain's value, made smaller by all."""
        shape = self.pair.shapes[operation.node]
        values = {
            name: domain.apply(operation, tuple(read[name] for read in reads))
            for name, domain in self.domains.items()
        }
        said = {name: known(value, shape) for name, value in values.items()}
        node = operation.node
        said |= {name: facts[node] for name, facts in self.facts.items() if node in facts}
        everything = _all(said)
        tight = {name: tightened(value, everything, shape) for name, value in values.items()}
        return tight | {"said": said, "known": everything}


def _all(said: Mapping[str, Known]) -> Known:
    first, *others = said.values()
    for other in others:
        first = first & other
    # A length bounds each coordinate; coordinates bound a length.
    axes = [1] * (first.peaks.dim() - 1)
    return replace(first, peaks=torch.minimum(first.peaks, first.length.view(-1, *axes)))


def winner(said: Mapping[str, Known]) -> str:
    """The domain whose largest bound on a coordinate is the smallest."""
    return min(said, key=lambda name: float(said[name].peaks.amax()))
