"""Every proof is derived again, and a failing step says which one and what remains."""

from dataclasses import replace

import pytest
import sympy as sp

import qnotes as qn
from qnotes.theorems import ProofError
from qnotes.theorems import notation as sy
from qnotes.theorems.proof_steps import (
    Convex,
    Identity,
    Induction,
    Monotone,
    Nonnegative,
    StepError,
    Unrolled,
)
from qnotes.theorems.T6_convolution import EXAMPLES, convolution_matrix

THEOREMS = qn.theorems()
STATED_ONLY = {"T8", "T10", "T11", "T13"}


def named(theorem) -> str:
    return theorem.key


@pytest.mark.parametrize("theorem", THEOREMS, ids=named)
def test_every_step_is_derived_again(theorem):
    checked = theorem.check()
    assert [entry.step for entry in checked] == list(theorem.proof)
    assert all(entry.seconds >= 0 for entry in checked)


def test_which_theorems_have_no_proof_here():
    assert {t.number for t in THEOREMS if not t.proof} == STATED_ONLY
    assert {t.number for t in THEOREMS if t.status == "stated"} == STATED_ONLY


@pytest.mark.parametrize("theorem", THEOREMS, ids=named)
def test_steps_print(theorem):
    for step in theorem.proof:
        assert step.title and step.reason.endswith(".")
        assert step.formulae
        assert all(line and "layer" not in line for line in step.latex())


@pytest.mark.parametrize("theorem", THEOREMS, ids=named)
def test_statements_print_and_say_where_they_come_from(theorem):
    assert theorem.latex() and theorem.source
    assert "layer" not in theorem.latex() and "matrix" not in theorem.latex().replace("bmatrix", "")


def test_a_failing_step_names_the_theorem_and_what_remains():
    (theorem,) = [t for t in THEOREMS if t.key == "T3 product form"]
    wrong = replace(theorem, statement=sp.Le(sy.E, sy.D * theorem.statement.rhs))
    with pytest.raises(ProofError, match="T3 product form, step 'closed form'") as caught:
        wrong.check()
    assert caught.value.theorem == "T3 product form"
    assert caught.value.remaining != 0


def test_only_computable_results_have_a_value():
    assert all(hasattr(t, "evaluate") == t.computable for t in THEOREMS)
    without = {t.number for t in THEOREMS if not t.computable}
    assert without == STATED_ONLY | {"T1", "T9", "T12", "T16"}


X = sp.Symbol("x", nonnegative=True)
Y = sp.Symbol("y", real=True)
SAID = {"title": "claim", "reason": "none."}


@pytest.mark.parametrize(
    "step",
    [
        Identity(**SAID, left=(X + 1) ** 2, right=X**2 + 1),
        Nonnegative(**SAID, larger=X, smaller=X**2, certificate=X - X**2),
        Nonnegative(**SAID, larger=Y, smaller=0, certificate=Y),
        Nonnegative(**SAID, larger=2 * X, smaller=0, certificate=X),
        Monotone(**SAID, expression=-X, variables=(X,)),
        Convex(**SAID, expression=X**3 - 1, variable=X, touches=sp.Integer(1)),
        Induction(
            **SAID,
            initial={sy.s: sp.Integer(1)},
            steps={sy.s: 2 * sy.s[sy.ell - 1]},
            closed={sy.s: 3**sy.ell},
        ),
        Induction(
            **SAID,
            initial={sy.s: sp.Integer(2)},
            steps={sy.s: 2 * sy.s[sy.ell - 1]},
            closed={sy.s: 2**sy.ell},
        ),
        Unrolled(
            initial={sy.s: sp.Integer(1)},
            steps={sy.s: sy.r[sy.ell] * sy.s[sy.ell - 1]},
            quantity=sy.s,
            closed=sp.Product(sy.r[sy.k], (sy.k, 2, sy.L)),
        ),
    ],
    ids=lambda step: type(step).__name__,
)
def test_steps_refuse_what_is_false(step):
    with pytest.raises(StepError):
        step.verify()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_matrix_of_a_convolution_is_that_of_torch(example):
    torch = pytest.importorskip("torch")
    matrix = convolution_matrix(**example)
    stride, padding = example.get("stride", 1), example.get("padding", 1)
    shape = (example["channels_out"], example["channels_in"] // example["groups"])
    weight = torch.randn(*shape, example["kernel"], example["kernel"], dtype=torch.float64)
    values = {
        symbol: float(weight[int(o) - 1, int(c), int(y), int(x)])
        for symbol in matrix.free_symbols
        for _, o, c, y, x in [symbol.name.split("_")]
    }
    image = torch.randn(1, example["channels_in"], *(example["size"],) * 2, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(
        image, weight, stride=stride, padding=padding, groups=example["groups"]
    )
    dense = torch.tensor(matrix.xreplace(values).tolist(), dtype=torch.float64)
    assert torch.allclose(dense @ image.flatten(), expected.flatten(), atol=1e-12)


def test_no_step_prints_an_equation_of_a_thing_with_itself():
    empty = [
        (theorem.key, step.title)
        for theorem in THEOREMS
        for step in theorem.proof
        for formula in step.formulae
        if isinstance(formula, sp.Eq) and formula.lhs == formula.rhs
    ]
    assert empty == [("T1", "written out")]  # for a single factor both sides are the same


def test_homogeneity_is_checked_on_both_sides_of_zero():
    (theorem,) = [t for t in THEOREMS if t.key == "T9"]
    above, below = theorem.proof[0].pairs
    assert above[0] != 0 and below == (0, 0)


def test_bounds_name_the_condition_on_activations():
    on_error = [t for t in THEOREMS if t.computable and isinstance(t.statement, sp.Le)]
    assert all(any("1-Lipschitz" in h.text for h in t.hypotheses) for t in on_error)
