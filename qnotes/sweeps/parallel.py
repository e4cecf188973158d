"""Running cells: a short sweep in this process, a long one on all cores or on a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

import joblib
from joblib.parallel import BACKENDS, DEFAULT_BACKEND, get_active_backend

from qnotes.sweeps.cell import attempt
from qnotes.sweeps.code import CODE
from qnotes.sweeps.grid import Cell
from qnotes.sweeps.reference import forget

#: A worker imports torch and loads the networks again: some seconds, which a sweep that takes less
#: than this does not earn back. Seconds of processor time, so that a busy machine does not matter.
ALONE = 20.0


def computed(
    grid: list[Cell], missing: list[int], jobs: int | None
) -> Iterator[tuple[int, list[dict]]]:
    """Places and rows of the missing cells, in the order in which they finish.

    Args:
        grid: all cells.
        missing: places in the grid.
        jobs: as in `sweep`.
    """
    waiting = iter(_together(grid, missing))
    try:
        if jobs is None and _on_this_machine():
            yield from _alone(grid, waiting)
            forget()
        yield from _at_once(grid, list(waiting), jobs)
    finally:
        forget()


def _alone(grid: list[Cell], waiting: Iterator[int]) -> Iterator[tuple[int, list[dict]]]:
    end = time.process_time() + ALONE
    for place in waiting:
        yield _placed(place, grid[place], CODE)
        if time.process_time() > end:
            return


def _at_once(grid: list[Cell], missing: list[int], jobs: int | None):
    if not missing:
        return
    most = joblib.cpu_count() if jobs in (None, -1) else jobs
    # A batch is a cell: what is finished waits for nothing, and is kept if the rest is killed.
    parallel = joblib.Parallel(
        n_jobs=min(most, len(missing)), return_as="generator_unordered", batch_size=1
    )
    yield from parallel(joblib.delayed(_placed)(place, grid[place], CODE) for place in missing)


def _placed(place: int, cell: Cell, code: str) -> tuple[int, list[dict]]:
    return place, attempt(cell, code)


def _on_this_machine() -> bool:
    """Whether joblib runs its own processes, and was not told to use something else."""
    backend, _ = get_active_backend()
    return isinstance(backend, BACKENDS[DEFAULT_BACKEND])


def _together(grid: list[Cell], places: list[int]) -> list[int]:
    """The places, with those that share a reference next to each other."""
    first: dict[Cell, int] = {}
    for place in places:
        first.setdefault(grid[place].unquantized, place)
    return sorted(places, key=lambda place: first[grid[place].unquantized])
