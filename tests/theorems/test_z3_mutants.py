"""z3 refutes no step, and finds a network against what is false; `test_mutants` asks more."""

import pytest

pytest.importorskip("z3")

from dataclasses import replace

import qnotes as qn
from tests.falsification import judge
from tests.falsification.judge import of_step, of_theorem
from tests.falsification.judged import proved

PROVED = proved()


def by_key(theorem) -> str:
    return theorem.key


@pytest.mark.medium
@pytest.mark.parametrize("theorem", PROVED, ids=by_key)
def test_no_step_is_refuted(theorem, monkeypatch):
    monkeypatch.setattr(judge, "EFFORT", 200_000)
    monkeypatch.setattr(judge, "SIZES", judge.SIZES[:2])
    words = {step.name: of_step(theorem, step.name).word for step in theorem.proof}
    assert "refuted" not in words.values(), words


def test_a_counterexample_is_a_network():
    """With norms counted half, T2 is false."""
    theorem = qn.theorems()["T2"]
    *others, norms = theorem.hypotheses
    halved = {name: replace(fact, left=fact.left / 2) for name, fact in norms.facts.items()}
    found = of_theorem(replace(theorem, hypotheses=(*others, replace(norms, facts=halved))))
    assert found.word == "refuted"
    assert {"D", "E", "kappa_layer[1]", "W_matrix[1]"} <= found.numbers.keys()
