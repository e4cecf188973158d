"""The command `prove`."""

import json

import pytest

from qnotes import cli, theorems
from qnotes.cli import main
from tests.falsification.mutants import mutants


@pytest.mark.medium
def test_prove_prints_a_table(capsys):
    assert main(["prove", "T4", "T12"]) == 0
    printed = capsys.readouterr().out
    assert "T4 mean form" in printed and "T12" in printed and "\nT3" not in printed
    assert "2 theorems" in printed and "0 failed" in printed


@pytest.mark.medium
def test_prove_all(capsys):
    assert main(["prove"]) == 0
    printed = capsys.readouterr().out
    assert all(theorem.key in printed for theorem in (*theorems.LEMMAS, *theorems()))


def test_prove_as_json(capsys):
    assert main(["prove", "P2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"theorem", "step", "rule", "seconds", "ok", "remaining"} == set(rows[0])
    assert all(row["ok"] for row in rows)


@pytest.mark.medium
def test_prove_fails_on_a_broken_theorem(capsys, monkeypatch):
    broken = mutants(theorems()[0])[0].broken
    monkeypatch.setattr(cli, "numbered", lambda numbers: [broken])
    assert main(["prove"]) == 1
    assert "1 failed" in capsys.readouterr().out


def test_an_unknown_theorem_is_named(capsys):
    assert main(["prove", "T99"]) == 2
    error = capsys.readouterr().err
    assert "T99" in error and "T1, T2" in error
