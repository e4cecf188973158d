"""T2 to T6: bounds that give each layer a norm of its own (theory, sections 1 and 3)."""

import sympy as sp

from qnotes.theory import prove_layerwise as prove
from qnotes.theory.decomposition import DECOMPOSITION
from qnotes.theory.symbols import (
    D,
    E,
    L,
    beta,
    delta,
    e,
    ell,
    eps,
    eps_layer,
    gamma,
    j,
    k,
    n,
    n_joint,
    r,
    r_joint,
    r_joint_mean,
    r_joint_min,
    r_mean,
    r_min,
    s,
)
from qnotes.theory.theorem import Hypothesis, Recursion, Theorem


def _has_biases(profile) -> str | None:
    biased = [x.name for x in profile.layers if x.bias_norm > 0 or x.bias_gap > 0]
    if not biased:
        return None
    return f"needs a network without biases; {len(biased)} layers have one, first {biased[0]!r}"


def _has_no_convolution(profile) -> str | None:
    if any(layer.kind == "convolution" for layer in profile.layers):
        return None
    return "needs a convolution; this network has none"


def _others(norm: sp.IndexedBase) -> sp.Expr:
    """The product of all norms but that of layer k."""
    return sp.Product(norm[j], (j, 1, k - 1)) * sp.Product(norm[j], (j, k + 1, L))


def _leave_one_out_mean(norm: sp.IndexedBase, smallest: sp.Symbol) -> sp.Expr:
    """The largest mean of L-1 of the L norms."""
    return (sp.Sum(norm[j], (j, 1, L)) - smallest) / (L - 1)


NO_BIASES = Hypothesis("no biases", _has_biases)
LIPSCHITZ = Hypothesis("activations are 1-Lipschitz with σ(0) = 0")
OUR_PROOF = "The form and the proof are our own."
PAPER_SHAPE = (
    "The shape, a power of a mean of arbitrary layer norms times a sum of layer sizes, is the "
    "paper's (Houache, Aujol and Traonmilin, arXiv:2502.01156). "
)
MEAN_IS_OURS = "The paper's definition of the mean is not publicly visible; this one is our own."

RECURSION = Recursion(
    number="T2",
    form="",
    name="recursion along the chain",
    source="Classical in form; stated and proved here. " + OUR_PROOF,
    whose="classical",
    statement=sp.Le(E, e[L]),
    hypotheses=(LIPSCHITZ,),
    initial={s: D, e: sp.Integer(0)},
    steps={
        s: r[ell] * s[ell - 1] + beta[ell],
        e: r[ell] * e[ell - 1] + delta[ell] * s[ell - 1] + gamma[ell],
    },
    tight=True,
    premises=(DECOMPOSITION,),
    prove=prove.prove_recursion,
)

PRODUCT_FORM = Theorem(
    number="T3",
    form="product form",
    name="layerwise bound without biases, product form",
    source="The step before the paper's bound. " + OUR_PROOF,
    statement=sp.Le(E, D * sp.Sum(delta[k] * _others(r), (k, 1, L))),
    hypotheses=(LIPSCHITZ, NO_BIASES),
    tight=True,
    premises=(RECURSION,),
    prove=prove.prove_product_form,
)

MEAN_FORM = Theorem(
    number="T4",
    form="mean form",
    name="layerwise bound without biases, mean form",
    source=PAPER_SHAPE + MEAN_IS_OURS,
    whose="the paper's, in our form",
    statement=sp.Le(E, D * r_mean ** (L - 1) * sp.Sum(n[k], (k, 1, L)) * eps),
    definitions={r_mean: _leave_one_out_mean(r, r_min)},
    hypotheses=(LIPSCHITZ, NO_BIASES),
    tight=True,
    premises=(PRODUCT_FORM,),
    prove=prove.prove_mean_form,
)

PRODUCT_FORM_WITH_BIASES = Theorem(
    number="T5",
    form="product form",
    name="layerwise bound with biases, product form",
    source="The step before the paper's bound. " + OUR_PROOF,
    statement=sp.Le(
        E, sp.Max(D, 1) * sp.Sum(n_joint[k] * eps_layer[k] * _others(r_joint), (k, 1, L))
    ),
    hypotheses=(LIPSCHITZ,),
    tight=True,
    premises=(PRODUCT_FORM,),
    prove=prove.prove_product_form_with_biases,
)

MEAN_FORM_WITH_BIASES = Theorem(
    number="T5",
    form="mean form",
    name="layerwise bound with biases, mean form",
    source=PAPER_SHAPE + MEAN_IS_OURS,
    whose="the paper's, in our form",
    statement=sp.Le(
        E, sp.Max(D, 1) * r_joint_mean ** (L - 1) * sp.Sum(n_joint[k], (k, 1, L)) * eps
    ),
    definitions={r_joint_mean: _leave_one_out_mean(r_joint, r_joint_min)},
    hypotheses=(LIPSCHITZ,),
    tight=True,
    premises=(PRODUCT_FORM_WITH_BIASES,),
    prove=prove.prove_mean_form_with_biases,
)

CONVOLUTION = Theorem(
    number="T6",
    form="mean form",
    name="convolutional networks",
    source=(
        "The paper has norms of convolutions, and counts the weights of a kernel over all "
        "channels. Here a convolution is a dense layer that reads the weights of one filter, and "
        "T5 does the rest. " + OUR_PROOF
    ),
    whose="the paper's, in our form",
    statement=MEAN_FORM_WITH_BIASES.statement,
    definitions=MEAN_FORM_WITH_BIASES.definitions,
    hypotheses=(
        LIPSCHITZ,
        Hypothesis("at least one layer is a convolution", _has_no_convolution),
    ),
    tight=True,
    premises=(MEAN_FORM_WITH_BIASES,),
    prove=prove.prove_convolution,
)
