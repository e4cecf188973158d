"""Results that are kept: read where nothing changed, computed where anything did."""

import importlib.util
import json

import numpy as np
import pytest

import qnotes as qn
from qnotes import kept

SOURCE = """
from qnotes.kept import kept

FACTOR = 2


def helper(x):
    return FACTOR * x


@kept("chapter")
def doubled(x, network="resnet20", *, weights="digits", seed=0):
    calls.append(x)
    return {"value": helper(x), "pair": (1, None)}


calls = []
TABLE = object()


@kept("chapter")
def careless(x):
    return TABLE
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """The module of a source, its results kept in an empty folder."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "manifest.json").write_bytes((kept.data_folder() / "manifest.json").read_bytes())
    monkeypatch.setenv("QNOTES_DATA", str(data))
    monkeypatch.setenv(kept.KEEP, str(data / kept.FOLDER))
    count = iter(range(100))

    def loaded(source):
        path = tmp_path / f"cells{next(count)}.py"
        path.write_text(source.replace("calls.append(x)\n", "record(x)\n"))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        module.seen = []
        module.record = lambda x: module.seen.append(x)
        spec.loader.exec_module(module)
        return module

    return loaded


def test_a_result_is_computed_once(load):
    module = load(SOURCE)
    found = [module.doubled(3) for _ in range(3)]
    assert found == [{"value": 6, "pair": [1, None]}] * 3 and module.seen == [3]
    assert module.doubled(4)["value"] == 8 and module.seen == [3, 4]
    again = load(SOURCE)
    assert again.doubled(3)["value"] == 6 and again.seen == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FACTOR * x", "FACTOR * x + 1"),
        ("FACTOR = 2", "FACTOR = 3"),
        ('"value": ', '"value": 1 * '),
    ],
)
def test_a_change_of_the_source_counts(load, old, new):
    load(SOURCE).doubled(3)
    changed = load(SOURCE.replace(old, new))
    changed.doubled(3)
    assert changed.seen == [3]
    assert len((kept.data_folder() / "kept/chapter.jsonl").read_text().splitlines()) == 1


def test_spaces_and_other_functions_do_not_count(load):
    load(SOURCE).doubled(3)
    other = load(SOURCE.replace("FACTOR * x", "FACTOR  *  x").replace("object()", "dict()"))
    assert other.doubled(3)["value"] == 6 and other.seen == []


@pytest.mark.parametrize("changed", [{"seed": 1}, {"network": "resnet32"}, {"weights": "random"}])
def test_arguments_count(load, changed):
    module = load(SOURCE)
    module.doubled(3)
    module.doubled(3, **changed)
    assert module.seen == [3, 3]


def test_other_weights_count(load, tmp_path):
    module = load(SOURCE)
    module.doubled(3)
    path = kept.data_folder() / "manifest.json"
    sha256 = qn.provenance("resnet20")["sha256"]
    path.write_text(path.read_text().replace(sha256, "0" * 64))
    module.doubled(3)
    assert module.seen == [3, 3]


def test_nothing_is_written_unless_it_is_asked_for(load, monkeypatch):
    monkeypatch.delenv(kept.KEEP)
    module = load(SOURCE)
    assert module.doubled(3) == module.doubled(3) and module.seen == [3, 3]
    assert not (kept.data_folder() / "kept").exists()


def test_what_a_function_reads_must_be_an_argument(load):
    with pytest.raises(qn.QnotesError, match="TABLE, which careless reads"):
        load(SOURCE).careless(1)


@pytest.mark.parametrize("given", [object(), np.zeros(3)])
def test_arguments_must_be_plain(load, given):
    with pytest.raises(qn.QnotesError, match="the arguments of doubled"):
        load(SOURCE).doubled(given)


def test_numbers_of_numpy_are_plain():
    assert kept.plain({"a": np.float64(0.5), "b": (np.int64(2), np.bool_(True))}, "it") == {
        "a": 0.5,
        "b": [2, True],
    }


def test_a_damaged_file_is_named(load):
    load(SOURCE).doubled(3)
    (kept.data_folder() / "kept/chapter.jsonl").write_text("{")
    with pytest.raises(qn.QnotesError, match=r"chapter\.jsonl.*make kept"):
        load(SOURCE).doubled(3)


@pytest.mark.medium
def test_cells_of_a_sweep_come_back(tmp_path, monkeypatch):
    grid = {"bits": [4, 8], "inputs": 2, "jobs": 1, "progress": False}
    expected = qn.sweep("resnet20", **grid)
    real = kept.data_folder
    monkeypatch.setattr(kept, "data_folder", lambda: tmp_path)
    monkeypatch.setenv(kept.KEEP, str(tmp_path / kept.FOLDER))
    qn.sweep("resnet20", **grid, memory=kept.CELLS)
    monkeypatch.setattr("qnotes.experiments.rows", None)  # no cell may be computed
    again = qn.sweep("resnet20", **grid, memory=kept.CELLS)
    assert list(again["reason"]) == list(expected["reason"])
    np.testing.assert_allclose(again["log10"], expected["log10"], rtol=1e-7)
    same = qn.sweep("resnet20", schemes={"granularity": "channel"}, **grid, memory=kept.CELLS)
    assert same["log10"].equals(again["log10"])  # the default, named
    lines = (tmp_path / "kept/sweeps.jsonl").read_text().splitlines()
    assert len(lines) == 2 and real() != tmp_path
    assert json.loads(lines[0])["about"]["bits"] == 4
