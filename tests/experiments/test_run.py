"""A sweep: the same table however it is computed, with provenance and reasons in each row."""

import math
import warnings

import joblib
import pandas as pd
import pytest
import torch

import qnotes as qn
from qnotes import experiments

SMALL = {"inputs": 4, "progress": False}
CELL = ["network", "weights", "scheme", "bits", "equalization", "radius", "seed"]


@pytest.fixture(scope="module")
def alone():
    """A sweep whose slowest network comes first."""
    return qn.sweep(["resnet56", "resnet20"], bits=[4, 8, 16], jobs=1, **SMALL)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Equal but for the rounding of float32, which depends on the number of threads."""
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3, atol=1e-3)


def counted(monkeypatch) -> list:
    """The cells that are computed from here on."""
    seen, attempt = [], experiments.attempt

    def watched(cell, code):
        seen.append(cell)
        return attempt(cell, code)

    monkeypatch.setattr(experiments, "attempt", watched)
    return seen


@pytest.mark.medium
def test_rows_say_what_they_are_the_number_of(alone):
    assert list(alone["network"].unique()) == ["resnet56", "resnet20"]
    assert set(alone["sha256"]) == {
        qn.provenance(name)["sha256"] for name in ("resnet20", "resnet56")
    }
    first = alone.iloc[0]
    assert (first["granularity"], first["symmetric"], first["rounding"]) == (
        "channel",
        True,
        "nearest",
    )
    assert (first["scheme"], first["seed"], first["radius"]) == ("default", 0, 1.0)
    assert (first["qnotes"], first["torch"]) == (qn.__version__, torch.__version__)
    assert not alone.duplicated([*CELL, "theorem", "bound"]).any()


@pytest.mark.medium
def test_processes_compute_the_same_in_the_same_order(alone):
    assert_same(qn.sweep(["resnet56", "resnet20"], bits=[4, 8, 16], jobs=2, **SMALL), alone)


@pytest.mark.medium
def test_a_long_sweep_goes_on_in_processes(alone, monkeypatch):
    monkeypatch.setattr(experiments, "ALONE", 0.0)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    here = counted(monkeypatch)
    assert_same(qn.sweep(["resnet56", "resnet20"], bits=[4, 8, 16], **SMALL), alone)
    assert [(cell.network, cell.bits) for cell in here] == [("resnet56", 4)]


@pytest.mark.medium
def test_workers_do_not_fight_for_cores():
    threads = joblib.Parallel(n_jobs=2)(joblib.delayed(torch.get_num_threads)() for _ in range(4))
    assert set(threads) == {max(1, joblib.cpu_count() // 2)}


@pytest.mark.medium
def test_threads_compute_the_same(alone):
    """torch.fx changes nn.Module while it traces: without care, threads get it mixed up."""
    with joblib.parallel_config("threading"):
        found = qn.sweep(["resnet56", "resnet20"], bits=[4, 8, 16], jobs=3, **SMALL)
    assert_same(found, alone)


def test_a_bad_cell_stops_no_other():
    with pytest.warns(UserWarning, match=r"3 of 4 cells failed.*resnet20, 99 bits: bits must"):
        table = qn.sweep(["resnet20", "resnet18"], bits=[8, 99], **SMALL)
    bad = table[table["theorem"].isna()]
    assert list(bad["bits"]) == [99, 8, 99]
    assert "unknown network 'resnet18'" in bad["reason"].iloc[-1]
    assert bad["log10"].isna().all() and bad["reason"].str.len().min() > 10
    good = table[table["theorem"].notna()]
    assert set(good["network"]) == {"resnet20"} and set(good["bits"]) == {8}


def test_good_cells_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        qn.sweep("resnet20", **SMALL)


def own_network() -> torch.nn.Module:
    torch.manual_seed(1)
    layers = [torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval()


@pytest.mark.medium
@pytest.mark.parametrize("jobs", [1, 2])
def test_own_networks(jobs, tmp_path):
    layers = [torch.nn.Flatten(), torch.nn.Linear(36, 2), torch.nn.Softplus()]
    mine, refused = own_network(), torch.nn.Sequential(*layers).eval()
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    call = {"input_shape": (1, 1, 6, 6), "memory": tmp_path, "jobs": jobs, **SMALL}
    with pytest.warns(UserWarning, match=r"2 of 4 cells failed.*refused, 4 bits.*Softplus"):
        table = qn.sweep({"mine": mine, "refused": refused}, bits=[4, 8], **call)
    assert all(torch.equal(tensor, before[name]) for name, tensor in mine.state_dict().items())
    good = table[table["network"] == "mine"]
    assert set(good["weights"]) == {"own"} and good["sha256"].str.len().eq(64).all()
    assert set(good.loc[good["theorem"] == "measured", "bound"]) == {"random inputs"}
    folded = qn.fold(mine)
    quantized = qn.quantize(folded, bits=4).model
    expected = qn.bounds(qn.profile(folded, quantized, input_shape=(1, 1, 6, 6)))["log10"]
    found = good.loc[(good["bits"] == 4) & (good["theorem"] != "measured"), "log10"]
    assert found.tolist() == pytest.approx(expected.tolist(), nan_ok=True)


def test_own_networks_are_remembered_by_their_weights(tmp_path, monkeypatch):
    seen, mine = counted(monkeypatch), own_network()
    call = {"input_shape": (1, 1, 6, 6), "memory": tmp_path, **SMALL}
    first = qn.sweep(mine, **call)
    pd.testing.assert_frame_equal(qn.sweep(own_network(), **call), first)
    assert len(seen) == 1
    with torch.no_grad():
        mine[0].weight[0, 0, 0, 0] += 1
    assert qn.sweep(mine, **call)["sha256"].iloc[0] != first["sha256"].iloc[0]
    assert len(seen) == 2


@pytest.mark.medium
def test_axes_of_all_kinds():
    schemes = {"coarse": {"granularity": "tensor"}, "affine": {"symmetric": False}}
    table = qn.sweep(
        "resnet20",
        weights=["digits", "random"],
        schemes=schemes,
        radius=[0.5, 1],
        seed=[0, 1],
        **SMALL,
    )
    assert table.groupby(CELL, dropna=False).ngroups == 16
    assert set(table.loc[table["scheme"] == "coarse", "granularity"]) == {"tensor"}
    assert set(table.loc[table["scheme"] == "affine", "symmetric"]) == {False}
    measured = table[table["theorem"] == "measured"].set_index([*CELL, "bound"])["log10"]
    assert measured.nunique() == len(measured)


def test_what_is_remembered_is_not_computed(tmp_path, monkeypatch):
    before = counted(monkeypatch)
    first = qn.sweep("resnet20", bits=[4, 8], memory=tmp_path, **SMALL)
    assert len(before) == 2
    seen = counted(monkeypatch)
    pd.testing.assert_frame_equal(
        qn.sweep("resnet20", bits=[4, 8], memory=tmp_path, **SMALL), first
    )
    assert not seen
    wider = qn.sweep("resnet20", bits=[8, 6, 4], memory=tmp_path, **SMALL)
    assert [cell.bits for cell in seen] == [6]
    assert list(wider["bits"].unique()) == [8, 6, 4]


def test_failures_are_tried_again(tmp_path, monkeypatch):
    seen = counted(monkeypatch)
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 of 2 cells failed"):
            qn.sweep("resnet20", bits=[98, 99], memory=tmp_path, **SMALL)
    assert len(seen) == 4 and not list(tmp_path.rglob("output.pkl"))


def test_the_bar_counts_what_is_remembered(tmp_path, capsys):
    for bits in ([4], [4, 8]):
        qn.sweep("resnet20", bits=bits, memory=tmp_path, inputs=4)
    shown = capsys.readouterr().err.split("\r")
    assert any("1/2 [00:" in text for text in shown)
    assert any("2/2 [" in text for text in shown[-2:])  # how long it took depends on the machine


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jobs": 0}, "jobs must be a number of processes, or -1 for one a core; got 0"),
        ({"precision": "half"}, "precision must be one of float32, float64; got 'half'"),
        ({"bits": []}, "bits is empty"),
        ({"schemes": {"rounds": "up"}}, "no option 'rounds'"),
    ],
)
def test_wrong_calls(given, message):
    with pytest.raises(qn.QnotesError, match=message):
        qn.sweep("resnet20", **{**SMALL, **given})


@pytest.mark.medium
def test_measured_errors_fall_with_bits(alone):
    measured = alone[alone["theorem"] == "measured"].set_index(["network", "bound", "bits"])[
        "log10"
    ]
    for _, line in measured.groupby(["network", "bound"]):
        assert line.is_monotonic_decreasing and math.isfinite(line.min())
