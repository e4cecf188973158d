"""One cell: its numbers are those of the functions that it is made of, and a failure is a row."""

import math
import pickle
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import qnotes as qn
from qnotes import experiments
from qnotes.experiments import CODE, attempt, cells, failed, forget, reference, rows, some_digits

SHAPE = (1, 1, 32, 32)
SETTINGS = {"relu6": "relu", "inputs": 4, "accuracy": False, "precision": "float64"}


def one(*, weights="digits", scheme=None, bits=4, method=None, radius=1.0, seed=0, **settings):
    settings = SETTINGS | settings
    (cell,) = cells("resnet20", weights, scheme or {}, bits, method, radius, seed, **settings)
    return cell


def values(found: list[dict]) -> dict:
    return {(row["theorem"], row["bound"]): row["log10"] for row in found}


@pytest.fixture(autouse=True)
def forgotten():
    yield
    forget()


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_rows_are_bounds_and_errors(symmetric):
    found = rows(one(scheme={"symmetric": symmetric}))
    folded = qn.fold(qn.load("resnet20"))
    quantized = qn.quantize(folded, bits=4, symmetric=symmetric).model
    profile = qn.profile(folded, quantized, input_shape=SHAPE)
    expected = qn.bounds(profile).set_index(["theorem", "bound"])["log10"].to_dict()
    drawn = qn.random_inputs(SHAPE, count=4)
    for kind, batch in {"random inputs": drawn, "digits": some_digits("test", 4, 0)}.items():
        error = qn.output_errors(folded, quantized, batch).max().item()
        expected["measured", kind] = math.log10(error)
    assert values(found) == pytest.approx(expected, nan_ok=True)
    assert {row["depth"] for row in found} == {profile.depth}


def test_a_bound_without_a_number_says_why():
    reasons = [(math.isnan(row["log10"]), bool(row["reason"])) for row in rows(one())]
    assert set(reasons) == {(True, True), (False, False)}


def test_images_only_where_they_fit():
    kinds = [
        {bound for theorem, bound in values(rows(cell)) if theorem == "measured"}
        for cell in (one(radius=2.0), one(radius=0.5), one(weights="random"))
    ]
    assert kinds == [{"digits", "random inputs"}, {"random inputs"}, {"random inputs"}]


def test_precision_moves_errors_by_little_and_bounds_by_nothing():
    single, double = (values(rows(one(bits=16, precision=p))) for p in ("float32", "float64"))
    for key in single:
        if key[0] == "measured":
            assert 0 < abs(single[key] - double[key]) < 0.01
        elif not math.isnan(single[key]):
            assert single[key] == double[key]


@pytest.mark.medium
def test_accuracy_of_both_networks():
    found = rows(one(bits=3, accuracy=True, precision="float32"))
    folded = qn.fold(qn.load("resnet20"))
    images = qn.digits("test")
    accuracy = qn.accuracy(qn.quantize(folded, bits=3).model.float(), *images)
    assert {row["accuracy"] for row in found} == {accuracy}
    assert {row["reference_accuracy"] for row in found} == {qn.accuracy(folded.float(), *images)}


def test_no_accuracy_without_labels():
    found = rows(one(weights="random", accuracy=True))
    assert all(math.isnan(row["accuracy"]) for row in found)


def test_cells_share_what_they_can_and_nothing_else():
    assert reference(one(bits=3)) is reference(one(bits=8, scheme={"symmetric": False}))
    assert reference(one(seed=1)).model is reference(one(seed=2)).model
    random = [reference(one(weights="random", seed=seed)).model for seed in (1, 2)]
    assert random[0] is not random[1]
    assert not torch.equal(*(next(model.parameters()) for model in random))


def equalize(folded, *, method, relu6):
    """A stand-in: other weights, and a reference of its own."""
    if relu6 == "refuse":
        raise qn.UnsupportedOperation(f"ReLU6 does not scale, so {method} is refused")
    return SimpleNamespace(
        model=qn.quantize(folded, bits=5).model, reference=qn.quantize(folded, bits=6).model
    )


def test_an_equalized_network_is_compared_with_its_own_reference(monkeypatch):
    monkeypatch.setattr(experiments, "equalize", equalize)
    cell = one(method="cle")
    pair = equalize(qn.fold(qn.load("resnet20")), method="cle", relu6="relu")
    quantized = qn.quantize(pair.model, bits=4).model
    error = qn.output_errors(pair.reference, quantized, qn.random_inputs(SHAPE, count=4)).max()
    found = values(rows(cell))
    assert found["measured", "random inputs"] == pytest.approx(math.log10(error))
    profile = qn.profile(pair.model, quantized, input_shape=SHAPE)
    expected = qn.bounds(profile).set_index(["theorem", "bound"])["log10"]
    assert found["T5", "mean form"] == expected["T5", "mean form"]
    (refused,) = attempt(replace(cell, relu6="refuse"), CODE)
    assert refused["reason"] == "ReLU6 does not scale, so cle is refused"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"network": "resnet21"}, "unknown network 'resnet21'.*resnet20"),
        ({"bits": 0}, "bits must be an integer from .*; got 0"),
        ({"options": {"granularity": "row"}}, "granularity must be one of .*'row'"),
        ({"radius": -1.0}, "radius must be a positive finite number; got -1.0"),
        ({"sha256": "0" * 64}, "asked for weights with sha256 000.*give all workers the same"),
    ],
)
def test_a_failure_is_a_row_with_its_reason(changed, reason):
    (row,) = attempt(replace(one(), **changed), CODE)
    assert failed([row]) and math.isnan(row["log10"])
    assert re.search(reason, row["reason"])


def test_errors_of_others_are_reported_with_their_kind(monkeypatch):
    def out_of_memory(*_, **__):
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(experiments, "profile", out_of_memory)
    (row,) = attempt(one(), CODE)
    assert row["reason"] == "RuntimeError: not enough memory"


def test_a_worker_with_other_code_refuses():
    (row,) = attempt(one(), "another hash")
    assert "other sources or versions" in row["reason"] and failed([row])


def test_calibration_is_a_number_of_inputs(monkeypatch):
    seen = []

    def watched(network, *, bits, calibration=None, seed=0):
        seen.append((calibration, seed))
        return qn.quantize(network, bits=bits)

    monkeypatch.setattr(experiments, "quantize", watched)
    for radius in (1.0, 0.5):
        rows(replace(one(seed=5, radius=radius), options={"calibration": 3}))
    (images, seed), (drawn, _) = seen
    assert seed == 5
    assert torch.equal(images, some_digits("train", 3, 5))
    assert torch.equal(drawn, qn.random_inputs(SHAPE, count=3, radius=0.5, seed=5))


def test_cells_can_be_sent_to_a_worker():
    cell = one()
    assert pickle.loads(pickle.dumps(cell)) == cell
