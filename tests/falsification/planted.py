"""Faults planted into each domain of `certify`, and how many networks the search needs for each.

    python -m tests.falsification.planted

A fault is small: a term that is forgotten, a pool that takes the wrong side, half of a remainder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pandas as pd
import torch

from qnotes.propagation import ellipsoids, euclidean, smallest
from qnotes.propagation.affine import Affine
from qnotes.propagation.channels import Channels, weighted_sums
from qnotes.propagation.intervals import Intervals, met
from qnotes.propagation.joint import Joint
from qnotes.propagation.norms import Norms
from tests.falsification import certified

#: The search gives up after so many networks.
MOST = 6400


def _no_gap(self, operation, whole=Channels.biases):
    """The size of a bias, and nothing for its change."""
    own, gap = whole(self, operation)
    return own, torch.full_like(gap, -torch.inf)


def _made_of_errors(self, operation, read):
    return weighted_sums(operation, read.error, read.size, read.error)


def _largest_of_least(self, operation, read):
    """Both ends of Δ by the maximum; the lower one needs the minimum."""
    module = operation.module
    ours, theirs = (values.through(module) for values in read[:2])
    return met(ours, theirs, read.error.through(module))


def _half_left(self, form, slope, rest, whole=Affine._bent):
    middle = rest.low / 2 + rest.high / 2
    rest = rest._replace(low=(rest.low + middle) / 2, high=(rest.high + middle) / 2)
    return whole(self, form, slope, rest)


def _ours_like_theirs(self, operation, signed, read, whole=Affine.affine):
    """S by the weights of the other network: its form is that of S'."""
    _, theirs, error = whole(self, operation, signed, read)
    return theirs, theirs, error


def _no_cross(self, *arguments, whole=Joint.activated):
    """T14 (c) without what a unit that bends does to everything else that is alive."""
    found = whole(self, *arguments)
    if found is None:
        return None
    kept = [node for node in found.members if node in self.members]
    matrix = found.matrix.clone()
    size = sum(found.size(found.members[node]) for node in kept)
    matrix[:, :size, :size] = self._part(kept, kept)
    return replace(found, matrix=matrix)


def _shorter(said, whole=smallest._all):
    found = whole(said)
    return replace(found, length=found.length - 0.05)


#: By method and name: what is patched, and with what.
FAULTS: dict[tuple[str, str], tuple[object, str, object]] = {
    ("norms", "b - b' forgotten"): (Norms, "biases", _no_gap),
    ("channels", "b - b' forgotten"): (Channels, "biases", _no_gap),
    ("channels", "(W - W') S' by the size of Δ"): (Channels, "products", _made_of_errors),
    ("intervals", "max pool: both ends by the maximum"): (
        Intervals, "max_pool", _largest_of_least
    ),
    ("euclidean", "max pool: windows that overlap"): (euclidean, "sharing", lambda *_: 1),
    ("euclidean", "(W - W') S'(c) + b - b' forgotten"): (
        euclidean, "_made", lambda operation, values: values.minus(values)
    ),
    ("ellipsoids", "max pool: windows that overlap"): (ellipsoids, "sharing", lambda *_: 1),
    ("ellipsoids", "zeros around an image forgotten"): (
        ellipsoids, "_looks_outside", lambda module: False
    ),
    ("ellipsoids", "(d) leaves what is alive as it was"): (Joint, "activated", _no_cross),
    ("affine", "half of what is left"): (Affine, "_bent", _half_left),
    ("affine", "S by the weights of S'"): (Affine, "affine", _ours_like_theirs),
    ("best", "a length too short by 5 %"): (smallest, "_all", _shorter),
}  # fmt: skip


#: Those that thousands of networks do not show, or only just: what T11 and T14 lose elsewhere
#: (a ball for a box, a length for a coordinate) hides them. Other tests look at these rules.
HARD = (
    "max pool: both ends by the maximum",
    "max pool: windows that overlap",
    "zeros around an image forgotten",
    "(d) leaves what is alive as it was",
)


@contextmanager
def planted(method: str, name: str) -> Iterator[None]:
    """While this fault is there."""
    with mock.patch.object(*FAULTS[method, name]):
        yield


def needed(
    method: str, name: str, *, most: int = MOST, search: Callable = certified.search
) -> dict[str, object]:
    """Networks, in steps of a graph's, until the search finds the fault; and processor seconds."""
    start, tried = time.process_time(), 0
    with planted(method, name):
        while tried < most:
            found = search(certified.DRAWS, seed=tried, methods=(method,))
            tried += certified.DRAWS
            if found["violations"].any():
                break
    row = {"method": method, "fault": name, "found": bool(found["violations"].any())}
    return row | {"networks": tried, "seconds": round(time.process_time() - start, 1)}


if __name__ == "__main__":
    print(pd.DataFrame([needed(*fault) for fault in FAULTS]).to_string(index=False))
