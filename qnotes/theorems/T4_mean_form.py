"""T4, the layerwise bound without biases, mean form: a mean of norms to the power L - 1.

From T3 by the inequality of the means. The mean leaves the smallest norm out: it is the largest
mean of L - 1 of the L norms, since each term of T3 lacks another norm. The plain mean is no bound.
"""

import sympy as sp

from qnotes.theorems.facts import eq, ge, le
from qnotes.theorems.inequality_of_means import MEANS
from qnotes.theorems.notation import (
    LAYERS,
    D,
    E,
    L,
    c,
    delta,
    ell,
    eps,
    eps_layer,
    i,
    j,
    k,
    n,
    r,
    r_mean,
    r_min,
)
from qnotes.theorems.rules import Algebra, Apply, Replace, Split
from qnotes.theorems.solved_recursion import others, row_of_changes
from qnotes.theorems.T2_recursion import DOMAIN, NORMS
from qnotes.theorems.T3_product_form import NO_ACCESS, NO_BIASES, PRODUCT_FORM
from qnotes.theorems.T17_slopes import LIPSCHITZ
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of


def leave_one_out_mean(norm: sp.IndexedBase, smallest: sp.Symbol) -> sp.Expr:
    """The largest mean of L-1 of the L norms."""
    return (sp.Sum(norm[j], (j, 1, L)) - smallest) / (L - 1)


def smallest_of(norm: sp.IndexedBase, smallest: sp.Symbol) -> Hypothesis:
    """That no norm is below the smallest."""
    text = "the smallest norm is left out of the mean"
    return Hypothesis(text, facts={"smallest": le(smallest, norm[k], (k, 1, L))})


FAN_IN = Hypothesis(
    "a row of changes holds at most n numbers, κ times none above its layer's largest change",
    facts={
        "row": le(delta[ell], sp.Sum(c[ell, i], (i, 1, n[ell])), LAYERS),
        "row entries": le(c[ell, i], eps_layer[ell], LAYERS, (i, 1, n[ell])),
    },
)
ONE_GAP = Hypothesis(
    "no layer changes by more than ε", facts={"largest change": le(eps_layer[ell], eps, LAYERS)}
)

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
    hypotheses=(LIPSCHITZ, DOMAIN, NORMS, NO_BIASES, FAN_IN, ONE_GAP, smallest_of(r, r_min)),
    tight=True,
    premises=(PRODUCT_FORM, MEANS),
)


@proof_of(MEAN_FORM)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """The product form, row sums by fan-ins, and the inequality of the means."""
    product_form, means = theorem.premises
    (bound,) = product_form.goals()
    relaxed = D * sp.Sum(n[k] * eps_layer[k] * others(r), (k, 1, L))
    return (
        product_form.applied("product form"),
        *row_of_changes(
            delta[ell], lambda at: c[ell, at], n[ell], eps_layer[ell], name="row", each=(LAYERS,)
        ),
        Step(
            "by fan-ins",
            le(bound.right, relaxed),
            Replace(),
            uses=("row at most",),
            reason="Nothing else in the sum is negative.",
        ),
        Step(
            "product form by fan-ins",
            le(E, relaxed),
            Algebra(),
            uses=("product form", "by fan-ins"),
        ),
        *mean_steps(theorem, means, relaxed, (r, r_mean, r_min)),
    )


def mean_steps(theorem: Theorem, means, product, symbols) -> tuple[Step, ...]:
    """From a product form by fan-ins to the mean form: for T4 and T5.

    Args:
        theorem: the mean form, which defines the mean.
        means: the inequality of the means.
        product: the right side of the fact ``product form by fan-ins``.
        symbols: the norms, their mean and the smallest of them.
    """
    norm, mean, smallest = symbols
    (goal,) = theorem.goals()
    one_gap = product.xreplace({eps_layer[k]: eps})
    meanings = {} if norm == r else {r: norm, r_mean: mean, r_min: smallest}
    return (
        Step("one gap", le(product, one_gap), Replace(), uses=("largest change",)),
        Step(
            "means",
            le(others(norm), mean ** (L - 1), (k, 1, L)),
            Apply(means, meanings),
            uses=("smallest", mean.name),
        ),
        Step(
            "one mean",
            le(one_gap, goal.right),
            Replace(),
            uses=("means",),
            reason="One mean for all layers. A single layer has no other norm: $1 \\le 1$.",
        ),
        Step("statement", goal, Algebra(), uses=("product form by fan-ins", "one gap", "one mean")),
        *sign_of_mean(norm, mean, smallest),
    )


def sign_of_mean(norm, mean, smallest) -> tuple[Step, ...]:
    """That the mean has the sign that its symbol declares; at least 1 where all norms are."""
    total = sp.Sum(norm[j], (j, 1, L))
    before, after = sp.Sum(norm[j], (j, 1, L - 1)), sp.Sum(norm[j], (j, L + 1, L))
    last = Step("last norm", eq(total, before + norm[L] + after), Split(L))
    uses = ("last norm", ("smallest", {k: L}))
    if not mean.is_positive:
        reason = "So the mean is not negative."
        shown, rule = ge(total - smallest, 0), Algebra((-1, 1), gives_away=True)
        return last, Step("sign", shown, rule, uses, reason=reason)
    shown, rule = ge(total - smallest, L - 1), Algebra((-1, 1, 1))
    reason = "So the mean of two or more layers is at least 1."
    return (
        last,
        Step("norms before the last", ge(before, L - 1), Replace(), ("at least one",)),
        Step("sign", shown, rule, (*uses, "norms before the last"), reason=reason),
    )
