"""A lemma: a recursion without biases has a product form. T3 and T5 use it."""

import sympy as sp

from qnotes.theorems.facts import le
from qnotes.theorems.notation import LAYERS, D, L, delta, ell, j, k, p, q, r
from qnotes.theorems.over_layers import over_layers
from qnotes.theorems.rules import Algebra, Replace
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of


def others(norm: sp.IndexedBase) -> sp.Expr:
    """The product of all norms but that of layer k."""
    return sp.Product(norm[j], (j, 1, k - 1)) * sp.Product(norm[j], (j, k + 1, L))


_GROWN = D * sp.Product(r[j], (j, 1, ell))
_MADE = D * sp.Sum(delta[k] * others(r).subs(L, ell), (k, 1, ell))

SOLVED = Result(
    number="solved recursion",
    name="the product form of a recursion",
    source="A lemma of this book.",
    statement=sp.Le(q[L], D * sp.Sum(delta[k] * others(r), (k, 1, L))),
    hypotheses=(
        Hypothesis(
            "p and q are not above D and 0 at first; a layer makes p at most r p, and q at most "
            "r q + δ p",
            facts={
                "p 0": le(p[0], D),
                "p": le(p[ell], r[ell] * p[ell - 1], LAYERS),
                "q 0": le(q[0], 0),
                "q": le(q[ell], r[ell] * q[ell - 1] + delta[ell] * p[ell - 1], LAYERS),
            },
        ),
    ),
)


@proof_of(SOLVED)
def prove(theorem: Result) -> tuple[Step, ...]:
    """Both by induction over the layers."""
    (goal,) = theorem.goals()
    split = ("", "The last factor, and the last term, are split off.", "")
    return (
        *over_layers(
            "p",
            lambda at: p[at],
            _GROWN,
            layer=Algebra((1, r[ell])),
            uses=("p", "p before"),
            start=("p 0",),
            always="all p",
            reasons=split,
        ),
        *over_layers(
            "q",
            lambda at: q[at],
            _MADE,
            layer=Algebra((1, r[ell], delta[ell])),
            uses=("q", "q before", ("all p", {ell: ell - 1})),
            start=("q 0",),
            always="all q",
            reasons=split,
        ),
        Step("statement", goal, Algebra(), uses=(("all q", {ell: L}),)),
    )


def row_of_changes(bound, entry, count, largest, *, name: str, each) -> tuple[Step, ...]:
    """So many changes, none above the largest, are at most so many times the largest.

    Args:
        bound: what is at most the sum of the entries, as the fact ``name`` says.
        entry: an entry of the row, as a function of its index; the fact ``name entries`` bounds it.
        count: how many entries the row has.
        largest: what no entry exceeds.
        name: of the two facts, and of the step.
        each: ranges of the free indices.
    """
    from qnotes.theorems.notation import i

    total = sp.Sum(entry(i), (i, 1, count))
    return (
        Step(
            f"{name}, summed",
            le(total, count * largest, *each),
            Replace(),
            uses=(f"{name} entries",),
            reason="So many entries, none above the largest.",
        ),
        Step(
            f"{name} at most",
            le(bound, count * largest, *each),
            Algebra(),
            uses=(name, f"{name}, summed"),
        ),
    )
