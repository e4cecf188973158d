"""The hash of the code: it changes with what rows depend on, and with nothing else."""

import subprocess
import sys

import pytest

from qnotes import experiments

SWEEP = """
import sys
import qnotes
qnotes.sweep("resnet20", bits=4, inputs=2, jobs=1, progress=False)
print(*sorted(name for name in sys.modules if name.startswith("qnotes.")))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name in ("networks.py", "__main__.py", "figures.py", "theorems/T7_gain.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    monkeypatch.setattr(experiments, "PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("networks.py", True),
        ("theorems/T7_gain.py", True),
        ("new.py", True),
        ("figures.py", False),
        ("__main__.py", False),
    ],
)
def test_what_counts(package, name, counts):
    before = experiments._code_hash()
    (package / name).write_text("after")
    assert (experiments._code_hash() != before) == counts


def test_names_of_files_count(package):
    before = experiments._code_hash()
    (package / "networks.py").rename(package / "nets.py")
    assert experiments._code_hash() != before


def test_versions_of_libraries_count(package, monkeypatch):
    before = experiments._code_hash()
    monkeypatch.setattr(experiments, "version", lambda library: "0.0")
    assert experiments._code_hash() != before


@pytest.mark.medium
def test_a_sweep_uses_nothing_that_is_left_aside(root):
    run = subprocess.run(
        [sys.executable, "-c", SWEEP], cwd=root, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[1] for name in run.stdout.split()}
    assert {"experiments", "quantization", "networks"} <= loaded
    assert not {name.removesuffix(".py") for name in experiments.ASIDE} & loaded
    assert all((experiments.PACKAGE / name).exists() for name in experiments.ASIDE)
