"""What all tests share."""

import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture
def ticking(monkeypatch) -> None:
    """A clock that moves when it is read: what seconds allow is the same on every machine."""
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=0.01).__next__)


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """What `pip install .` puts into a folder, from a copy, since building writes beside."""
    copy, target = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("target")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("qnotes", "data"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *offline, "--target", target, copy], check=True)
    return target
