"""A bound taken apart into what depth, width, norms and rounding contribute to it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import sympy as sp

from qnotes.propagation.profiles import Profile
from qnotes.theory import Theorem
from qnotes.theory import symbols as sy

#: Which symbols make a factor belong where; what is left counts layers.
KINDS = {
    "domain": {sy.D},
    "width": {sy.W, sy.W_chain},
    "norms": {sy.R, sy.r_max, sy.r_joint_max},
    "rounding": {sy.eps},
    "depth": {sy.L},
}


def bound_factors(theorem: Theorem, profile: Profile) -> pd.Series:
    """Decades of a bound by the kind of factor; they add up to the bound.

    Args:
        theorem: P1, P2 or P3, whose bounds are products.
        profile: from `qnotes.profile`, or read from JSON.

    Returns:
        Decimal logarithms with the index domain, width, norms, rounding, depth.
    """
    products = {kind: sp.Integer(1) for kind in KINDS}
    for factor in sp.Mul.make_args(theorem.value):
        products[_kind(factor)] *= factor
    return pd.Series({kind: _decades(theorem, part, profile) for kind, part in products.items()})


def constants(profile: Profile) -> dict[str, float]:
    """The one number for all layers that P1 to P3 use, by the name of its symbol."""
    used = set().union(*KINDS.values())
    return {
        symbol.name: quantity.value(profile)
        for symbol, quantity in sy.QUANTITIES.items()
        if symbol in used
    }


def narrowed(profile: Profile) -> Profile:
    """The profile of a network whose maps are as narrow as what one output reads.

    A bound that counts the coordinates of a feature map counts the entries of a row then. P1 to P3
    stay true with these numbers: their proofs need no more than the entries of a row.
    """
    layers = [replace(layer, reads=layer.fan_in, width=layer.row) for layer in profile.layers]
    return replace(profile, layers=layers, input_width=layers[0].row)


def _kind(factor: sp.Expr) -> str:
    for kind, symbols in KINDS.items():
        if factor.free_symbols & symbols:
            return kind
    return "depth"


def _decades(theorem: Theorem, factor: sp.Expr, profile: Profile) -> float:
    statement = sp.Le(theorem.statement.lhs, factor, evaluate=False)
    return replace(theorem, statement=statement, definitions={}).evaluate(profile)
