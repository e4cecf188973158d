"""T2 to T7: bounds that give each layer a norm of its own (theory, sections 1 and 3)."""

import sympy as sp

from qnotes.theory.symbols import (
    D,
    E,
    L,
    W,
    beta,
    delta,
    e,
    ell,
    eps,
    eps_layer,
    gain,
    gamma,
    j,
    k,
    n,
    n_joint,
    n_mean,
    r,
    r_joint,
    r_joint_mean,
    r_joint_min,
    r_max,
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
OUR_PROOF = "The form and the proof are our own."
PAPER_SHAPE = (
    "Shape max(D,1) r_mean^(L-1) Σ_ℓ N_{ℓ-1} ‖θ-θ'‖_∞ with arbitrary layer norms: the paper "
    "(Houache, Aujol and Traonmilin, arXiv:2502.01156). "
)
MEAN_IS_OURS = "The paper's definition of r_mean is not publicly visible; this one is our own."

RECURSION = Recursion(
    number="T2",
    form="",
    name="recursion along the chain",
    source="Classical in form; stated and proved here. " + OUR_PROOF,
    statement=sp.Le(E, e[L]),
    hypotheses=(Hypothesis("activations are 1-Lipschitz with σ(0) = 0"),),
    initial={s: D, e: sp.Integer(0)},
    steps={
        s: r[ell] * s[ell - 1] + beta[ell],
        e: r[ell] * e[ell - 1] + delta[ell] * s[ell - 1] + gamma[ell],
    },
    tight=True,
)

PRODUCT_FORM = Theorem(
    number="T3",
    form="product form",
    name="layerwise bound without biases, product form",
    source="The step before the paper's bound. " + OUR_PROOF,
    statement=sp.Le(E, D * sp.Sum(delta[k] * _others(r), (k, 1, L))),
    hypotheses=(NO_BIASES,),
    tight=True,
)

MEAN_FORM = Theorem(
    number="T4",
    form="mean form",
    name="layerwise bound without biases, mean form",
    source=PAPER_SHAPE + MEAN_IS_OURS,
    statement=sp.Le(E, D * r_mean ** (L - 1) * sp.Sum(n[k], (k, 1, L)) * eps),
    definitions={r_mean: _leave_one_out_mean(r, r_min)},
    hypotheses=(NO_BIASES,),
    tight=True,
)

PRODUCT_FORM_WITH_BIASES = Theorem(
    number="T5",
    form="product form",
    name="layerwise bound with biases, product form",
    source="The step before the paper's bound. " + OUR_PROOF,
    statement=sp.Le(
        E, sp.Max(D, 1) * sp.Sum(n_joint[k] * eps_layer[k] * _others(r_joint), (k, 1, L))
    ),
    hypotheses=(),
    tight=True,
)

MEAN_FORM_WITH_BIASES = Theorem(
    number="T5",
    form="mean form",
    name="layerwise bound with biases, mean form",
    source=PAPER_SHAPE + MEAN_IS_OURS,
    statement=sp.Le(
        E, sp.Max(D, 1) * r_joint_mean ** (L - 1) * sp.Sum(n_joint[k], (k, 1, L)) * eps
    ),
    definitions={r_joint_mean: _leave_one_out_mean(r_joint, r_joint_min)},
    hypotheses=(),
    tight=True,
)

CONVOLUTION = Theorem(
    number="T6",
    form="mean form",
    name="convolutional networks",
    source=(
        "The paper replaces r_mean by r_conv and N_{ℓ-1} by p_ℓ² c_{ℓ-1}. Here a convolution is a "
        "dense layer of fan-in n_ℓ = p_h p_w c_{ℓ-1}/groups, and T5 does the rest. " + OUR_PROOF
    ),
    statement=MEAN_FORM_WITH_BIASES.statement,
    definitions=MEAN_FORM_WITH_BIASES.definitions,
    hypotheses=(Hypothesis("at least one layer is a convolution", _has_no_convolution),),
    tight=True,
)

GAIN_FACTORS = {
    "depth": (L + 3) / sp.Integer(2),
    "width": W / n_mean,
    "norms": (r_max / r_joint_mean) ** (L - 1),
}

GAIN = Theorem(
    number="T7",
    form="gain",
    name="gain of the layerwise bound over one norm for all layers",
    source="The paper reports a gain of several orders of magnitude that comes mostly from depth. "
    "The formula is the quotient of our P2 and our T5 (mean form).",
    statement=sp.Eq(gain, sp.Mul(*GAIN_FACTORS.values())),
    definitions={
        r_joint_mean: _leave_one_out_mean(r_joint, r_joint_min),
        n_mean: sp.Sum(n_joint[k], (k, 1, L)) / L,
    },
    hypotheses=(),
)
