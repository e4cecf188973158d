"""T4, the layerwise bound without biases, mean form: a mean of norms to the power L - 1.

From T3 by the inequality of the means. The mean leaves the smallest norm out: it is the largest
mean of L - 1 of the L norms, since each term of T3 lacks another norm. The plain mean is no bound.
"""

import sympy as sp

from qnotes.theorems.notation import D, E, L, delta, eps, eps_layer, i, j, k, n, r, r_mean, r_min
from qnotes.theorems.proof_steps import (
    Cases,
    ClosedSum,
    Convex,
    Identity,
    Nonnegative,
    Step,
    equation,
)
from qnotes.theorems.sums_over_layers import evaluated, replaced, written_out
from qnotes.theorems.T2_recursion import LIPSCHITZ
from qnotes.theorems.T3_product_form import NO_ACCESS, NO_BIASES, PRODUCT_FORM
from qnotes.theorems.theorem import Theorem, proof_of


def leave_one_out_mean(norm: sp.IndexedBase, smallest: sp.Symbol) -> sp.Expr:
    """The largest mean of L-1 of the L norms."""
    return (sp.Sum(norm[j], (j, 1, L)) - smallest) / (L - 1)


MEAN_FORM = Theorem(
    number="T4",
    form="mean form",
    name="layerwise bound without biases, mean form",
    source="The shape, a power of a mean of arbitrary layer norms times a sum of layer sizes, is "
    "the paper's (Houache, Aujol and Traonmilin, arXiv:2502.01156). "
    + NO_ACCESS
    + "The definition of the mean is our own.",
    whose="the paper's, in our form",
    statement=sp.Le(E, D * r_mean ** (L - 1) * sp.Sum(n[k], (k, 1, L)) * eps),
    definitions={r_mean: leave_one_out_mean(r, r_min)},
    hypotheses=(LIPSCHITZ, NO_BIASES),
    tight=True,
    premises=(PRODUCT_FORM,),
)


@proof_of(MEAN_FORM)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """The product form, row sums by fan-ins, and the inequality of the means."""
    (product_form,) = theorem.premises
    relaxed = replaced(product_form.statement.rhs, {delta: lambda index: n[index] * eps})
    return (
        row_of_changes(
            "n_k",
            title="a row of changes",
            reason="A row of $W - W'$ has at most $n$ entries, each at most ε: so "
            "$\\delta \\le n ε$.",
        ),
        *mean_steps(theorem, relaxed, r, r_mean, r_min, n),
    )


def row_of_changes(count: str, *, title: str, reason: str) -> Step:
    """So many changes of at most ε are at most so many times ε."""
    terms = sp.Symbol(count, integer=True, positive=True)
    total = sp.Sum(eps_layer[k], (i, 1, terms))
    return ClosedSum(title=title, reason=reason, total=total, closed=terms * eps_layer[k])


def mean_steps(theorem: Theorem, relaxed, norm, mean, smallest, fan_in) -> tuple[Step, ...]:
    """From a product form, relaxed to one gap for all layers, to the mean form: for T4 and T5.

    The theorem is the mean form, and defines `mean` by the norms; `norm` and `fan_in` are families.
    """
    t = sp.Symbol("t", nonnegative=True)  # slack
    m = sp.Symbol("m", integer=True, positive=True)
    rhs = theorem.statement.rhs
    without_k = (sp.Sum(norm[j], (j, 1, L)) - norm[k]) / (L - 1)
    return (
        Nonnegative(
            title="one gap for all layers",
            reason="No layer changes by more than ε, the largest change.",
            larger=fan_in[k] * eps,
            smaller=fan_in[k] * eps_layer[k],
            certificate=fan_in[k] * t,
            given={eps: eps_layer[k] + t},
        ),
        *_means_inequality(),
        Nonnegative(
            title="one mean for all layers",
            reason="Leaving out the smallest norm leaves the largest mean, for L ≥ 2.",
            larger=theorem.definitions[mean],
            smaller=without_k,
            certificate=t / m,
            given={norm[k]: smallest + t, L: m + 1},
        ),
        Identity(
            title="statement",
            reason="The L-1 norms other than that of layer k, each replaced by their largest mean.",
            left=evaluated(replaced(relaxed, {norm: mean})),
            right=rhs,
        ),
        Cases(
            title="depth 1",
            reason="A single layer has no other norm; a product of none is 1.",
            pairs=((written_out(rhs, 1), written_out(relaxed, 1)),),
            printed=(sp.Le(theorem.statement.lhs, written_out(rhs, 1), evaluate=False),),
        ),
    )


def _means_inequality() -> tuple[Step, ...]:
    """The product of m numbers is at most the m-th power of their mean: from m to m+1."""
    m = sp.Symbol("m", integer=True, positive=True)
    average = sp.Symbol("A", positive=True)
    new = sp.Symbol("x", nonnegative=True)
    joined = (m * average + new) / (m + 1)
    return (
        Identity(
            title="mean of one more number",
            reason="If A is the mean of m numbers, this is the mean of them and x.",
            left=(m + 1) * joined,
            right=m * average + new,
            printed=(equation(sp.Mul(m + 1, joined, evaluate=False), m * average + new),),
        ),
        Convex(
            title="the means, by induction",
            reason="One number equals its mean. If the product of $m$ numbers is at most $A^m$, "
            "then with $x$ it is at most $A^m x$; and the difference below, as a function of $x$, "
            "is zero with slope zero at $x = A$ and convex, hence nowhere negative.",
            expression=joined ** (m + 1) - average**m * new,
            variable=new,
            touches=average,
        ),
    )
