"""Who kills a broken theorem: its own proof, or a network that violates it."""

from __future__ import annotations

import pandas as pd
import sympy as sp

from qnotes import theorems
from tests.falsification.mutants import Mutant, mutants
from tests.falsification.search import search


def kills(networks: int = 2000, *, seed: int = 0, progress: bool = False) -> pd.DataFrame:
    """Break every theorem that has a proof in every way, and report what notices.

    Args:
        networks: how many the search tries on each broken bound; none if 0.
        seed: of the search.
        progress: whether to show a progress bar.

    Returns:
        A row a broken theorem: ``theorem``, ``change``, ``step`` of the proof that fails (empty if
        none does), ``violations`` found by the search (missing for what is not a bound of a
        profile), and ``killed by``: ``proof``, ``search``, ``proof and search`` or ``nothing``.
    """
    broken = [mutant for theorem in theorems() if theorem.proof for mutant in mutants(theorem)]
    computable = [mutant for mutant in broken if mutant.broken.computable]
    searchable = [m for m in computable if isinstance(m.broken.statement, sp.Le)]
    violations: dict[int, int] = {}
    if networks:
        bounds = [mutant.broken for mutant in searchable]
        found = search(networks, seed=seed, bounds=bounds, ascents=False, progress=progress)
        violations = {id(m): n for m, n in zip(searchable, found["violations"], strict=True)}
        for mutant in searchable:
            # Nearly true: only an ascent on this very bound, or luck, finds a violation.
            if mutant.change.startswith("plain mean") and not violations[id(mutant)]:
                alone = search(networks, seed=seed + 1, bounds=[mutant.broken])
                violations[id(mutant)] = alone["violations"].item()
    return pd.DataFrame([_row(mutant, violations.get(id(mutant))) for mutant in broken])


def _row(mutant: Mutant, violations: int | None) -> dict:
    error = mutant.proof_error()
    killers = ["proof"] * (error is not None) + ["search"] * bool(violations)
    return {
        "theorem": mutant.original.key,
        "change": mutant.change,
        "step": error.step if error else "",
        "violations": pd.NA if violations is None else int(violations),
        "killed by": " and ".join(killers) or "nothing",
    }
