"""Proofs of T2 to T6: from the decomposition to the recursion, the product form and the mean."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from qnotes.theory.convolution import EXAMPLES, convolution_matrix
from qnotes.theory.layers import replaced, written_out
from qnotes.theory.proof import (
    DEPTHS,
    Cases,
    ClosedSum,
    Convex,
    Identity,
    Induction,
    Monotone,
    Nonnegative,
    Step,
    StepError,
    Unrolled,
    Verified,
    equation,
    must_vanish,
)
from qnotes.theory.symbols import (
    D,
    L,
    S_vector,
    S_vector_q,
    W_matrix,
    W_matrix_q,
    b_vector,
    b_vector_q,
    beta,
    delta,
    e,
    ell,
    eps,
    eps_layer,
    gamma,
    i,
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

# Slack of a hypothesis: x = y + t with t ≥ 0 says that x ≥ y.
t, t_2, p, q = sp.symbols("t u p q", nonnegative=True)
m = sp.Symbol("m", integer=True, positive=True)
average = sp.Symbol("A", positive=True)
new = sp.Symbol("x", nonnegative=True)
row = sp.Symbol("M", nonnegative=True)

NO_BIASES = {beta: 0, gamma: 0}


# ------------------------------------------------------------------------------------------ T2


def prove_recursion(theorem) -> tuple[Step, ...]:
    """Norms of the decomposition, term by term, give the recursion; unrolled, its closed form."""
    (decomposition,) = theorem.premises
    activations = W_matrix[ell] * S_vector[ell - 1] + b_vector[ell]
    carried = sp.Sum(
        (delta[k] * s[k - 1] + gamma[k]) * sp.Product(r[j], (j, k + 1, ell)), (k, 1, ell)
    )
    start, step = {e: theorem.initial[e]}, {e: theorem.steps[e]}
    return (
        _one_product(),
        Cases(
            title="new error",
            reason="In both forms of T1 each factor is replaced by its norm; σ is 1-Lipschitz.",
            pairs=tuple(
                (_norms(form.rhs), theorem.steps[e])
                for form in (decomposition.statement, decomposition.also[0])
            ),
            printed=(equation(e[ell], theorem.steps[e]),),
        ),
        Identity(
            title="activations",
            reason="The same for the activations themselves, since σ(0) = 0.",
            left=_norms(activations),
            right=theorem.steps[s],
            printed=(equation(s[ell], theorem.steps[s]),),
        ),
        Cases(
            title="start",
            reason="Both networks read the same input, and no coordinate of it exceeds D.",
            pairs=((theorem.initial[s], D), (theorem.initial[e], sp.Integer(0))),
            printed=tuple(equation(base[0], value) for base, value in theorem.initial.items()),
        ),
        Monotone(
            title="larger norms, larger bound",
            reason="No quantity enters with a minus sign, so each may be replaced by a larger one.",
            expression=theorem.steps[e],
            variables=(r[ell], delta[ell], gamma[ell], s[ell - 1], e[ell - 1]),
        ),
        Induction(
            title="unrolled",
            reason="What layer k adds is carried by all later layers.",
            initial=start,
            steps=step,
            closed={e: carried},
        ),
        Unrolled(initial=start, steps=step, quantity=e, closed=carried.subs(ell, L)),
        Identity(
            title="statement",
            reason="The output is the activation after layer L.",
            left=theorem.statement.rhs,
            right=e[L],
            printed=(theorem.statement,),
        ),
    )


def _one_product() -> Step:
    """(p+q)·M bounds w·x for w = p - q, |w| = p + q and |x| ≤ M."""
    return Nonnegative(
        title="one product",
        reason="Let $|w| = p + q$, $w = p - q$, $M - x = t$ and $M + x = u$, all four nonnegative. "
        "Then $w x \\le |w| M$. Exchanging $p$ and $q$ gives the other sign, and a sum of such "
        "terms a row.",
        larger=(p + q) * row,
        smaller=(p - q) * new,
        certificate=p * t + q * t_2,
        given={row: (t + t_2) / 2, new: (t_2 - t) / 2},
    )


def _norms(expression: sp.Expr) -> sp.Expr:
    """The bound of a sum of products of matrices and vectors: norms for factors."""
    changes = {
        W_matrix[ell] - W_matrix_q[ell]: delta[ell],
        S_vector[ell - 1] - S_vector_q[ell - 1]: e[ell - 1],
        b_vector[ell] - b_vector_q[ell]: gamma[ell],
    }
    single = {
        W_matrix[ell]: r[ell],
        W_matrix_q[ell]: r[ell],
        S_vector[ell - 1]: s[ell - 1],
        S_vector_q[ell - 1]: s[ell - 1],
        b_vector[ell]: beta[ell],
    }
    return expression.subs(changes).subs(single)


# ------------------------------------------------------------------------------------------ T3


def prove_product_form(theorem) -> tuple[Step, ...]:
    """The recursion without biases, solved exactly."""
    (recursion,) = theorem.premises
    initial = recursion.initial
    steps = {base: replaced(step, NO_BIASES) for base, step in recursion.steps.items()}
    closed = {
        s: D * sp.Product(r[j], (j, 1, ell)),
        e: theorem.statement.rhs.subs(L, ell),
    }
    return (
        Cases(
            title="no biases",
            reason="With β = 0 and γ = 0 the recursion T2 loses its last terms.",
            pairs=(
                (steps[s], r[ell] * s[ell - 1]),
                (steps[e], r[ell] * e[ell - 1] + delta[ell] * s[ell - 1]),
            ),
            printed=tuple(equation(base[ell], step) for base, step in steps.items()),
        ),
        Induction(
            title="closed form",
            reason="Both running quantities are sums and products over the layers so far.",
            initial=initial,
            steps=steps,
            closed=closed,
        ),
        Unrolled(initial=initial, steps=steps, quantity=e, closed=theorem.statement.rhs),
    )


# ------------------------------------------------------------------------------------------ T4


def prove_mean_form(theorem) -> tuple[Step, ...]:
    """The product form, row sums by fan-ins, and the inequality of the means."""
    (product_form,) = theorem.premises
    terms = sp.Symbol("n_k", integer=True, positive=True)
    row_sum = ClosedSum(
        title="a row of changes",
        reason="A row of $W - W'$ has at most $n$ entries, each at most ε: so $\\delta \\le n ε$.",
        total=sp.Sum(eps_layer[k], (i, 1, terms)),
        closed=terms * eps_layer[k],
    )
    relaxed = replaced(product_form.statement.rhs, {delta: lambda index: n[index] * eps})
    return (row_sum, *_mean_steps(theorem, relaxed, r, r_mean, r_min, n))


def prove_mean_form_with_biases(theorem) -> tuple[Step, ...]:
    """As T4, from the product form with biases."""
    (product_form,) = theorem.premises
    relaxed = replaced(product_form.statement.rhs, {eps_layer: eps})
    return _mean_steps(theorem, relaxed, r_joint, r_joint_mean, r_joint_min, n_joint)


def _mean_steps(theorem, relaxed, norm, mean, smallest, fan_in) -> tuple[Step, ...]:
    rhs = theorem.statement.rhs
    others = (sp.Sum(norm[j], (j, 1, L)) - norm[k]) / (L - 1)
    return (
        Nonnegative(
            title="one gap for all layers",
            reason="No layer changes by more than ε, the largest change.",
            larger=fan_in[k] * eps,
            smaller=fan_in[k] * eps_layer[k],
            certificate=fan_in[k] * t,
            given={eps: eps_layer[k] + t},
        ),
        *means_inequality(),
        Nonnegative(
            title="one mean for all layers",
            reason="Leaving out the smallest norm leaves the largest mean, for L ≥ 2.",
            larger=theorem.definitions[mean],
            smaller=others,
            certificate=t / m,
            given={norm[k]: smallest + t, L: m + 1},
        ),
        Identity(
            title="statement",
            reason="The L-1 norms other than that of layer k, each replaced by their largest mean.",
            left=_evaluated(replaced(relaxed, {norm: mean})),
            right=rhs,
        ),
        Cases(
            title="depth 1",
            reason="A single layer has no other norm; a product of none is 1.",
            pairs=((written_out(rhs, 1), written_out(relaxed, 1)),),
            printed=(sp.Le(theorem.statement.lhs, written_out(rhs, 1), evaluate=False),),
        ),
    )


def means_inequality() -> tuple[Step, ...]:
    """The product of m numbers is at most the m-th power of their mean: from m to m+1."""
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


def _evaluated(expression: sp.Expr) -> sp.Expr:
    """Products of one constant over layers as its powers."""
    return expression.replace(lambda x: isinstance(x, sp.Product), lambda x: x.doit())


# ------------------------------------------------------------------------------------------ T5


def prove_product_form_with_biases(theorem) -> tuple[Step, ...]:
    """A network with biases is one without, a coordinate wider that always holds 1."""
    (without,) = theorem.premises
    meanings = {D: sp.Max(D, 1), r: r_joint, delta: lambda index: n_joint[index] * eps_layer[index]}
    wider = replaced(without.statement.rhs, meanings)
    terms = sp.Symbol("ntilde_k", integer=True, positive=True)
    return (
        Cases(
            title="one coordinate more",
            reason="The matrix with rows (W b) and (0 1), applied to (x, 1), gives (W x + b, 1).",
            pairs=_augmented(),
            printed=(_augmented_product(),),
        ),
        Cases(
            title="its norm",
            reason="Absolute row sums are those of a row and its bias, and 1 for the new row. With "
            "absolute values for entries they are what the wider matrix makes of ones.",
            pairs=_augmented_sums(),
            printed=(_product_of_ones(),),
        ),
        ClosedSum(
            title="its changes",
            reason="A row holds ñ numbers that may change, none by more than ε; "
            "the new row and the biases that stay do not change.",
            total=sp.Sum(eps_layer[k], (i, 1, terms)),
            closed=terms * eps_layer[k],
        ),
        Cases(
            title="its input",
            reason="The largest absolute coordinate of (x, 1) is at most max(D, 1).",
            pairs=((sp.Max(D, D, 1), sp.Max(D, 1)),),
            printed=(sp.Le(_WIDER_INPUT, sp.Max(D, 1), evaluate=False),),
        ),
        Identity(
            title="statement",
            reason="T3 for the wider network.",
            left=wider,
            right=theorem.statement.rhs,
            printed=(sp.Le(theorem.statement.lhs, wider, evaluate=False),),
        ),
        Cases(
            title="written out",
            reason="The same for depths 1 to 6, term by term.",
            pairs=tuple(
                (written_out(wider, depth), written_out(theorem.statement.rhs, depth))
                for depth in DEPTHS
            ),
            printed=tuple(
                sp.Le(theorem.statement.lhs, written_out(wider, depth), evaluate=False)
                for depth in (1, 2)
            ),
        ),
    )


_WEIGHTS = sp.Matrix(2, 2, lambda a, b: sp.Symbol(f"w_{a + 1}{b + 1}", nonnegative=True))
_BIAS = sp.Matrix(2, 1, lambda a, _: sp.Symbol(f"b_{a + 1}", nonnegative=True))
_WIDER = sp.Matrix(sp.BlockMatrix([[_WEIGHTS, _BIAS], [sp.zeros(1, 2), sp.ones(1, 1)]]))


_INPUTS = sp.Matrix(sp.symbols("x_1 x_2"))
_INPUTS_AND_ONE = _INPUTS.col_join(sp.ones(1, 1))
_WIDER_INPUT = sp.Symbol(r"\| (x, 1) \|_\infty", positive=True)


def _augmented():
    expected = (_WEIGHTS * _INPUTS + _BIAS).col_join(sp.ones(1, 1))
    return tuple(zip(_WIDER * _INPUTS_AND_ONE, expected, strict=True))


def _augmented_product() -> sp.Eq:
    return equation(sp.MatMul(_WIDER, _INPUTS_AND_ONE), sp.Matrix([a for _, a in _augmented()]))


def _product_of_ones() -> sp.Eq:
    return equation(sp.MatMul(_WIDER, sp.ones(3, 1)), sp.Matrix([a for _, a in _augmented_sums()]))


def _augmented_sums():
    sums = _WIDER * sp.ones(3, 1)
    expected = [sum(_WEIGHTS.row(a)) + _BIAS[a] for a in range(2)] + [sp.Integer(1)]
    return tuple(zip(sums, expected, strict=True))


# ------------------------------------------------------------------------------------------ T6


def prove_convolution(theorem) -> tuple[Step, ...]:
    """A convolution is a matrix whose rows are pieces of filters; then T5."""
    (dense,) = theorem.premises
    inside = sp.symbols("w_1:5", nonnegative=True)
    outside = sp.symbols("w_5:10", nonnegative=True)
    fan_in, height, width, channels = sp.symbols("n p_h p_w c", positive=True)
    groups = sp.Symbol(r"\mathrm{groups}", positive=True)
    return (
        Verified(
            title="rows of the matrix",
            reason="In the matrix of a convolution, built entry by entry for several kernels, "
            "strides, paddings and groups, each row holds weights of one filter, each at most "
            "once, and at most so many of them; a row in the interior holds them all.",
            shown=(equation(fan_in, height * width * channels / groups),),
            checked=_check_rows,
        ),
        Nonnegative(
            title="norm",
            reason="A row at the border (here a corner under a 3×3 kernel) lacks some weights "
            "of its filter, so its absolute sum is at most the filter's.",
            larger=sum(inside) + sum(outside),
            smaller=sum(inside),
            certificate=sum(outside),
        ),
        Identity(
            title="statement",
            reason="So a convolution is a dense layer with this fan-in and this norm: T5.",
            left=theorem.statement.rhs,
            right=dense.statement.rhs,
            printed=(theorem.statement,),
        ),
        Cases(
            title="the same mean",
            reason="With the norms of the filters, the mean is that of T5.",
            pairs=_definitions(theorem.definitions, dense.definitions),
            printed=tuple(equation(*pair) for pair in theorem.definitions.items()),
        ),
    )


def _definitions(ours: Mapping, theirs: Mapping) -> tuple:
    return tuple((ours[symbol], meaning) for symbol, meaning in theirs.items())


def _check_rows() -> None:
    for example in EXAMPLES:
        matrix = convolution_matrix(**example)
        bound = example["kernel"] ** 2 * example["channels_in"] // example["groups"]
        found = [[w for w in matrix.row(a) if w != 0] for a in range(matrix.rows)]
        if not all(len(set(weights)) == len(weights) <= bound for weights in found):
            raise StepError(f"a row of the convolution {example} holds more than {bound} weights")
        if max(map(len, found)) != bound:
            raise StepError(f"no row of the convolution {example} holds all {bound} weights")
        for weights in found:
            must_vanish(sp.Integer(len({w.name.split("_")[1] for w in weights}) - 1))
