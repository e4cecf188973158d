"""The pins, environment.yml and pyproject.toml say the same."""

import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    exact = requirements([line for line in lines if line and not line.startswith("#")])
    assert all([s.operator for s in r.specifier] == ["=="] for r in exact.values())
    return {name: next(iter(r.specifier)).version for name, r in exact.items()}


DECLARED = requirements(
    [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
)


def test_every_dependency_is_pinned_and_every_pin_declared():
    assert set(pins()) == set(DECLARED)


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_pyproject_admits_the_pin(name):
    assert DECLARED[name].specifier.contains(pins()[name])


def test_torch_comes_before_torchvision():
    names = list(pins())
    assert names.index("torch") < names.index("torchvision")


def test_conda_installs_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (through_pip,) = (e["pip"] for e in environment["dependencies"] if isinstance(e, dict))
    assert through_pip == ["-r requirements.txt", "-e ."]
    python = next(entry for entry in conda if entry.startswith("python"))
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
