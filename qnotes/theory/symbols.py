"""The notation: one SymPy symbol for each quantity, its meaning, and how a profile supplies it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

# Indices of layers.
k, j, i = (sp.Symbol(letter, integer=True, positive=True) for letter in "kji")
ell = sp.Symbol("ell", integer=True, positive=True)

# Quantities of the whole network.
E = sp.Symbol("E", nonnegative=True)
L = sp.Symbol("L", integer=True, positive=True)
D = sp.Symbol("D", positive=True)
W = sp.Symbol("W", integer=True, positive=True)
W_chain = sp.Symbol("W_chain", integer=True, positive=True)
R = sp.Symbol("R", positive=True)
r_max = sp.Symbol("r", positive=True)
r_joint_max = sp.Symbol("rtilde", positive=True)
eps = sp.Symbol("varepsilon", nonnegative=True)

# Quantities of each layer; the names differ from those above so that SymPy tells them apart.
r = sp.IndexedBase("r_layer", nonnegative=True)
r_joint = sp.IndexedBase("rtilde_layer", positive=True)
n = sp.IndexedBase("n_layer", nonnegative=True)
n_joint = sp.IndexedBase("ntilde_layer", nonnegative=True)
eps_layer = sp.IndexedBase("varepsilon_layer", nonnegative=True)
delta = sp.IndexedBase("delta_layer", nonnegative=True)
beta = sp.IndexedBase("beta_layer", nonnegative=True)
gamma = sp.IndexedBase("gamma_layer", nonnegative=True)


# Matrices and vectors of each layer, which do not commute; a prime marks the quantized network.
def _matrices(name: str) -> sp.IndexedBase:
    return sp.IndexedBase(name, commutative=False)


W_matrix, W_matrix_q = _matrices("W_matrix"), _matrices("W'_matrix")
b_vector, b_vector_q = _matrices("b_vector"), _matrices("b'_vector")
S_vector, S_vector_q = _matrices("S_vector"), _matrices("S'_vector")

# Entries: absolute weights |w|, rescalings d, and the vectors u, v of the vector form.
A = sp.IndexedBase("A_layer", nonnegative=True)
A_q = sp.IndexedBase("A'_layer", nonnegative=True)
A_change = sp.IndexedBase("dA_layer", nonnegative=True)
b_abs_q = sp.IndexedBase("b'_abs", nonnegative=True)
b_change = sp.IndexedBase("db_layer", nonnegative=True)
d = sp.IndexedBase("d_layer", positive=True)
u = sp.IndexedBase("u_layer", nonnegative=True)
v = sp.IndexedBase("v_layer", nonnegative=True)
N = sp.IndexedBase("N_layer", integer=True, positive=True)

abs_error = sp.IndexedBase("Delta_abs", nonnegative=True)
difference, low, high = (
    sp.IndexedBase(f"Delta_{what}", real=True) for what in ("layer", "low", "high")
)
s_euclid, e_euclid, beta_euclid, gamma_euclid = (
    sp.IndexedBase(f"{what}_euclid", nonnegative=True) for what in ("s", "e", "beta", "gamma")
)

# Bits (T12), Euclidean norms (T11) and probabilities (T13).
bits = sp.Symbol("b", positive=True)
C = sp.Symbol("C", positive=True)
tau = sp.Symbol("tau", positive=True)
largest = sp.Symbol("a", positive=True)
rho, rho_change = (sp.IndexedBase(f"{what}_layer", nonnegative=True) for what in ("rho", "drho"))
error_norm, mu_error, sigma_error, risk = sp.symbols("Delta_L mu_L sigma_L risk", positive=True)
best = sp.Symbol("best", nonnegative=True)

# Quantities that the theorems define from those above.
s = sp.IndexedBase("s_layer", nonnegative=True)
e = sp.IndexedBase("e_layer", nonnegative=True)
r_min = sp.Symbol("r_min", nonnegative=True)
r_joint_min = sp.Symbol("rtilde_min", positive=True)
r_mean = sp.Symbol("r_mean", nonnegative=True)
r_joint_mean = sp.Symbol("rtilde_mean", positive=True)
n_mean = sp.Symbol("n_mean", positive=True)
gain = sp.Symbol("G", nonnegative=True)

LATEX = {
    ell: r"\ell",
    W_matrix: "W",
    W_matrix_q: "W'",
    b_vector: "b",
    b_vector_q: "b'",
    S_vector: "S",
    S_vector_q: "S'",
    A: "|W|",
    A_q: "|W'|",
    A_change: "|W-W'|",
    b_abs_q: "|b'|",
    b_change: "|b-b'|",
    d: "d",
    u: "u",
    v: "v",
    N: "N",
    rho: r"\rho",
    rho_change: r"\delta\rho",
    abs_error: r"|\Delta|",
    difference: r"\Delta",
    low: r"\underline{\Delta}",
    high: r"\overline{\Delta}",
    s_euclid: r"\hat s",
    e_euclid: r"\hat e",
    beta_euclid: r"\hat\beta",
    gamma_euclid: r"\hat\gamma",
    error_norm: r"\|\Delta_L\|_2",
    risk: r"\delta",
    best: r"\inf_{d} \prod_{\ell=1}^{L} \|D_\ell W_\ell D_{\ell-1}^{-1}\|",
    W_chain: r"W_{\mathrm{chain}}",
    r_joint_max: r"\tilde r",
    eps: r"\varepsilon",
    r: "r",
    n: "n",
    s: "s",
    e: "e",
    r_joint: r"\tilde r",
    n_joint: r"\tilde n",
    eps_layer: r"\varepsilon",
    delta: r"\delta",
    beta: r"\beta",
    gamma: r"\gamma",
    r_min: r"r_{\min}",
    r_joint_min: r"\tilde r_{\min}",
    r_mean: r"r_{\mathrm{mean}}",
    r_joint_mean: r"\tilde r_{\mathrm{mean}}",
    n_mean: r"\bar n",
}


@dataclass(frozen=True)
class Quantity:
    """What a symbol means, and its value (or one value a layer) for a profile."""

    meaning: str
    value: Callable[[object], object]


def _each(attribute: str) -> Callable[[object], list[float]]:
    return lambda profile: [getattr(layer, attribute) for layer in profile.layers]


def _joint_norms(profile) -> list[float]:
    # The constant coordinate that carries the biases has a row sum of 1.
    return [max(1.0, layer.joint_norm) for layer in profile.layers]


def _joint_fan_ins(profile) -> list[int]:
    return [layer.fan_in + (layer.bias_gap > 0) for layer in profile.layers]


def _gaps(profile) -> list[float]:
    return [max(layer.gap, layer.bias_gap) for layer in profile.layers]


QUANTITIES: dict[sp.Basic, Quantity] = {
    L: Quantity("number of affine layers", lambda p: p.depth),
    D: Quantity("radius of the input domain: no input coordinate is larger", lambda p: p.radius),
    W: Quantity(
        "coordinates of the largest feature map that weights read",
        lambda p: max(layer.reads for layer in p.layers),
    ),
    W_chain: Quantity(
        "length of the longest row of the chain, skip coordinates included",
        lambda p: max(
            p.input_width,
            *(layer.row for layer in p.layers),
            *(layer.width for layer in p.layers[:-1]),
        ),
    ),
    R: Quantity(
        "largest absolute weight or bias of both networks, at least 1",
        lambda p: max(1.0, *(layer.peak for layer in p.layers)),
    ),
    r_max: Quantity(
        "largest layer norm or absolute bias, at least 1",
        lambda p: max(1.0, *(max(layer.norm, layer.bias_norm) for layer in p.layers)),
    ),
    r_joint_max: Quantity(
        "largest layer norm, biases included, at least 1", lambda p: max(_joint_norms(p))
    ),
    eps: Quantity("largest change of a weight or bias", lambda p: max(_gaps(p))),
    r: Quantity("norm of layer ℓ: the larger of those of both networks", _each("norm")),
    r_joint: Quantity("norm of layer ℓ with its biases, at least 1", _joint_norms),
    n: Quantity("fan-in of layer ℓ: most weights that one output reads", _each("fan_in")),
    n_joint: Quantity("fan-in, plus 1 where biases are quantized too", _joint_fan_ins),
    eps_layer: Quantity("largest change of a weight or bias of layer ℓ", _gaps),
    delta: Quantity("norm of the change of layer ℓ", _each("gap_norm")),
    beta: Quantity("largest absolute bias of layer ℓ", _each("bias_norm")),
    gamma: Quantity("largest change of a bias of layer ℓ", _each("bias_gap")),
    r_min: Quantity("smallest layer norm", lambda p: min(layer.norm for layer in p.layers)),
    r_joint_min: Quantity("smallest layer norm, biases included", lambda p: min(_joint_norms(p))),
}
