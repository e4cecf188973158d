"""The axioms: what proofs take for granted, by name. Few, and each with its instances.

Everything else that a proof starts from is a hypothesis of its theorem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from qnotes.theorems.facts import Fact
from qnotes.theorems.notation import N
from qnotes.theorems.sums_over_layers import Opaque


class Norm(Opaque):
    """‖·‖ of a matrix (largest absolute row sum) or of a vector (largest absolute entry)."""

    nargs = 1

    def _latex(self, printer) -> str:
        return rf"\| {printer._print(self.args[0])} \|"


class Euclidean(Norm):
    """‖·‖₂ of a vector, or the spectral norm of a matrix."""

    def _latex(self, printer) -> str:
        return rf"\| {printer._print(self.args[0])} \|_2"


class Size(Opaque):
    """|·| of an entry of a vector, or of a matrix."""

    nargs = (2, 3)

    def _latex(self, printer) -> str:
        of, *indices = map(printer._print, self.args)
        return rf"| {of} |_{{{','.join(indices)}}}"


class Beside(sp.Function):
    """[A a]: a matrix with one column more."""

    nargs = 2
    is_commutative = False

    def _latex(self, printer) -> str:
        left, right = map(printer._print, self.args)
        return rf"[\, {left} \;\; {right} \,]"


class WithOne(sp.Function):
    """(x, 1): a vector with one coordinate more, which is 1."""

    nargs = 1
    is_commutative = False

    def _latex(self, printer) -> str:
        return rf"({printer._print(self.args[0])}, 1)"


@dataclass(frozen=True)
class Axiom:
    """What is taken for granted.

    Attributes:
        name: as steps call it.
        text: one sentence for the reader.
        has_instance: whether a fact is an instance.
    """

    name: str
    text: str
    has_instance: Callable[[Fact], bool]


def _triangle(claim: Fact) -> bool:
    whole, parts = claim.left, sp.Add.make_args(claim.right)
    kinds = {(part.func, part.args[1:]) for part in parts if isinstance(part, (Norm, Size))}
    return (
        claim.sign == "<="
        and isinstance(whole, (Norm, Size))
        and all(isinstance(part, (Norm, Size)) for part in parts)
        and kinds == {(whole.func, whole.args[1:])}
        and _same(whole.args[0], sp.Add(*[part.args[0] for part in parts]))
    )


def _rows(claim: Fact) -> bool:
    whole, factors = claim.left, claim.right.args
    if claim.sign != "<=" or not isinstance(whole, Norm) or not claim.right.is_Mul:
        return False
    if len(factors) != 2 or any(factor.func != whole.func for factor in factors):
        return False
    one, other = (factor.args[0] for factor in factors)
    return whole.args[0] in (one * other, other * one)


def _entries(claim: Fact) -> bool:
    whole, total = claim.left, claim.right
    if claim.sign != "<=" or not isinstance(whole, Size) or not isinstance(total, sp.Sum):
        return False
    index, low, high = total.limits[0]
    factors = total.function.args
    if low != 1 or len(factors) != 2 or not all(isinstance(x, Size) for x in factors):
        return False
    vector, matrix = sorted(factors, key=lambda factor: len(factor.args))
    if len(vector.args) != 2 or len(matrix.args) != 3 or whole.has(index):
        return False
    lengths = {N[part.indices[0]] for part in vector.args[0].atoms(sp.Indexed)}
    return (
        whole.args == (matrix.args[0] * vector.args[0], matrix.args[1])
        and matrix.args[2] == index == vector.args[1]
        and lengths == {high}
    )


def _blocks(claim: Fact) -> bool:
    product, layer = claim.left, claim.right
    if claim.sign != "=" or not product.is_Mul or len(product.args) != 2:
        return False
    matrix, vector = product.args
    if not isinstance(matrix, Beside) or not isinstance(vector, WithOne):
        return False
    return _same(layer, matrix.args[0] * vector.args[0] + matrix.args[1])


def _shorter(claim: Fact) -> bool:
    short, whole = claim.left, claim.right
    norms = claim.sign == "<=" and short.func is Norm and whole.func is Norm
    return norms and isinstance(whole.args[0], Beside) and whole.args[0].args[0] == short.args[0]


def _one(claim: Fact) -> bool:
    whole = claim.left
    return (
        claim.sign == "="
        and isinstance(whole, Norm)
        and whole.func is Norm
        and isinstance(whole.args[0], WithOne)
        and claim.right == sp.Max(Norm(whole.args[0].args[0]), 1)
    )


def _exponential(claim: Fact) -> bool:
    larger = claim.right
    return (
        claim.sign == "<="
        and isinstance(larger, sp.exp)
        and bool(larger.args[0].is_real)
        and sp.expand(claim.left - 1 - larger.args[0]) == 0
    )


def _binomial(claim: Fact) -> bool:
    if claim.sign != "=" or not claim.left.has(sp.binomial):
        return False
    return sp.simplify(sp.combsimp(claim.left / claim.right)) == 1


def _exchange(claim: Fact) -> bool:
    """Two sums in the other order, where no limit depends on an index."""
    sums = [side for side in (claim.left, claim.right) if isinstance(side, sp.Sum)]
    if claim.sign != "=" or len(sums) != 2 or len(sums[0].limits) != 2:
        return False
    limits = [x for limit in sums[0].limits for x in limit[1:]]
    free = not any(x.has(limit[0]) for x in limits for limit in sums[0].limits)
    return free and sums[1] == sp.Sum(sums[0].function, *sums[0].limits[::-1])


def _same(matrix: sp.Expr, other: sp.Expr) -> bool:
    return sp.expand(matrix - other) == 0


TRIANGLE = Axiom("triangle", "The size of a sum is at most the sum of the sizes.", _triangle)
ROWS = Axiom(
    "row sums",
    "A matrix makes of a vector one that is larger by its norm at most: $\\|A x\\| \\le "
    "\\|A\\| \\|x\\|$; a row sum of $|A|$ bounds a row.",
    _rows,
)
ENTRIES = Axiom(
    "row by row", "The same for one row: $|A x|_i \\le \\sum_j |A|_{i,j} |x|_j$.", _entries
)
BLOCKS = Axiom(
    "a column more",
    "A layer with a bias is a matrix with a column more, $[A\\ a]\\,(x, 1) = A x + a$.",
    _blocks,
)
SHORTER = Axiom("a column less", "Without its last column a matrix has no larger norm.", _shorter)
ONE = Axiom("a coordinate 1", "Of $(x, 1)$ the largest entry is that of $x$ or 1.", _one)
EXPONENTIAL = Axiom("exponential", "$1 + x \\le e^x$ for every real $x$.", _exponential)
BINOMIAL = Axiom(
    "binomial coefficients",
    "Neighbouring binomial coefficients have a quotient of whole numbers (found by SymPy).",
    _binomial,
)
EXCHANGE = Axiom("order of a sum", "Finite sums may be added up in any order.", _exchange)
AXIOMS = (TRIANGLE, ROWS, ENTRIES, BLOCKS, SHORTER, ONE, EXPONENTIAL, BINOMIAL, EXCHANGE)
