"""T9, the best equalization: what rescaling neurons can do to the product of norms.

No rescaling goes below the path norm, the norm of |W_L| ··· |W_1| 1, and the rescaling by 1/v
reaches it. `qnotes.equalize(method="path")` rescales a network so.
"""

import sympy as sp

from qnotes.theorems.notation import A, L, N, best, d, ell, i, j, v
from qnotes.theorems.proof_steps import (
    Cases,
    Identity,
    Nonnegative,
    Step,
    Verified,
    equation,
    must_vanish,
)
from qnotes.theorems.sums_over_layers import written_out
from qnotes.theorems.theorem import Hypothesis, Result, proof_of


class Norm(sp.Function):
    """The largest entry of a nonnegative vector."""

    nargs = 1
    is_nonnegative = True

    def _latex(self, printer) -> str:
        return rf"\| {printer._print(self.args[0])} \|"


EQUALIZATION = Result(
    number="T9",
    name="best equalization",
    source="The paper states that cross-layer equalization tightens the bound. That the optimum is "
    "the path norm, the form and the proof are our own.",
    statement=sp.Eq(best, Norm(v[L]), evaluate=False),
    definitions={
        v[ell, i]: sp.Sum(A[ell, i, j] * v[ell - 1, j], (j, 1, N[ell - 1])),
        d[ell, i]: 1 / v[ell, i],
    },
    also=(sp.Eq(v[0, i], sp.Integer(1), evaluate=False),),
    hypotheses=(
        Hypothesis("activations are positively homogeneous: ReLU, not ReLU6; no biases"),
        Hypothesis("every v is positive; otherwise the infimum is approached, not reached"),
    ),
    tight=True,
)


@proof_of(EQUALIZATION)
def prove(theorem: Result) -> tuple[Step, ...]:
    """No rescaling goes below the path norm, and one reaches it."""
    growth, scaling = theorem.definitions[v[ell, i]], theorem.definitions[d[ell, i]]
    undone = 1 / scaling.subs({ell: ell - 1, i: j}, simultaneous=True)
    row = sp.Sum(A[ell, i, j] * undone, (j, 1, N[ell - 1]))
    return (
        Cases(
            title="ReLU",
            reason="A positive factor passes through, on either side of zero.",
            pairs=_homogeneous(lambda value: sp.Max(0, value)),
            printed=tuple(
                equation(*pair) for pair in _homogeneous(sp.Function(r"\operatorname{ReLU}"))
            ),
        ),
        Cases(
            title="rescaling keeps the network",
            reason="Each factor is undone by the next layer; input and output are not rescaled.",
            pairs=tuple((sp.Mul(*factors), sp.Mul(*kept)) for factors, kept in _telescoped()),
            printed=tuple(
                equation(sp.Mul(*factors, evaluate=False), sp.Mul(*kept))
                for factors, kept in _telescoped()[:2]
            ),
        ),
        _submultiplicative(),
        Identity(
            title="every hidden norm becomes 1",
            reason="With this choice each row of a hidden layer sums to 1.",
            left=(scaling * row).subs(v[ell, i], growth),
            right=sp.Integer(1),
            printed=(equation(scaling * row, sp.Integer(1)),),
        ),
        Identity(
            title="the last norm",
            reason="The last layer only divides by the scaling before it: its row sums are $v_L$.",
            left=row.subs(ell, L),
            right=growth.subs(ell, L),
            printed=(equation(v[L, i], row.subs(ell, L)),),
        ),
        Verified(
            title="statement",
            reason="Row sums of $|W_L| \\cdots |W_1|$, multiplied out for small sizes, are $v_L$.",
            printed=(equation(row.subs(ell, L), v[L, i]),),
            checked=lambda: _check_products(theorem),
        ),
    )


def _homogeneous(relu) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
    """A value times c > 0 passed through, and c times the value passed through; of both signs."""
    factor, size = sp.symbols("c x", positive=True)
    return tuple((relu(factor * value), factor * relu(value)) for value in (size, -size))


def _telescoped() -> list[tuple[list[sp.Expr], list[sp.Expr]]]:
    """For depths 2 to 5 the factors of a rescaled product, and those of the product itself."""
    pairs = []
    for depth in range(2, 6):
        weights = sp.symbols(f"W_1:{depth + 1}", commutative=False)
        scales = sp.symbols(f"D_1:{depth}", commutative=False)
        factors = [weights[-1]]
        for weight, scale in zip(weights[-2::-1], scales[::-1], strict=True):
            factors += [scale**-1, scale, weight]
        pairs.append((factors, list(weights[::-1])))
    return pairs


def _submultiplicative() -> Step:
    a, b, t, u, w, norm, top = sp.symbols("a b t u w rho M", nonnegative=True)
    return Nonnegative(
        title="no rescaling does better",
        reason="A row with sum $a + b \\le \\rho$ makes of entries $M - t$, $M - u$ at most "
        "$\\rho M$. So norms multiply to at least the norm of the product, which rescaling does "
        "not change.",
        larger=norm * top,
        smaller=a * (top - t) + b * (top - u),
        certificate=a * t + b * u + w * top,
        given={norm: a + b + w},
    )


#: Widths N_0, N_1, … on which matrices are multiplied out.
SIZES = ((2, 2), (2, 2, 2), (1, 3, 2), (2, 2, 2, 2), (1, 2, 1, 2, 2))


def _check_products(theorem: Result) -> None:
    """Entries of |W_L| ··· |W_1| · 1 are those of the vector in the statement."""
    for widths in SIZES:
        depth = len(widths) - 1
        product = sp.ones(widths[0], 1)
        for layer in range(1, depth + 1):
            sizes = (widths[layer], widths[layer - 1])
            product = sp.Matrix(*sizes, lambda a, b, at=layer: A[at, a + 1, b + 1]) * product
        entries = _entries(theorem, widths)
        for unit in range(1, widths[depth] + 1):
            claimed = theorem.statement.rhs.subs(L, depth).replace(
                Norm, lambda vector, at=unit: vector.base[(*vector.indices, at)]
            )
            must_vanish(product[unit - 1] - claimed.xreplace(entries))


def _entries(theorem: Result, widths: tuple[int, ...]) -> dict[sp.Indexed, sp.Expr]:
    """All entries of v from its definition, layer after layer, with A as symbols."""
    sizes = {N[at]: width for at, width in enumerate(widths)}
    (start,) = theorem.also
    entries = {v[0, unit]: start.rhs for unit in range(1, widths[0] + 1)}
    for layer, width in enumerate(widths[1:], start=1):
        for unit in range(1, width + 1):
            rule = theorem.definitions[v[ell, i]].subs({ell: layer, i: unit}).subs(sizes)
            entries[v[layer, unit]] = written_out(rule, 1).xreplace(entries)
    return entries
