"""The notation: one SymPy symbol for each quantity, its meaning, and how a profile supplies it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

#: How the book writes a symbol, where SymPy would print its name.
LATEX: dict[sp.Basic, str] = {}


def _symbol(name: str, latex: str = "", **assumptions: bool) -> sp.Symbol:
    symbol = sp.Symbol(name, **assumptions)
    if latex:
        LATEX[symbol] = latex
    return symbol


def _family(name: str, latex: str, **assumptions: bool) -> sp.IndexedBase:
    """A quantity of each layer; its name differs from those of the network's quantities."""
    family = sp.IndexedBase(name, **assumptions)
    LATEX[family] = latex
    return family


# Indices of layers.
k, j, i = (_symbol(letter, integer=True, positive=True) for letter in "kji")
ell = _symbol("ell", r"\ell", integer=True, positive=True)

# Quantities of the whole network.
L = _symbol("L", integer=True, positive=True)
#: The layers, as the range of an index.
LAYERS = (ell, sp.S.One, L)
E = _symbol("E", nonnegative=True)
D = _symbol("D", positive=True)
W = _symbol("W", integer=True, positive=True)
W_chain = _symbol("W_chain", r"W_{\mathrm{chain}}", integer=True, positive=True)
R = _symbol("R", positive=True)
r_max = _symbol("r", positive=True)
r_joint_max = _symbol("rtilde", r"\tilde r", positive=True)
eps = _symbol("varepsilon", r"\varepsilon", nonnegative=True)

# Quantities of each layer.
r = _family("r_layer", "r", nonnegative=True)
r_joint = _family("rtilde_layer", r"\tilde r", positive=True)
n = _family("n_layer", "n", integer=True, positive=True)
n_joint = _family("ntilde_layer", r"\tilde n", integer=True, positive=True)
eps_layer = _family("varepsilon_layer", r"\varepsilon", nonnegative=True)
delta = _family("delta_layer", r"\delta", nonnegative=True)
beta = _family("beta_layer", r"\beta", nonnegative=True)
gamma = _family("gamma_layer", r"\gamma", nonnegative=True)
# Slopes of the activations after a layer: of differences, and of what they add to their value at 0.
kappa = _family("kappa_layer", r"\kappa", nonnegative=True)
growth = _family("growth_layer", "g", nonnegative=True)

# Matrices and vectors of each layer, which do not commute; a prime marks the quantized network.
W_matrix = _family("W_matrix", "W", commutative=False)
W_matrix_q = _family("W'_matrix", "W'", commutative=False)
b_vector = _family("b_vector", "b", commutative=False)
b_vector_q = _family("b'_vector", "b'", commutative=False)
S_vector = _family("S_vector", "S", commutative=False)
S_vector_q = _family("S'_vector", "S'", commutative=False)
#: What the activations after a layer make of zeros.
at_zero = _family("sigma0_vector", r"\sigma(0)", commutative=False)

# Entries: absolute weights |w|, rescalings d, and the vectors u, v of the vector form.
A = _family("A_layer", "|W|", nonnegative=True)
A_q = _family("A'_layer", "|W'|", nonnegative=True)
A_change = _family("dA_layer", "|W-W'|", nonnegative=True)
b_abs_q = _family("b'_abs", "|b'|", nonnegative=True)
b_change = _family("db_layer", "|b-b'|", nonnegative=True)
d = _family("d_layer", "d", positive=True)
u = _family("u_layer", "u", nonnegative=True)
v = _family("v_layer", "v", nonnegative=True)
N = _family("N_layer", "N", integer=True, positive=True)
# Entries of the row that decides: its absolute changes c, its absolute weights w; sequences p, q.
c = _family("c_layer", "c", nonnegative=True)
w = _family("w_layer", "w", nonnegative=True)
p = _family("p_layer", "p", nonnegative=True)
q = _family("q_layer", "q", nonnegative=True)
abs_error = _family("Delta_abs", r"|\Delta|", nonnegative=True)

# Entries with their signs (T10, T15): weights and their positive and negative parts, biases, what
# layers make (z) and what activations make of it (S), and Δ = S - S'.
w_entry = _family("w_entry", "w", real=True)
w_entry_q = _family("w'_entry", "w'", real=True)
w_plus, w_minus, w_plus_q, w_minus_q, c_plus, c_minus = (
    _family(name, latex, nonnegative=True)
    for name, latex in (
        ("w_plus", "w^{+}"),
        ("w_minus", "w^{-}"),
        ("w'_plus", r"w^{\prime+}"),
        ("w'_minus", r"w^{\prime-}"),
        ("c_plus", "(w-w')^{+}"),
        ("c_minus", "(w-w')^{-}"),
    )
)
b_entry = _family("b_entry", "b", real=True)
b_entry_q = _family("b'_entry", "b'", real=True)
z_entry = _family("z_entry", "z", real=True)
z_entry_q = _family("z'_entry", "z'", real=True)
S_entry = _family("S_entry", "S", real=True)
S_entry_q = _family("S'_entry", "S'", real=True)
error_entry = _family("Delta_entry", r"\Delta", real=True)
#: 1 where both networks are on a piece of slope 1 of the activation, 0 where that is not known.
straight = _family("straight", r"\chi", nonnegative=True)

# Affine forms (T15): their symbols ξ, so many.
g = _symbol("g", integer=True, positive=True)
symbols_count = _symbol("m_symbols", "m", integer=True, positive=True)
xi = _family("xi", r"\xi", real=True)

# Euclidean norms (T11), bits (T12).
s_euclid = _family("s_euclid", r"\hat s", nonnegative=True)
e_euclid = _family("e_euclid", r"\hat e", nonnegative=True)
beta_euclid = _family("beta_euclid", r"\hat\beta", nonnegative=True)
gamma_euclid = _family("gamma_euclid", r"\hat\gamma", nonnegative=True)
rho = _family("rho_layer", r"\rho", nonnegative=True)
rho_change = _family("drho_layer", r"\delta\rho", nonnegative=True)
bits = _symbol("b", positive=True)
C = _symbol("C", positive=True)
tau = _symbol("tau", positive=True)
largest = _symbol("a", positive=True)

# Draws from data (T16): how many, the share that is promised, and the shares that errors cover.
draws = _symbol("draws", "n", integer=True, positive=True)
fraction = _symbol("p", positive=True)
covered = _symbol("covered", r"F(M_k)", nonnegative=True)
largest_covered = _symbol("largest_covered", r"F(M_1)", nonnegative=True)

# Quantities that the theorems define from those above.
s = _family("s_layer", "s", nonnegative=True)
e = _family("e_layer", "e", nonnegative=True)
r_min = _symbol("r_min", r"r_{\min}", nonnegative=True)
r_joint_min = _symbol("rtilde_min", r"\tilde r_{\min}", positive=True)
r_mean = _symbol("r_mean", r"r_{\mathrm{mean}}", nonnegative=True)
r_joint_mean = _symbol("rtilde_mean", r"\tilde r_{\mathrm{mean}}", positive=True)
n_mean = _symbol("n_mean", r"\bar n", positive=True)
gain = _symbol("G", nonnegative=True)
m = _family("m_layer", "m", nonnegative=True)
z = _family("z_layer", "z", nonnegative=True)
top = _symbol("top", r"\|v_L\|", nonnegative=True)
best = _symbol(
    "best", r"\inf_{d} \prod_{\ell=1}^{L} \|D_\ell W_\ell D_{\ell-1}^{-1}\|", nonnegative=True
)


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
