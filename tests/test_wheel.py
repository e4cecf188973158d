"""The package as others install it: complete, and at home in any folder."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import pandas as pd
import qnotes as qn
from qnotes.files import data_folder
assert qn.__file__.startswith({home!r}), qn.__file__
numbers = pd.read_csv(data_folder() / "paper_numbers.csv")
assert str(data_folder()).startswith({home!r}) and "paper" in numbers and len(numbers)
assert not any(qn.load(name).training for name in qn.names())
for bits, seed in ((4, 0), (8, 0), (4, 1), (8, 2)):
    profile = qn.stored_profile("resnet20", bits=bits, seed=seed)
    assert qn.bounds(profile)["log10"].notna().sum() > 4
try:
    qn.stored_profile("resnet20", bits=5)
except qn.QnotesError as error:
    print(error)
"""


def test_every_folder_of_the_package_is_packaged():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "qnotes").rglob("*.py")}
    names = {".".join(folder.parts) for folder in folders}
    assert set(tools["packages"]) == {*names, "qnotes.data"}


def run(command: list, folder: Path, installed: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "QNOTES_DATA"}
    env["PYTHONPATH"] = str(installed)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_networks_and_profiles_are_there_in_any_folder(installed, tmp_path):
    program = PROGRAM.format(home=str(installed))
    printed = run([sys.executable, "-c", program], tmp_path, installed)
    assert str(installed / "qnotes/data/profiles") in printed and "resnet20-seed1-8bit" in printed


@pytest.mark.slow
def test_the_command_is_installed(installed, tmp_path):
    printed = run([installed / "bin/qnotes", "prove", "P2"], tmp_path, installed)
    assert "P2" in printed and "0 failed" in printed


@pytest.mark.slow
def test_the_wheel_has_all_data_and_no_more(installed):
    kept = {path.name for path in (installed / "qnotes/data").iterdir()} - {"__pycache__"}
    ours = {path.name for path in (ROOT / "data").iterdir()} - {"__pycache__"}
    assert kept == ours - {"README.md"}
