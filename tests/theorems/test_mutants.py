"""Every theorem and every proof is broken in many ways; the check notices each time."""

import pytest

import qnotes as qn
from tests.falsification import kills, mutation, search
from tests.falsification.mutants import altered, mutants
from tests.theorems.checking import remembered

PROVED = [theorem for theorem in (*qn.theorems.LEMMAS, *qn.theorems()) if theorem.prove]
QUICK = [theorem for theorem in PROVED if theorem.key in ("T12", "T7 gain", "solved recursion")]

#: Changes after which statement and proof are still right.
STILL_RIGHT = {
    ("T8", "step: to later: new error, bounded"),  # the fact holds for one layer more
    ("P1", "step: to later: at least one, always"),  # the same
    ("P2", "step: to later: powers"),  # the same
    ("T9", "hypothesis: weakened: largest entry of z"),  # the rows leave room for it
    ("solved recursion", "step: right side by 1000: q at first"),  # it is zero: an empty sum
    ("T1", "step: right side by 1000: no factor"),  # the same
    ("T9", "twice the value, in z_layer[ell, i]"),  # an auxiliary vector: any larger one will do
}


def survivors(theorem) -> set[tuple[str, str]]:
    with remembered():
        made = (*mutants(theorem), *altered(theorem))
        return {(theorem.key, m.change) for m in made if m.proof_error() is None} - STILL_RIGHT


@pytest.mark.medium
@pytest.mark.parametrize("theorem", QUICK, ids=lambda theorem: theorem.key)
def test_every_mutant_of_a_few_dies(theorem):
    assert survivors(theorem) == set()


@pytest.mark.slow
@pytest.mark.parametrize("theorem", PROVED, ids=lambda theorem: theorem.key)
def test_every_mutant_dies(theorem):
    assert len(mutants(theorem)) >= 3
    assert survivors(theorem) == set()


@pytest.mark.slow
@pytest.mark.parametrize("theorem", PROVED, ids=lambda theorem: theorem.key)
def test_what_is_broken_prints_differently(theorem):
    """The page cannot show the right formula above a proof of another one."""
    for mutant in mutants(theorem):
        assert mutant.broken.latex() != theorem.latex(), mutant.change


def test_the_mutants_are_of_every_kind():
    changes = {m.change for theorem in QUICK for m in (*mutants(theorem), *altered(theorem))}
    for kind in (
        "another exponent",
        "another first or last layer",
        "statement: relation",
        "statement: left side",
        "conclusion: relation",
        "hypothesis: dropped",
        "hypothesis: weakened",
        "hypothesis: for fewer",
        "hypothesis: one too many",
        "premise: the theorem itself",
        "step: deleted",
        "step: idle",
        "step: right side by 1000",
        "step: without fact",
        "consistent: last 2 steps",
    ):
        assert any(change.startswith(kind) for change in changes), kind


@pytest.mark.slow
def test_the_search_finds_that_the_plain_mean_is_wrong():
    (theorem,) = [t for t in PROVED if t.key == "T4 mean form"]
    (plain,) = [m for m in mutants(theorem) if m.change == "plain mean, in r_mean"]
    (found,) = search(3000, seed=1, bounds=[plain.broken]).to_dict("records")
    assert found["violations"] > 0
    assert found["largest"] > 1.1


@pytest.mark.slow
def test_it_is_reported_who_kills(monkeypatch):
    chosen = [theorem for theorem in PROVED if theorem.key in ("T2", "T12")]
    monkeypatch.setattr(mutation, "theorems", lambda: chosen)
    found = kills(300)
    assert set(found["killed by"]) == {"proof", "proof and search"}
    assert found.loc[found["theorem"] == "T12", "violations"].isna().all()
    assert found.loc[found["theorem"] == "T2", "violations"].gt(0).any()
