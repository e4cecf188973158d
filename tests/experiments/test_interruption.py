"""A sweep that is killed goes on where it was."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pandas as pd
import pytest

import qnotes as qn
from qnotes import experiments

GRID = {"networks": "resnet20", "bits": list(range(2, 10)), "seed": [0, 1], "inputs": 4}
CELLS = 16
# Whoever runs the tests in the background may have Ctrl-C ignored, here too.
SWEEP = (
    "import signal, sys, qnotes; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "qnotes.sweep(**{grid}, memory=sys.argv[1], jobs={jobs}, progress=False)"
)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "jobs"), [(signal.SIGKILL, 2), (signal.SIGINT, 1)])
def test_only_what_is_missing_is_computed(how, jobs, tmp_path, root, monkeypatch):
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP.format(grid=GRID, jobs=jobs), tmp_path],
        cwd=root,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(tmp_path, 3)
    os.kill(process.pid, how)
    process.wait(timeout=60)
    kept = finished(tmp_path)
    end_workers(process.pid)
    assert 3 <= len(kept) < CELLS

    computed, attempt = [], experiments.attempt
    monkeypatch.setattr(
        experiments, "attempt", lambda cell, code: computed.append(cell) or attempt(cell, code)
    )
    table = qn.sweep(**GRID, memory=tmp_path, jobs=1, progress=False)
    assert len(computed) == CELLS - len(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pd.testing.assert_frame_equal(
        table, qn.sweep(**GRID, jobs=1, progress=False), rtol=1e-3, atol=1e-3
    )


def end_workers(group: int) -> None:
    """Workers of a killed process wait for five minutes before they end by themselves."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def finished(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("output.pkl")}


def wait_for(folder, count: int) -> None:
    end = time.monotonic() + 120
    while len(finished(folder)) < count:
        assert time.monotonic() < end, "the sweep did not start"
        time.sleep(0.01)
