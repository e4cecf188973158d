"""A small search against `certify`; python -m tests.falsification.certified makes a large one."""

import dataclasses

import pytest
from torch import nn

import qnotes as qn
from qnotes.files import data_folder
from qnotes.networks.activations import SLOPED
from qnotes.propagation.intervals import Intervals
from tests.falsification import certified, planted


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


def test_the_search_draws_all_covered_operations():
    """As the chapter says."""
    graphs = [certified.Graph(f"1 {number}") for number in range(200)]
    found = {operation.kind for graph in graphs for operation in graph.pair.operations}
    rules = {name for name, rule in vars(Intervals).items() if callable(rule) and name[0] != "_"}
    assert found == (rules | {"identity", "output"}) - {"apply"}
    known = {type(operation.module) for graph in graphs for operation in graph.pair.operations}
    assert known >= set(SLOPED) - {nn.PReLU}


def test_a_budget_ends_the_search():
    table = certified.search(10**6, methods=("norms",), seconds=1e-9)
    assert table["networks"].tolist() == [1]


def test_rows_add_up(tmp_path, capsys):
    path = tmp_path / "attacked.csv"
    call = ["--networks", "3", "--csv", str(path)]
    assert certified.main([*call, "--methods", "norms", "channels"]) == 0
    assert certified.main([*call, "--methods", "norms"]) == 0
    stored = certified.earlier(path).set_index("method")
    assert stored["networks"].to_dict() == {"norms": 6, "channels": 3}
    assert stored["runs"].to_dict() == {"norms": 2, "channels": 1}
    assert "violations" in capsys.readouterr().out


def test_a_graph_that_was_traced_before_says_the_same():
    """The search leaves tracing out; `certify` as it is gives the same bound."""
    graph = certified.Graph("5 0")
    options = {"input_shape": graph.shape, "radius": 0.5, "seconds": 0}
    graph.attack([certified.Tally("norms")], certified.WHOLE)  # other weights than at first
    for method in certified.METHODS:
        with certified.traced(graph.pair, graph.tori):
            found = qn.certify(graph.network, graph.changed, method=method, **options)
        again = qn.certify(graph.network, graph.changed, method=method, **options)
        assert (found.log10 == again.log10).all()


QUICK = [fault for fault in planted.FAULTS if fault[1] not in planted.HARD]


@pytest.mark.medium
@pytest.mark.parametrize("fault", QUICK, ids=": ".join)
def test_a_fault_in_each_domain_is_found(fault):
    assert planted.needed(*fault, most=640)["found"]


def test_the_stored_search():
    stored = certified.earlier(data_folder() / "attacked.csv").set_index("method")
    assert set(stored.index) == set(certified.METHODS)
    assert not stored["violations"].any()
    assert stored["networks"].drop("best").min() > 5000
    assert (stored["largest"] > 0.99).all() and (stored["largest"] <= 1).all()
