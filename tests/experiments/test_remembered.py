"""What is remembered: the same cell of the same code, whole or not at all."""

import ast
import json
import math
from dataclasses import replace

import pytest
from joblib._store_backends import FileSystemStoreBackend

from qnotes import experiments
from qnotes.errors import QnotesError
from qnotes.experiments import MEASURED, Memory, cells

ROWS = [
    {"theorem": "T5", "bound": "mean form", "log10": 1 / 3, "reason": "", "accuracy": math.nan},
    {"theorem": MEASURED, "bound": "digits", "log10": -math.inf, "reason": "", "accuracy": 1.0},
]
SETTINGS = {"relu6": "refuse", "inputs": 4, "accuracy": False, "precision": "float32"}
(CELL,) = cells("resnet20", "digits", {}, 8, None, 1.0, 0, **SETTINGS)


@pytest.fixture
def memory(tmp_path):
    memory = Memory(tmp_path / "deep" / "folder")
    memory.folder = tmp_path / "deep" / "folder"
    return memory


def test_rows_come_back_digit_for_digit(memory):
    assert memory.recall(CELL) is None
    memory.remember(CELL, ROWS)
    assert repr(Memory(memory.folder).recall(CELL)) == repr(ROWS)


@pytest.mark.parametrize(
    "changed",
    [
        {"network": "resnet32"},
        {"weights": "random"},
        {"sha256": "0" * 64},
        {"options": {"symmetric": False}},
        {"bits": 4},
        {"equalization": "cle"},
        {"relu6": "relu"},
        {"radius": 2.0},
        {"seed": 1},
        {"inputs": 5},
        {"accuracy": True},
        {"precision": "float64"},
        {"input_shape": (1, 1, 16, 16)},
    ],
)
def test_another_cell_is_not_taken_for_it(memory, changed):
    memory.remember(CELL, ROWS)
    assert memory.recall(replace(CELL, **changed)) is None


def test_a_scheme_is_known_by_its_options(memory):
    memory.remember(CELL, ROWS)
    assert memory.recall(replace(CELL, scheme="another name"))


def test_another_code_is_not_taken_for_it(memory, monkeypatch):
    memory.remember(CELL, ROWS)
    monkeypatch.setattr(experiments, "CODE", "another")
    assert memory.recall(CELL) is None


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_damaged_file_is_not_read(memory, kept):
    memory.remember(CELL, ROWS)
    (path,) = memory.folder.rglob("output.pkl")
    path.write_bytes(path.read_bytes()[:kept])
    assert memory.recall(CELL) is None
    memory.remember(CELL, ROWS)
    assert memory.recall(CELL)[0]["log10"] == 1 / 3


def test_what_is_half_written_does_not_look_whole(memory, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FileSystemStoreBackend, "_move_item", killed)
    with pytest.raises(KeyboardInterrupt):
        memory.remember(CELL, ROWS)
    assert memory.recall(CELL) is None
    assert not list(memory.folder.rglob("output.pkl"))


def test_a_reader_can_tell_what_a_file_is(memory):
    memory.remember(CELL, ROWS)
    (path,) = memory.folder.rglob("metadata.json")
    about = ast.literal_eval(json.loads(path.read_text())["input_args"]["about"])
    assert json.loads(about)["cell"]["network"] == "resnet20"


@pytest.mark.filterwarnings("ignore:Unable to write")  # joblib, before its error
def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QnotesError, match="memory must be a folder that can be written"):
        Memory(tmp_path / "file")
    with pytest.raises(QnotesError, match="memory must be a folder"):
        Memory(3)
