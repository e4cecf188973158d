"""A small search against `certify`; python -m tests.falsification.certified makes a large one."""

import dataclasses

import pytest

import qnotes as qn
from tests.falsification import certified


@pytest.mark.medium
def test_no_certificate_is_violated():
    table = certified.search(24, seed=1)
    assert not table["violations"].any(), table
    assert (table["largest"] > 0.1).all()  # it comes near


def test_a_lowered_bound_is_found_out(monkeypatch):
    whole = qn.certify

    def lowered(*networks, **options):
        found = whole(*networks, **options)
        return dataclasses.replace(found, log10=found.log10 - 1)

    monkeypatch.setattr(qn, "certify", lowered, raising=False)
    assert certified.search(9, methods=("intervals",))["violations"].sum() > 0


def test_a_budget_ends_the_search():
    table = certified.search(10**6, methods=("norms",), seconds=1e-9)
    assert table["networks"].tolist() == [1]
