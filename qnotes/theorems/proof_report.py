"""Tables about the theorems: which steps hold, and how long each took."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from qnotes.errors import QnotesError
from qnotes.theorems import REGISTRY
from qnotes.theorems.theorem import Result


def select(numbers: Iterable[str] = ()) -> tuple[Result, ...]:
    """Theorems by number, such as ``T4``, or by key, such as ``T5 mean form``; all by default.

    Raises:
        QnotesError: for a number that no theorem has.
    """
    wanted = list(numbers)
    known = REGISTRY
    names = {theorem.number for theorem in known} | {theorem.key for theorem in known}
    unknown = [number for number in wanted if number not in names]
    if unknown:
        listed = ", ".join(dict.fromkeys(theorem.number for theorem in known))
        raise QnotesError(f"there is no theorem {', '.join(unknown)}; the theorems are {listed}")
    return tuple(t for t in known if not wanted or t.number in wanted or t.key in wanted)


def proofs(results: Iterable[Result] | None = None) -> pd.DataFrame:
    """Derive every step again, and report on each.

    Args:
        results: theorems; all of them by default.

    Returns:
        A row a step: ``theorem``, ``step``, ``seconds``, ``ok``, and ``remaining``, what a failed
        step left over. Theorems that are only stated have no rows.
    """
    chosen = REGISTRY if results is None else results
    rows = [
        (
            theorem.key,
            entry.step.title,
            entry.seconds,
            entry.error is None,
            str(entry.error.remaining) if entry.error else "",
        )
        for theorem in chosen
        for entry in theorem.checked_steps()
    ]
    return pd.DataFrame(rows, columns=["theorem", "step", "seconds", "ok", "remaining"])
