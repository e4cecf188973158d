"""The page for practitioners: its table of promises, and how it turns bounds into bits."""

import math

import pandas as pd
import pytest

import qnotes as qn
from data.measure_promised import AT, WIDTHS, promised
from qnotes.files import data_folder
from qnotes.networks.architectures import STORED
from tests.book.cells import definitions

TABLE = pd.read_csv(data_folder() / "promised.csv").set_index(["network", "bits"])
TOLERANCE = 0.25
cells = definitions(
    "how-many-bits", "bits_for", "fewest", "in_words", "shell", setup={"tolerance": TOLERANCE}
)


def test_the_table_is_about_the_weights_that_are_here():
    assert set(TABLE.index) == {(name, bits) for name in STORED for bits in WIDTHS}
    for name in STORED:
        assert set(TABLE.loc[name, "sha256"]) == {qn.provenance(name, "imagenet")["sha256"]}


def test_promises_lie_between_the_median_and_the_largest():
    assert (TABLE["median"] < TABLE["promised"]).all()
    assert (TABLE["promised"] <= TABLE["largest"]).all()
    shares = TABLE["agreed"] / TABLE["inputs"]  # a promised share is below the counted one
    assert (TABLE["agreement"].dropna() < shares.dropna()).all() and shares.count() == len(WIDTHS)


def test_a_bit_halves_small_errors():
    for name in STORED:
        errors = TABLE.loc[name, "median"]
        assert errors[12] / errors[10] == pytest.approx(0.25, rel=0.4)
        assert errors.is_monotonic_decreasing


@pytest.mark.parametrize("name", STORED)
def test_it_agrees_with_the_one_table_of_errors(name):
    known = qn.known_errors(name, weights="imagenet", bits=8)
    row = TABLE.loc[name, 8]
    assert row["inputs"] == known.image_count
    assert row["promised"] == pytest.approx(known.promised, rel=0.02)
    assert row["median"] == pytest.approx(known.median, rel=0.02)


def test_the_bound_around_a_photograph_holds():
    for name in STORED:
        row = TABLE.loc[name, AT]
        assert row["image_log10"] >= math.log10(row["image_error"])
    assert TABLE.loc[STORED_FEATURES, AT]["image_log10"] == pytest.approx(math.log10(6), abs=1e-3)


STORED_FEATURES = "mobilenet_v2_features"


def test_too_few_draws_promise_nothing():
    with pytest.raises(qn.QnotesError, match="too few"):
        promised(STORED_FEATURES, count=298)


def test_a_decade_is_three_and_a_third_bits():
    at = math.log10(TOLERANCE)
    assert cells.bits_for(at) == 8
    assert cells.bits_for(at + 1) == math.ceil(8 + 1 / math.log10(2))
    assert cells.bits_for(at + math.log10(2) * 7 - 1e-9) == 15
    assert cells.bits_for(at + math.log10(2) * 7 + 1e-9) == 16


def test_the_fewest_bits_are_among_those_that_were_tried():
    table = pd.DataFrame({"network": "a", "bits": [4, 6, 8], "median": [0.9, 0.2, 0.1]})
    cells.fewest.__globals__["promised"] = table.set_index(["network", "bits"])
    assert cells.fewest("a", "median", 0.25) == 6
    assert cells.fewest("a", "median", 0.01) is None
    assert cells.in_words(None) == "more bits than were tried" and cells.in_words(6) == "6 bits"


def test_shell_shows_what_the_command_prints(capsys):
    cells.shell("python -m qnotes prove T1 --csv")
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "$ python -m qnotes prove T1 --csv"
    assert any(row.startswith("theorem,step") for row in shown) and max(map(len, shown)) <= 70
