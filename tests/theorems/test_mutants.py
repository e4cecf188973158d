"""Every theorem and every proof is broken in many ways; the check notices each time."""

from importlib.util import find_spec

import pytest

from tests.falsification import kills, mutation, search
from tests.falsification.judged import judged, proved, table, without_reaction
from tests.falsification.mutants import altered, mutants
from tests.theorems.checking import remembered

PROVED = proved()
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
    # These facts are about what a layer reads, so they hold for one layer more.
    ("one layer", "step: to later: old error, by values"),
    *(
        ("T15", f"step: to later: {step}")
        for step in (
            *(f"what rests are, {term}" for term in ("layer of S", "layer of S'", "old", "new")),
            *("positive rest, new", "negative rest, new"),
        )
    ),
}


#: About so many mutants of each theorem z3 is asked; the script asks about all.
ASKED = 6 if find_spec("z3") else 0
#: Of what z3 has no rules for, or too little time.
UNJUDGED = {"clipped normal"}


def by_key(theorem) -> str:
    return theorem.key


def check(theorem, monkeypatch) -> None:
    """In one pass: every mutant dies, each step reacts to one, and z3 refutes some."""
    if ASKED:
        monkeypatch.setattr("tests.falsification.judge.EFFORT", 200_000)
        monkeypatch.setattr("tests.falsification.judge.SIZES", ((1, 1), (2, 2)))
    with remembered():
        found = judged([theorem], ask=ASKED)
    survived = found[found["killed by"] == "nothing"]
    assert {(theorem.key, change) for change in survived["change"]} <= STILL_RIGHT
    assert without_reaction(found, [theorem]) == []
    assert (found["kind"] == "formula").sum() >= (1 if theorem.key == "T13" else 3)  # P ≤ δ
    counted = table(found).loc["all"]
    assert counted["mutants"] == counted[["rule", "composition", "nothing"]].sum()
    assert not ASKED or theorem.key in UNJUDGED or counted["z3: refuted"] > 0


@pytest.mark.medium
@pytest.mark.parametrize("theorem", QUICK, ids=by_key)
def test_mutants_of_a_few(theorem, monkeypatch):
    check(theorem, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("theorem", [t for t in PROVED if t not in QUICK], ids=by_key)
def test_mutants(theorem, monkeypatch):
    check(theorem, monkeypatch)


@pytest.mark.medium
@pytest.mark.parametrize("theorem", PROVED, ids=by_key)
def test_what_is_broken_prints_differently(theorem):
    """The page cannot show the right formula above a proof of another one."""
    shown = theorem.latex()
    for mutant in mutants(theorem):
        assert mutant.broken.latex() != shown, mutant.change


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
