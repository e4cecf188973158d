"""The sweep itself: a grid, what is remembered of it, and the rest computed."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from qnotes.errors import QnotesError
from qnotes.sweeps.cell import failed
from qnotes.sweeps.grid import Cell, cells
from qnotes.sweeps.parallel import computed
from qnotes.sweeps.reference import PRECISIONS
from qnotes.sweeps.remembered import Memory
from qnotes.sweeps.table import table


def sweep(
    networks,
    *,
    weights="digits",
    schemes=None,
    bits=8,
    equalization=None,
    radius=1.0,
    seed=0,
    relu6: str = "refuse",
    inputs: int = 64,
    accuracy: bool = False,
    precision: str = "float32",
    memory: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Quantize named networks in many ways; bound and measure the error of each.

    Every axis (networks, weights, schemes, bits, equalization, radius, seed) takes one value or
    several, and every combination is a cell. Long sweeps run in processes, one a core. On a
    cluster, with the extra ``qnotes[cluster]`` and one thread a worker::

        client = dask.distributed.Client("scheduler:8786")
        with joblib.parallel_config("dask"):
            table = qn.sweep(networks, bits=range(2, 17))

    Errors are measured in float32, the precision that networks run in. At 16 bits its rounding
    moves them by some tenths of a percent, at 8 bits a hundredth of that; `precision` avoids it.

    Args:
        networks: names that `load` knows.
        weights: ``digits``, ``imagenet`` or ``random``.
        schemes: a mapping of options of `quantize`, such as ``{"granularity": "tensor"}``; several
            of them; or a mapping from names to such. None is `quantize`'s own default. A
            ``calibration`` is a number here: so many training images (with digits weights and a
            radius of at least 1) or random inputs.
        bits: width of a code.
        equalization: None, or a method of `equalize`: ``cle``, ``path`` or ``even``.
        radius: D; inputs lie in [-D, D]^N_0.
        seed: of random inputs, of random weights, and of what is random in a scheme.
        relu6: ``relu`` lets `equalize` replace ReLU6 by ReLU. Errors of equalized cells are then
            measured against the network with ReLU. With ``refuse`` such cells fail.
        inputs: how many test images, and how many random inputs, errors are measured on.
        accuracy: measure it too, on the digits' test images, with digits weights. There are 599, so
            this takes longer than the rest.
        precision: ``float32`` or ``float64``, in which networks run for what is measured; float64
            takes three to eight times as long.
        memory: a folder where finished cells are kept: a sweep that is asked for again, or goes on
            after an interruption, computes only what is missing. A change of the weights, the
            sources or the libraries makes a cell new.
        jobs: how many processes, -1 for one a core, 1 for this one alone. None is this one for the
            first 20 seconds of processor time, enough for a short sweep, and then one a core. A
            cluster uses all its workers.
        progress: show a bar with the time left.

    Returns:
        A row a number, cells in the order of the grid, with columns

        - network, depth, weights, sha256, scheme, the options of `quantize`, bits, equalization,
          relu6, radius, seed, inputs, precision: what it is the number of;
        - theorem, bound and log10 as in `bounds`. Rows of theorem ``measured`` hold the largest
          error on ``digits`` (with digits weights and a radius of at least 1) and on ``random
          inputs``;
        - accuracy, reference_accuracy: of the quantized network and its reference, the same in all
          rows of a cell, NaN where not measured;
        - reason: empty, or why there is no number. A cell that fails is one row without a theorem;
          it does not stop the others, and a warning counts such cells;
        - qnotes, torch: versions.

    Raises:
        QnotesError: for a grid that cannot be made: an empty axis, a value twice, an option that
            `quantize` does not have.
    """
    if precision not in PRECISIONS:
        raise QnotesError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    grid = cells(
        networks,
        weights,
        {} if schemes is None else schemes,
        bits,
        equalization,
        radius,
        seed,
        relu6=relu6,
        inputs=inputs,
        accuracy=accuracy,
        precision=precision,
    )
    store = None if memory is None else Memory(memory)
    found = {} if store is None else _recalled(store, grid)
    missing = [place for place in range(len(grid)) if place not in found]
    fresh = computed(grid, missing, jobs)
    for place, rows in _with_bar(fresh, len(grid), len(found), progress):
        found[place] = rows
        if store and not failed(rows):
            store.remember(grid[place], rows)
    _warn(grid, found)
    return table((cell, found[place]) for place, cell in enumerate(grid))


def _recalled(store: Memory, grid: list[Cell]) -> dict[int, list[dict]]:
    recalled = {place: store.recall(cell) for place, cell in enumerate(grid)}
    return {place: rows for place, rows in recalled.items() if rows}


def _with_bar(computed, total: int, done: int, progress: bool):
    return tqdm(
        computed, desc="sweep", unit="cell", total=total, initial=done, disable=not progress
    )


def _warn(grid: list[Cell], found: dict[int, list[dict]]) -> None:
    bad = [place for place in range(len(grid)) if failed(found[place])]
    if bad:
        cell, reason = grid[bad[0]], found[bad[0]][0]["reason"]
        warnings.warn(
            f"{len(bad)} of {len(grid)} cells failed; the column 'reason' says why. The first: "
            f"{cell.network}, {cell.bits} bits: {reason}",
            stacklevel=3,
        )
