"""T14, ellipsoids: what layers, sums and activations do to a matrix that encloses a vector.

Δ is in E(Q) if t Δ + Δ* t* ≤ 1 + t Q t* for every row t. Put a multiple of t for t: that says
|t Δ|² ≤ t Q t*, so it is Δ* Q⁺ Δ ≤ 1 for Δ in the range of Q, and needs no inverse. Rows t and u, v
below are any rows; a star marks the adjoint, which is a letter of its own for the machine.

The relations are, in this order, what `qnotes.propagation.joint.Joint` does in `activated` (parts
(c) and (d) of the theorem; (c) is u = 0), `mapped` (a), `plus` and `blurred` (b), and `peaks`. That
ellipsoids stay block diagonal over the frequencies of a torus, part (e), is not in symbols.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.facts import eq, le
from qnotes.theorems.intervals_of_one_network import UNITS
from qnotes.theorems.notation import LAYERS, N, ell, i
from qnotes.theorems.rules import Algebra, Replace
from qnotes.theorems.theorem import Hypothesis, Result, Step, proof_of


def _letter(name: str, latex: str) -> sp.Symbol:
    return sy._symbol(name, latex, commutative=False)


def _with_adjoint(name: str, latex: str) -> tuple[sp.Symbol, sp.Symbol]:
    braced = f"{{{latex}}}" if "'" in latex else latex  # a prime is an exponent, too
    return _letter(name, latex), _letter(f"{name}*", f"{braced}^{{*}}")


# Rows, and the vectors that they meet: kept (x), before and after an activation.
(u, u_), (v, v_), (t, t_), (y, y_) = (_with_adjoint(f"{letter}_row", letter) for letter in "uvty")
x, x_ = _with_adjoint("x_vector", "x")
before, before_ = _with_adjoint("delta_vector", r"\delta")
after, after_ = _with_adjoint("sigma_vector", r"\delta'")
error, error_ = _with_adjoint("error_vector", r"\Delta")
other, other_ = _with_adjoint("other_vector", r"\Gamma")
# Matrices: the joint ellipsoid of (x, δ), diagonals, an inverse; a layer.
Q_xx, Q_xz, Q_zx, Z = (
    _letter(name, latex)
    for name, latex in (("Q_xx", "Q_{xx}"), ("Q_xz", "Q_{xz}"), ("Q_zx", "Q_{zx}"), ("Z", "Z"))
)
D, T, K = (_letter(f"{name}_square", name) for name in "DTK")
Q, Q_other, (A, A_) = _letter("Q", "Q"), _letter("Q_other", "R"), _with_adjoint("A_map", "A")
alpha, rest, root = (
    sy._symbol(name, latex, positive=True)
    for name, latex in (("alpha", r"\alpha"), ("beta", r"\beta"), ("q_root", "q"))
)
#: What K meets: the rows of B = [Q_xz; D] in the matrix diag(Q_xx, 0) + B K B*.
g, g_ = u * Q_xz + v * D, Q_zx * u_ + D * v_
GAP = 2 * D - Z

slopes = sy._family("slope_of", r"\lambda", nonnegative=True)
weight = sy._family("weight_T", "T", nonnegative=True)
change = sy._family("d_before", r"\delta", real=True)
changed = sy._family("d_after", r"{\delta'}", real=True)


def _total(product: sp.Expr) -> sp.Sum:
    return sp.Sum(product, (i, 1, N[ell]))


SLOPES_BETWEEN = Result(
    number="slopes",
    name="what slopes between 0 and 1 leave of a product",
    source="Classical; stated and proved here.",
    whose="classical",
    statement=sp.Le(
        _total(weight[ell, i] * changed[ell, i] ** 2),
        _total(weight[ell, i] * changed[ell, i] * change[ell, i]),
        evaluate=False,
    ),
    hypotheses=(
        Hypothesis(
            "δ' is λ δ, coordinate by coordinate, with a slope λ of at most 1, and not negative; "
            "T is not negative",
            facts={
                "slope": eq(changed[ell, i], slopes[ell, i] * change[ell, i], LAYERS, UNITS),
                "at most one": le(slopes[ell, i], 1, LAYERS, UNITS),
            },
        ),
    ),
)


@proof_of(SLOPES_BETWEEN)
def prove_slopes(theorem: Result) -> tuple[Step, ...]:
    """Each term, and their sum."""
    (goal,) = theorem.goals()
    T_i, old, new, s = (of[ell, i] for of in (weight, change, changed, slopes))
    return (
        Step(
            "one term",
            le(T_i * new**2, T_i * new * old, LAYERS, UNITS),
            Algebra((T_i * (new + s * old - old), T_i * s * old**2)),
            uses=("slope", "at most one"),
        ),
        Step("all terms", goal, Replace(), uses=("one term",)),
    )


ELLIPSOIDS = Result(
    number="T14",
    name="ellipsoids",
    source="The semidefinite programs of LipSDP (Fazlyab et al. 2019) as a recursion, jointly with "
    "what a skip connection carries; ECLipsE (Xu, Sivaranjani 2024) has it for dense chains. "
    "`qnotes.certify` has it.",
    whose="LipSDP, in our form",
    statement=sp.Le(
        u * x + x_ * u_ + v * after + after_ * v_, 1 + u * Q_xx * u_ + g * K * g_, evaluate=False
    ),
    also=(
        sp.Le(y * A * error + error_ * A_ * y_, 1 + y * A * Q * A_ * y_, evaluate=False),
        sp.Le(
            y * (error + other) + (error_ + other_) * y_,
            1 + y * (Q / alpha + Q_other / rest) * y_,
            evaluate=False,
        ),
        sp.Le(v * error + error_ * v_, 2 * root, evaluate=False),
    ),
    hypotheses=(
        Hypothesis(
            "rows u, v and y are any; (x, δ) is in the ellipsoid of $Q_{xx}$, $Q_{xz}$, $Q_{zx}$ "
            "and Z: taken for the row (u, δ'* T)",
            facts={
                "joint": le(
                    u * x + x_ * u_ + after_ * T * before + before_ * T * after,
                    1
                    + u * Q_xx * u_
                    + u * Q_xz * T * after
                    + after_ * T * Q_zx * u_
                    + after_ * T * Z * T * after,
                )
            },
        ),
        Hypothesis(
            "δ' is what an activation with slopes between 0 and 1 makes of δ, coordinate by "
            "coordinate (the lemma on slopes, with a diagonal T)",
            facts={"slopes": le(2 * after_ * T * after, after_ * T * before + before_ * T * after)},
        ),
        Hypothesis(
            "D is a diagonal with the inverse T; 2D - Z has the inverse K and is positive "
            "definite: taken for the vector T δ' - K ($Q_{zx}$ u* + D v*)",
            facts={
                "inverse of D": eq(D * T, 1),
                "inverse of D, left": eq(T * D, 1),
                "inverse": eq(K * GAP, 1),
                "inverse, right": eq(GAP * K, 1),
                "definite": le(0, (after_ * T - g * K) * GAP * (T * after - K * g_)),
            },
        ),
        Hypothesis(
            "Δ is in the ellipsoid of Q, and Γ in that of R: taken for a row t, which is y A, for "
            "y/α and y/β, where α + β = 1, and for v/q, where v Q v* = q²",
            facts={
                "error": le(t * error + error_ * t_, 1 + t * Q * t_),
                "row": eq(t, y * A),
                "row, adjoint": eq(t_, A_ * y_),
                "error, enlarged": le((y * error + error_ * y_) / alpha, 1 + y * Q * y_ / alpha**2),
                "other, enlarged": le(
                    (y * other + other_ * y_) / rest, 1 + y * Q_other * y_ / rest**2
                ),
                "shares": eq(alpha + rest, 1),
                "error, along v": le((v * error + error_ * v_) / root, 1 + v * Q * v_ / root**2),
                "length along v": eq(v * Q * v_, root**2),
            },
        ),
    ),
)


@proof_of(ELLIPSOIDS)
def prove(theorem: Result) -> tuple[Step, ...]:
    """The row δ'* T, slopes, and a square that is completed."""
    activated, mapped, summed, read = theorem.goals()
    quadratic = after_ * T * GAP * T * after
    return (
        Step(
            "completed square",
            le(g * T * after + after_ * T * g_, g * K * g_ + quadratic),
            Algebra((1, (-g, T * after), (-after_ * T, g_), (g, K * g_))),
            uses=("definite", "inverse", "inverse, right", "inverse"),
        ),
        Step(
            "through the activation",
            le(
                u * x + x_ * u_ + 2 * after_ * T * after,
                1
                + u * Q_xx * u_
                + u * Q_xz * T * after
                + after_ * T * Q_zx * u_
                + after_ * T * Z * T * after,
            ),
            Algebra(),
            uses=("joint", "slopes"),
        ),
        Step(
            "statement",
            activated,
            Algebra((1, 1, (2 * after_ * T, after), (-v, after), (-after_, v_))),
            uses=(
                *("completed square", "through the activation"),
                *("inverse of D", "inverse of D", "inverse of D, left"),
            ),
        ),
        Step(
            "a layer",
            mapped,
            Algebra((1, (-1, error), (-error_, 1), (1, Q * t_), (y * A * Q, 1))),
            uses=("error", "row", "row, adjoint", "row", "row, adjoint"),
        ),
        Step(
            "a sum",
            summed,
            Algebra((alpha, rest, 1)),
            uses=("error, enlarged", "other, enlarged", "shares"),
        ),
        Step(
            "a coordinate",
            read,
            Algebra((root, 1 / root)),
            uses=("error, along v", "length along v"),
        ),
    )
