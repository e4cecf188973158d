"""Who notices a mutant: a rule, the composition of the proof, and z3, with a counterexample.

    python -m tests.falsification.judged            # all theorems; about half an hour
    python -m tests.falsification.judged T2 T12

It prints a table by kind of mutant, and the steps that react to no mutant.
"""

from __future__ import annotations

import sys

import pandas as pd

from qnotes import theorems
from qnotes.theorems.theorem import ProofError, Result
from tests.falsification.mutants import Mutant, altered, mutants

_KINDS = ("step", "hypothesis", "premise", "statement", "also", "conclusion", "consistent")
#: How composition says that a step names what is not there.
_NAMING = ("nothing before is called", "is the name of two facts", "is no premise")


def proved() -> list[Result]:
    """Every theorem and lemma with a proof."""
    return [theorem for theorem in (*theorems.LEMMAS, *theorems()) if theorem.prove]


def judged(chosen: list[Result], *, ask: int | None = None) -> pd.DataFrame:
    """A row a mutant: ``theorem``, ``kind``, ``change``, ``step``, ``killed by`` and ``z3``.

    ``step`` is the one that fails, empty where the proof as a whole does not compose. z3 is asked
    about all mutants, or about so many of each theorem, since that is what takes long.
    """
    rows = []
    for theorem in chosen:
        broken = (*mutants(theorem), *altered(theorem))
        every = 1 if ask is None else -(-len(broken) // ask) if ask else len(broken) + 1
        for number, mutant in enumerate(broken):
            error = mutant.proof_error()
            by, step = _killed(mutant, error)
            rows.append(
                {
                    "theorem": theorem.key,
                    "kind": _kind(mutant),
                    "change": mutant.change,
                    "step": step,
                    "killed by": by,
                    "z3": "not asked" if (number + 1) % every else _opinion(mutant, error),
                }
            )
    return pd.DataFrame(rows)


def _kind(mutant: Mutant) -> str:
    kind = mutant.change.split(":")[0]
    return kind if kind in _KINDS else "formula"


def _killed(mutant: Mutant, error: ProofError | None) -> tuple[str, str]:
    if error is None:
        return "nothing", ""
    names = {step.name for step in mutant.broken.proof}
    said = error.remaining if isinstance(error.remaining, str) else ""
    naming = any(words in said for words in _NAMING)
    idle = "the step is idle" in said
    if error.step not in names or naming or idle:
        return "composition", ""
    return "rule", error.step


def _opinion(mutant: Mutant, error: ProofError | None) -> str:
    """Of a changed step; else of the theorem, or premise, as a whole, then of what fails in it."""
    from tests.falsification.judge import of_step, of_theorem  # only who asks z3 needs it

    kind, judged = _kind(mutant), mutant.broken
    if kind == "premise":
        if not any(word in mutant.change for word in ("relation", "left side")):
            return "no fit"  # dropped, unproved, circular
        (judged,) = [x for x in judged.premises if x not in mutant.original.premises]
    whole = "no fit" if kind == "step" else of_theorem(judged).word
    if whole == "refuted" or error is None:
        return whole
    step = of_step(mutant.broken, error.step).word
    return step if kind == "step" or step == "refuted" else whole


def table(found: pd.DataFrame) -> pd.DataFrame:
    """By kind: how many mutants, who kills them, and what z3 says of them."""
    counted = pd.DataFrame(
        {
            "mutants": found.groupby("kind").size(),
            **{by: _count(found, "killed by", by) for by in ("rule", "composition", "nothing")},
            **{
                f"z3: {word}": _count(found, "z3", word)
                for word in ("refuted", "follows", "unknown", "no fit")
            },
        }
    )
    counted = counted.fillna(0).astype(int)
    counted.loc["all"] = counted.sum()
    return counted


def _count(found: pd.DataFrame, column: str, value: str) -> pd.Series:
    return found[found[column] == value].groupby("kind").size()


def without_reaction(found: pd.DataFrame, chosen: list[Result]) -> list[tuple[str, str]]:
    """Steps at which no mutant fails, one by one."""
    reacts = set(zip(found["theorem"], found["step"], strict=True))
    steps = [(theorem.key, step.name) for theorem in chosen for step in theorem.proof]
    return [step for step in steps if step not in reacts]


def main(arguments: list[str]) -> None:
    """Print the table."""
    from tests.theorems.checking import remembered

    chosen = [x for x in proved() if not arguments or {x.key, x.number} & set(arguments)]
    with remembered():
        found = judged(chosen)
    print(table(found).to_string())
    print("steps that react to no mutant:", without_reaction(found, chosen) or "none")
    survived = found[found["killed by"] == "nothing"]
    print("survivors:", *zip(survived["theorem"], survived["change"], strict=True))


if __name__ == "__main__":
    main(sys.argv[1:])
