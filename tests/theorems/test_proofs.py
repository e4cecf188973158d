"""Every proof composes again, and what does not is named."""

import re
from dataclasses import replace

import pytest
import sympy as sp

import qnotes as qn
from qnotes.theorems import AXIOMS, LEMMAS, ProofError, T13_typical_error, T15_affine_forms
from qnotes.theorems import T14_ellipsoids as T14
from qnotes.theorems import notation as sy
from qnotes.theorems.intervals_of_one_network import OURS, THEIRS
from qnotes.theorems.printing import fact_to_latex
from qnotes.theorems.rules import ByAxiom

THEOREMS = qn.theorems()
#: Premises that were checked in this process already.
CHECKED: set = set()


def named(theorem) -> str:
    return theorem.key


@pytest.mark.medium
@pytest.mark.parametrize("theorem", [*LEMMAS, *THEOREMS], ids=named)
def test_every_proof_composes(theorem):
    checked = theorem.check(CHECKED)
    assert [entry.step for entry in checked] == list(theorem.proof)
    assert all(entry.seconds >= 0 for entry in checked)


def test_every_theorem_states_something_and_has_a_proof():
    assert all(t.proof and t.status == "checked by machine" for t in (*LEMMAS, *THEOREMS))
    assert all(t.statement is not None for t in (*LEMMAS, *THEOREMS))


@pytest.mark.parametrize("theorem", THEOREMS, ids=named)
def test_a_step_prints_the_fact_that_is_checked(theorem):
    for step in theorem.proof:
        assert step.latex() == fact_to_latex(step.fact)
        assert "layer" not in step.latex() and "matrix" not in step.latex()
        assert not step.reason or step.reason.endswith((".", "$."))


@pytest.mark.parametrize("theorem", THEOREMS, ids=named)
def test_statements_print_and_say_where_they_come_from(theorem):
    assert theorem.source and bool(theorem.latex()) == (theorem.statement is not None)
    assert "layer" not in theorem.latex() and "matrix" not in theorem.latex()


def test_the_end_of_a_proof_is_the_statement():
    for theorem in THEOREMS:
        yielded = [step.fact for step in theorem.proof]
        if theorem.proof:
            assert all(goal in yielded for goal in theorem.goals())
            end = theorem.statement if theorem.conclusion is None else theorem.conclusion
            assert theorem.goals()[0].relation == end


def test_a_failing_step_names_the_theorem_and_what_remains():
    (theorem,) = [t for t in THEOREMS if t.key == "T3 product form"]
    wrong = replace(theorem, statement=sp.Le(sy.E, sy.D * theorem.statement.rhs))
    with pytest.raises(ProofError, match="T3 product form, step 'statement'") as caught:
        wrong.check()
    assert caught.value.theorem == "T3 product form"
    assert caught.value.remaining != 0


def test_a_false_premise_is_found_from_above():
    theorem = qn.theorems()["T3"]
    recursion, solved = theorem.premises
    broken = replace(recursion, hypotheses=recursion.hypotheses[:-1])
    with pytest.raises(ProofError, match="T2, step"):
        replace(theorem, premises=(broken, solved)).check()


def test_nothing_rests_on_itself():
    theorem = replace(qn.theorems()["T3"])
    object.__setattr__(theorem, "premises", (theorem,))
    with pytest.raises(ProofError, match="rests on"):
        theorem.check()


def test_every_axiom_is_used_and_they_are_few():
    steps = [step for theorem in (*LEMMAS, *THEOREMS) for step in theorem.proof]
    used = {step.rule.axiom.name for step in steps if isinstance(step.rule, ByAxiom)}
    assert used == {axiom.name for axiom in AXIOMS} and len(AXIOMS) == 9


def test_only_computable_results_have_a_value():
    assert all(hasattr(t, "evaluate") == t.computable for t in THEOREMS)
    without = {t.number for t in THEOREMS if not t.computable}
    assert without == {"T1", *(f"T{n}" for n in range(8, 18))}


def test_bounds_name_the_condition_on_activations():
    on_error = [t for t in THEOREMS if t.computable and isinstance(t.statement, sp.Le)]
    assert all(any("κ-Lipschitz" in h.text for h in t.hypotheses) for t in on_error)


#: What the page "Notation" has in its first table.
NOTATION = {sy.E, sy.W_matrix, sy.W_matrix_q, sy.b_vector, sy.b_vector_q, sy.S_vector}
NOTATION |= {sy.S_vector_q, sy.N, sy.kappa, sy.at_zero}
#: How conditions name what else a statement speaks of.
WORDS = {
    sy.gain: "the gain",
    sy.abs_error: "|Δ|",
    sy.growth: "g times",
    sy.best: "the infimum",
    sy.top: "v_L",
    sy.C: "a C",
    sy.largest: "a the largest weight",
    sy.bits: "b bits",
    sy.tau: "τ is",
    sy.draws: "n inputs",
    sy.fraction: "1 - p",
    sy.k: "k-th largest",
    sy.covered: "$M_k$ is",
    sy.largest_covered: "$M_k$ is",
    sy.A: "|W|",
    sy.A_q: "|W'|",
    sy.A_change: "|W-W'|",
    sy.b_abs_q: "|b'|",
    sy.b_change: "|b-b'|",
    sy.rho: "ρ is",
    sy.rho_change: "δρ",
    sy.beta_euclid: "hatted β",
    sy.gamma_euclid: "and γ",
    **dict.fromkeys((sy.w_entry, sy.w_entry_q), "weights w and w'"),
    **dict.fromkeys((sy.w_plus, sy.w_minus, sy.w_plus_q, sy.w_minus_q), "negative parts"),
    **dict.fromkeys((sy.c_plus, sy.c_minus), "negative parts"),
    **dict.fromkeys((sy.b_entry, sy.b_entry_q), "biases b and b'"),
    **dict.fromkeys((sy.S_entry, sy.S_entry_q), "S and S'"),
    **dict.fromkeys((*THEIRS[-4:], *OURS[-4:]), "between ends"),
    sy.error_entry: "Δ is S - S'",
    sy.straight: "χ is 1",
    sy.xi: "symbols ξ",
    sy.symbols_count: "m symbols",
    **{
        getattr(form, part): word
        for form in T15_affine_forms.MARKS
        for part, word in (
            *(("slope", "line s x"), ("shift", "+ μ"), ("fresh", "H ξ"), ("curved", "most η")),
            *(("center", "c' + G' ξ"), ("generators", "c' + G' ξ"), ("radius", "r' and r")),
        )
    },
    T13_typical_error.size: "has the mean μ",
    T13_typical_error.mean: "has the mean μ",
    T13_typical_error.above: "λ is σ",
    T13_typical_error.risk: "(1-δ)/δ",
}
#: Of T14 every letter is told in its conditions, as the page prints it.
ELLIPSOIDS = {
    **dict.fromkeys((T14.u, T14.u_, T14.v, T14.v_, T14.y, T14.y_), "rows u, v and y"),
    **dict.fromkeys((T14.x, T14.x_, T14.after, T14.after_), "(x, δ)"),
    **dict.fromkeys((T14.error, T14.error_, T14.other, T14.other_), "Δ is in"),
    **dict.fromkeys((T14.Q_xx, T14.Q_xz, T14.Q_zx, T14.Z), "$Q_{xz}$"),
    **dict.fromkeys((T14.D, T14.K), "inverse K"),
    **dict.fromkeys((T14.Q, T14.Q_other), "of R"),
    **dict.fromkeys((T14.A, T14.A_), "y A"),
    **dict.fromkeys((T14.alpha, T14.rest), "α + β = 1"),
    T14.root: "q²",
}
WORDS |= ELLIPSOIDS


def letters(expression: sp.Basic) -> set[sp.Basic]:
    """Symbols and families of an expression, without its indices."""
    families = expression.atoms(sp.IndexedBase)
    entries = expression.atoms(sp.Indexed)
    rest = expression.xreplace(dict.fromkeys(entries, sp.S.One))
    return families | rest.free_symbols - {family.label for family in families} - {sy.ell, sy.i}


@pytest.mark.parametrize("theorem", [t for t in THEOREMS if t.statement is not None], ids=named)
def test_every_letter_of_a_statement_is_defined(theorem):
    conditions = " ".join(hypothesis.text for hypothesis in theorem.hypotheses)
    defined = {getattr(symbol, "base", symbol) for symbol in theorem._all_definitions()}
    shown = [theorem.statement, *theorem.also, *theorem._all_definitions().values()]
    shown += [] if theorem.conclusion is None else [theorem.conclusion]
    for letter in set().union(*(letters(sp.sympify(relation)) for relation in shown)):
        known = letter in defined or letter in NOTATION or letter in sy.QUANTITIES
        assert known or WORDS[letter] in conditions, (theorem.key, letter)


@pytest.mark.parametrize("theorem", [*LEMMAS, *THEOREMS], ids=named)
def test_no_formula_has_two_exponents(theorem):
    """A prime is one, too: MathJax sets nothing where another follows it without braces."""
    printed = [theorem.latex(), *(step.latex() for step in theorem.proof)]
    assert [text for text in printed if re.search(r"'(_\{[^{}]*\})?\^", text)] == []
