"""What z3 refutes, the proofs refuse; and each step of a proof reacts to some mutant."""

import pytest

pytest.importorskip("z3")

from dataclasses import replace

import qnotes as qn
from tests.falsification.judge import of_step, of_theorem
from tests.falsification.judged import judged, proved, table, without_reaction
from tests.theorems.checking import remembered
from tests.theorems.test_mutants import STILL_RIGHT

PROVED = proved()
QUICK = [theorem for theorem in PROVED if theorem.key in ("T12", "T7 gain")]


def by_key(theorem) -> str:
    return theorem.key


@pytest.mark.medium
@pytest.mark.parametrize("theorem", PROVED, ids=by_key)
def test_no_step_is_refuted(theorem):
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


def check(theorem, every: int) -> None:
    with remembered():
        found = judged([theorem], every=every)
    survived = found[found["killed by"] == "nothing"]
    assert {(theorem.key, change) for change in survived["change"]} <= STILL_RIGHT
    assert without_reaction(found, [theorem]) == []
    counted = table(found).loc["all"]
    assert counted["mutants"] == counted[["rule", "composition", "nothing"]].sum()
    if theorem.key != "clipped normal":  # erfc is nothing for z3
        assert counted["z3: refuted"] > 0


@pytest.mark.medium
@pytest.mark.parametrize("theorem", QUICK, ids=by_key)
def test_who_notices_mutants_of_a_few(theorem):
    check(theorem, every=1)


@pytest.mark.slow
@pytest.mark.parametrize("theorem", PROVED, ids=by_key)
def test_who_notices_mutants(theorem):
    """z3 is asked about one in 25; the script asks about all."""
    check(theorem, every=25)
