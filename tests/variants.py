"""Formulae made from a theorem's, to be evaluated like it."""

from dataclasses import replace

import sympy as sp

from qnotes import Theorem
from qnotes.theorems.sums_over_layers import replaced


def variant(
    theorem: Theorem, value: sp.Expr | None = None, *, replacing=None, **changes
) -> Theorem:
    """A formula made from that of a theorem. It is no theorem: it has no proof.

    Args:
        theorem: that the formula is made from.
        value: right side of the statement; the theorem's own by default.
        replacing: symbols, or families over the layers, and what stands in the right side for
            them: ``{eps_layer: eps}`` puts one gap for those of all layers.
        changes: other attributes, such as ``definitions`` or ``form``.
    """
    rhs = replaced(theorem.statement.rhs if value is None else value, replacing or {})
    statement = theorem.statement.func(theorem.statement.lhs, rhs, evaluate=False)
    return replace(theorem, statement=statement, prove=None, **changes)
