"""Every theorem is broken in many ways; its proof or a network notices each time."""

import pytest

import qnotes as qn
from tests.falsification import kills, mutation, search
from tests.falsification.mutants import mutants

pytestmark = pytest.mark.slow
PROVED = [theorem for theorem in qn.theorems() if theorem.proof]


@pytest.mark.parametrize("theorem", PROVED, ids=lambda theorem: theorem.key)
def test_every_mutant_dies(theorem):
    made = mutants(theorem)
    assert len(made) >= 6
    survivors = [mutant.change for mutant in made if mutant.proof_error() is None]
    assert survivors == []


def test_the_mutants_are_of_every_kind():
    changes = {mutant.change for theorem in PROVED for mutant in mutants(theorem)}
    for kind in (
        "another exponent",
        "another first or last layer",
        "a maximum dropped",
        "a symbol swapped",
        "maximum for mean, in r_mean",
        "plain mean, in r_mean",
    ):
        assert any(change.startswith(kind) for change in changes), kind


def test_the_search_finds_that_the_plain_mean_is_wrong():
    (theorem,) = [t for t in PROVED if t.key == "T4 mean form"]
    (plain,) = [m for m in mutants(theorem) if m.change == "plain mean, in r_mean"]
    (found,) = search(3000, seed=1, bounds=[plain.broken]).to_dict("records")
    assert found["violations"] > 0
    assert found["largest"] > 1.1


def test_it_is_reported_who_kills(monkeypatch):
    chosen = [theorem for theorem in PROVED if theorem.key in ("T2", "T12")]
    monkeypatch.setattr(mutation, "theorems", lambda: chosen)
    found = kills(300)
    assert set(found["killed by"]) == {"proof", "proof and search"}
    assert found.loc[found["theorem"] == "T12", "violations"].isna().all()
    assert found.loc[found["theorem"] == "T2", "violations"].gt(0).any()
