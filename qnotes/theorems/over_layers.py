"""Induction over the layers, as most proofs need it."""

from collections.abc import Callable

import sympy as sp

from qnotes.theorems.facts import Fact, le, supposed
from qnotes.theorems.notation import LAYERS, L, ell
from qnotes.theorems.rules import Algebra, Induction, Suppose
from qnotes.theorems.theorem import Step


def over_layers(
    name: str,
    value: Callable[[sp.Expr], sp.Expr],
    bound: sp.Expr,
    *,
    layer: Algebra,
    uses: tuple,
    start: tuple[str, ...],
    first: Algebra | None = None,
    each: Callable[[sp.Expr], tuple] = lambda at: (),
    between: Callable[[Fact], tuple[Step, ...]] = lambda before: (),
    always: str = "",
    reasons: tuple[str, str, str] = ("", "", ""),
) -> tuple[Step, ...]:
    """value(ℓ) ≤ bound for ℓ from 0 to L: suppose it before a layer, show it after, and at first.

    Args:
        name: of the fact, and, with "before", "after" and "at first", of the steps to it.
        value: what is bounded, after a layer.
        bound: an expression in ℓ.
        layer: how the fact after a layer follows from ``uses``, in which ``name before`` is one.
        start: the facts from which it follows at first, by ``first``.
        each: ranges of other indices of the fact, after a layer.
        between: steps from what is supposed to what ``uses`` names.
        always: the fact's own name, where it is another.
        reasons: for the reader: of the supposition, of the step, of the whole.
    """
    at = lambda where: le(value(where), bound.subs(ell, where), *each(where))  # noqa: E731
    before, after = at(ell - 1), at(ell)
    supposition, step, whole = reasons
    return (
        Step(f"{name} before", supposed(before, LAYERS), Suppose(), reason=supposition),
        *between(before),
        Step(
            f"{name} after",
            le(after.left, after.right, LAYERS, *after.each, given=(before,)),
            layer,
            uses=uses,
            reason=step,
        ),
        Step(f"{name} at first", at(0), first or Algebra(), uses=start),
        Step(
            always or name,
            le(after.left, after.right, (ell, 0, L), *after.each),
            Induction(),
            uses=(f"{name} at first", f"{name} after"),
            reason=whole,
        ),
    )
