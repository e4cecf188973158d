"""T11, Euclidean norms: the recursion T2 with spectral norms, in ℓ²."""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.axioms import Euclidean
from qnotes.theorems.facts import le
from qnotes.theorems.notation import D, E, L, N, e_euclid, ell, rho, s_euclid
from qnotes.theorems.rules import Algebra
from qnotes.theorems.T1_decomposition import DECOMPOSITION, S, S_q
from qnotes.theorems.T2_recursion import along_the_chain, inputs, sizes
from qnotes.theorems.T17_slopes import lipschitz, one_layer
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of

_FAMILIES = (rho, sy.rho_change, sy.beta_euclid, sy.gamma_euclid)

EUCLIDEAN = Result(
    number="T11",
    name="Euclidean norms",
    source="The recursion T2 in ℓ² with upper bounds of spectral norms. `qnotes.certify` has it.",
    whose="classical",
    statement=sp.Le(E, e_euclid[L], evaluate=False),
    definitions={
        s_euclid[0]: D * sp.sqrt(N[0]),
        e_euclid[0]: sp.Integer(0),
        s_euclid[ell]: rho[ell] * s_euclid[ell - 1] + sy.beta_euclid[ell],
        e_euclid[ell]: rho[ell] * e_euclid[ell - 1]
        + sy.rho_change[ell] * s_euclid[ell - 1]
        + sy.gamma_euclid[ell],
    },
    hypotheses=(
        Hypothesis(
            "activations and pooling are κ-Lipschitz in ℓ²; overlapping max-pooling is not, with "
            "κ = 1",
            facts=lipschitz(Euclidean),
        ),
        Hypothesis(
            "both networks read the same input, no coordinate of it above D",
            facts=inputs(D * sp.sqrt(N[0]), Euclidean),
        ),
        Hypothesis(
            "no coordinate of the output changes by more than its Euclidean norm; E is the largest "
            "error, S and S' the activations at an input where it occurs",
            facts={"worst input": le(E, Euclidean(S[L] - S_q[L]))},
        ),
        Hypothesis(
            "ρ is at least κ times the spectral norm of a layer in both networks, δρ at least κ "
            "times that of the change; hatted β and γ bound κ times the biases, with σ(0), and "
            "their change in ℓ²",
            facts=sizes(*_FAMILIES, Euclidean),
        ),
    ),
    premises=(DECOMPOSITION,),
)


@proof_of(EUCLIDEAN)
def prove(theorem: Result) -> tuple[Step, ...]:
    """T17 in this norm, then as T2."""
    (goal,) = theorem.goals()
    return (
        *one_layer(theorem, Euclidean),
        *along_the_chain(_FAMILIES, s_euclid, e_euclid, Euclidean),
        Step("statement", goal, Algebra(), uses=("worst input", ("errors", {ell: L}))),
    )
