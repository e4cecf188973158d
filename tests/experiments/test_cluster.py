"""The same call on a cluster, and one of its two workers dies in the middle."""

import os
import signal
import time
from threading import Thread

import distributed
import joblib
import pandas as pd
import pytest

import qnotes as qn

GRID = {"networks": ["resnet20", "resnet32"], "bits": list(range(2, 17)), "inputs": 4}
CELLS = 30


@pytest.mark.slow
def test_a_worker_dies_and_no_row_is_lost(tmp_path):
    killed = []
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as local,
        distributed.Client(local) as client,
        joblib.parallel_config("dask"),
    ):
        workers = client.run(os.getpid)
        assert len(set(workers.values()) - {os.getpid()}) == 2
        killer = Thread(target=kill_in_mid_sweep, args=(min(workers.values()), tmp_path, killed))
        killer.start()
        table = qn.sweep(**GRID, memory=tmp_path, progress=False)
        killer.join()
    assert killed and 3 <= killed[0] < CELLS
    assert not table.duplicated(["network", "bits", "theorem", "bound"]).any()
    assert len(list(tmp_path.rglob("output.pkl"))) == CELLS
    pd.testing.assert_frame_equal(
        table, qn.sweep(**GRID, jobs=1, progress=False), rtol=1e-3, atol=1e-3
    )


def kill_in_mid_sweep(worker: int, folder, killed: list[int]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        done = len(list(folder.rglob("output.pkl")))
        if done >= 3:
            os.kill(worker, signal.SIGKILL)
            killed.append(done)
            return
        time.sleep(0.01)
