"""The table of truth: what it says, and where a row comes from."""

import importlib.util
import math
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

import qnotes as qn
from qnotes import measurements
from qnotes.measurements import KEY, as_csv, as_rows, measure_errors

ROOT = Path(__file__).parents[1]


def script():
    spec = importlib.util.spec_from_file_location("measure_errors", ROOT / "data/measure_errors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = qn.error_table()
ROWS = as_rows(TABLE)
DIGITS = [row for row in ROWS if row.weights == "digits" and row.bits in (4, 8)]  # have profiles
SLACK = 1 + 1e-4  # the worst input is computed in float64, the other errors in float32


def test_the_table_has_the_rows_of_the_script():
    assert [tuple(asdict(row)[key] for key in KEY) for row in ROWS] == script().ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.network}-{row.bits}-{row.granularity}")
def test_a_row_agrees_with_itself_and_with_its_weights(row):
    assert row.sha256 == qn.provenance(row.network, row.weights)["sha256"]
    assert 0 < row.median <= row.promised <= row.largest <= row.observed * SLACK
    assert 0 < row.sampled <= row.observed * SLACK and row.evaluations > 100
    features = row.network == "mobilenet_v2_features"
    assert all((value is None) == features for value in (row.margin, row.agreement, row.safe))
    assert features or (0 <= row.safe <= 1 and 0 <= row.agreement <= 1)
    counts = {"digits": 599, "photographs": 299}
    assert row.image_count == counts[row.images] and row.random_count == 64


@pytest.mark.parametrize("row", DIGITS, ids=lambda row: f"{row.network}-{row.bits}")
def test_the_worst_input_found_is_below_every_bound(row):
    bounds = qn.bounds(qn.stored_profile(row.network, bits=row.bits))
    assert math.log10(row.observed) <= bounds["log10"].min()


def test_more_bits_have_smaller_errors():
    channel = TABLE[TABLE["granularity"] == "channel"].set_index(["network", "bits"])
    for column in ("median", "largest", "observed"):
        for _, values in channel[column].groupby("network"):
            growth = values.sort_index(ascending=False).diff().dropna()
            capped = values.sort_index(ascending=False)[1:] == 6  # what ReLU6 allows at most
            assert ((growth > 0) | (growth == 0) & capped).all(), values


def test_a_stored_row_is_not_measured_again(monkeypatch):
    monkeypatch.setattr(measurements, "measure_errors", None)
    assert qn.known_errors("resnet20", bits=8) == next(
        row for row in ROWS if (row.network, row.bits) == ("resnet20", 8)
    )


def test_what_is_not_in_the_table_is_measured(monkeypatch):
    asked = []
    monkeypatch.setattr(measurements, "measure_errors", lambda *key, **options: asked.append(key))
    qn.known_errors("resnet20", bits=5)
    qn.known_errors("resnet20", weights="random", seed=3)
    wanted = [("resnet20", "digits", 5, "channel", 0), ("resnet20", "random", 8, "channel", 3)]
    assert asked == wanted


def test_a_row_about_other_weights_is_not_believed(tmp_path, monkeypatch):
    stale = as_csv([replace(ROWS[0], sha256="0" * 64)])
    asked = []
    monkeypatch.setattr(measurements, "error_table", lambda: pd.read_csv(written(tmp_path, stale)))
    monkeypatch.setattr(measurements, "measure_errors", lambda *key, **options: asked.append(key))
    qn.known_errors(ROWS[0].network, bits=ROWS[0].bits)
    assert len(asked) == 1


def written(folder, text):
    path = folder / "errors.csv"
    path.write_text(text)
    return path


def test_a_row_survives_its_file(tmp_path):
    row = replace(ROWS[0], margin=None)
    assert as_rows(pd.read_csv(written(tmp_path, as_csv([row])))) == [row]


def test_a_table_that_was_changed_changes_no_other():
    table = qn.error_table()
    table["observed"] = 0.0
    assert (qn.error_table()["observed"] > 0).all()


def test_no_table_is_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setenv("QNOTES_DATA", str(tmp_path))
    assert len(qn.error_table()) == 0 and "observed" in qn.error_table()


@pytest.mark.slow
def test_a_row_can_be_measured_again():
    """On another processor sums round otherwise, and a search may go another way."""
    stored = qn.known_errors("resnet20", bits=8)
    again = measure_errors("resnet20", "digits", 8, "channel", 0)
    for value in ("median", "largest", "promised", "size", "margin", "sampled"):
        assert getattr(again, value) == pytest.approx(getattr(stored, value), rel=1e-3)
    assert again.observed >= 0.8 * stored.observed


@pytest.mark.slow
def test_random_weights_have_no_images():
    found = measure_errors("resnet20", "random", 8, "tensor", 1, seconds=1)
    assert (found.images, found.image_count, found.largest, found.safe) == (None, 0, None, None)
    assert 0 < found.sampled <= found.observed and found.size > 0 and found.stopped == "seconds"
