"""Every theorem evaluated on one profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import sympy as sp

from qnotes import theorems
from qnotes.errors import QnotesError
from qnotes.propagation.profiles import Profile
from qnotes.theorems.T7_gain import FACTORS, GAIN

if TYPE_CHECKING:
    from torch import nn


def bounds(
    profile: Profile,
    networks: Sequence[nn.Module] | None = None,
    *,
    input_shape: tuple[int, ...] | None = None,
    seconds: float = 10.0,
) -> pd.DataFrame:
    """All bounds on the error of a quantized network, from its profile alone.

    Those on the graph, T8, T10, T11 and T14, need the networks: `qnotes.certify` has them for each
    output, here their largest is listed.

    Every row bounds the same number: the largest distance between the outputs of the two networks,
    in the maximum norm, over inputs in :math:`[-D, D]^{N_0}`.

    Args:
        profile: from `qnotes.profile`, or read from JSON.
        networks: that it was measured on, and its quantized copy; then the bounds on the graph
            are listed too, for the profile's radius.
        input_shape: of one batch, needed with networks.
        seconds: for T14, as in `qnotes.certify`.

    Returns:
        A row a bound, with columns

        - ``theorem``: its number, such as ``T5``;
        - ``bound``: which bound of the theorem, such as ``mean form``;
        - ``log10``: decimal logarithm of the bound, NaN where a hypothesis fails;
        - ``assumptions``: empty, or which hypothesis fails and why;
        - ``share``: each layer's part of the bound (sum 1), None where it does not name layers.

    Raises:
        QnotesError: for anything but a profile, and what `qnotes.certify` raises.
    """
    _check_profile(profile)
    computable = [theorem for theorem in theorems() if theorem.computable]
    on_error = [theorem for theorem in computable if isinstance(theorem.statement, sp.Le)]
    rows = [_row(theorem, profile) for theorem in on_error]
    if networks is not None:
        from qnotes.propagation.certifying import graph_bounds  # needs torch, a profile does not

        domain = {"input_shape": input_shape, "radius": profile.radius, "seconds": seconds}
        rows += [(*row, None) for row in graph_bounds(*networks, **domain)]
    return pd.DataFrame(rows, columns=["theorem", "bound", "log10", "assumptions", "share"])


def gain_factors(profile: Profile) -> pd.Series:
    """What T5 (mean form) gains over P2, in decades, split into the three factors of T7.

    Args:
        profile: from `qnotes.profile`, or read from JSON.

    Returns:
        Decades by factor. ``depth`` is for the sum over layers instead of L², ``width`` for fan-ins
        instead of the largest feature map, ``norms`` for a norm a layer instead of the largest.

    Raises:
        QnotesError: for anything but a profile.
    """
    _check_profile(profile)
    return pd.Series(
        {
            name: replace(GAIN, statement=sp.Eq(GAIN.statement.lhs, factor)).evaluate(profile)
            for name, factor in FACTORS.items()
        }
    )


def _check_profile(profile: object) -> None:
    if not isinstance(profile, Profile):
        raise QnotesError(
            f"expected a profile; got {type(profile).__name__}. "
            "Make one with qnotes.profile(network, quantized, input_shape=...)"
        )


def _row(theorem, profile: Profile) -> tuple:
    return (
        theorem.number,
        theorem.form or theorem.name,
        theorem.evaluate(profile),
        "; ".join(theorem.assumptions(profile)),
        theorem.shares(profile),
    )
