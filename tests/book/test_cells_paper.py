"""The page that sets the paper's numbers beside the book's, with a file that somebody filled in."""

import math
from dataclasses import replace

import papermill
import pytest

import qnotes as qn
from qnotes.files import data_folder
from tests.book.cells import BOOK, definitions

NAMES = ("COLUMNS", "compared", "log10_of_paper", "printed", "profile_of", "read")
cells = definitions("paper", *NAMES)

FILLED = """statement,network,weights,bits,D,quantity,paper,place
T6 mean form,resnet20,digits,8,1,bound,1e20,Table 1
T6 mean form,resnet20,digits,8,2,bound,1e400,
P2,resnet20,digits,4,1,bound,,
T7 gain,resnet20,digits,8,1,gain,100,Figure 2
T6 mean form,resnet20,,,,depth,20,p. 3
P2,resnet18,imagenet,8,1,bound,1e90,
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "filled.csv"
    path.write_text(FILLED)
    return path


def test_the_file_of_the_book_can_be_read_and_has_a_place_for_every_number():
    rows = cells.read(data_folder() / "paper_numbers.csv")
    assert len(rows) and list(rows) == cells.COLUMNS
    assert set(rows["statement"]) <= {theorem.key for theorem in qn.theorems()}
    assert set(rows["network"]) <= {*qn.names("digits"), *qn.names("imagenet")}
    assert not rows.drop(columns=["paper", "place"]).duplicated().any()


@pytest.mark.medium
def test_rows_have_our_number_where_the_weights_are_here():
    rows = cells.read(data_folder() / "paper_numbers.csv")
    table = cells.compared(rows[rows["weights"] != ""], "digits")
    here = [(data_folder() / f"{name}.safetensors").is_file() for name in table["network"]]
    assert table["ours"].notna().tolist() == here and any(here) and not all(here)


def test_the_box_of_all_images_is_the_one_that_no_row_need_name(file):
    file.write_text(
        FILLED.replace("P2,resnet18,imagenet,8,1", "P2,mobilenet_v2_features,imagenet,8,")
    )
    unnamed = cells.compared(cells.read(file).tail(1), "digits")["ours"].item()
    named = cells.compared(cells.read(file).tail(1).assign(D="1"), "digits")["ours"].item()
    radius = qn.preprocessing("mobilenet_v2_features", "imagenet").radius
    assert unnamed - named == pytest.approx(math.log10(radius))


def test_a_filled_file_shows_both_and_how_far_apart_they_are(file):
    table = cells.compared(cells.read(file), "digits")
    profile = qn.stored_profile("resnet20", bits=8)
    bound = qn.theorems()["T6 mean form"].evaluate
    gain = qn.gain_factors(profile).sum()
    wide = bound(replace(profile, radius=2.0))
    assert wide == pytest.approx(bound(profile) + math.log10(2))
    expected = [bound(profile) - 20, wide - 400, math.nan, gain - 2, 0, math.nan]
    assert table["decades"].tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True)
    coarse = qn.theorems()["P2"].evaluate(qn.stored_profile("resnet20", bits=4))
    assert table["ours"][2] == pytest.approx(coarse) and math.isnan(table["ours"][5])
    assert table["place"].tolist() == ["Table 1", "", "", "Figure 2", "p. 3", ""]


@pytest.mark.medium
def test_structure_is_that_of_the_profile():
    table = cells.compared(cells.read(data_folder() / "paper_numbers.csv").head(3), "digits")
    shape = qn.input_shape("resnet18", "random")
    folded = qn.fold(qn.load("resnet18", weights="random"))
    layers = qn.profile(folded, folded, input_shape=shape).layers
    expected = [len(layers), sum(x.fan_in for x in layers), max(x.reads for x in layers)]
    assert [10**value for value in table["ours"]] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "log10"),
    [("53", math.log10(53)), (" 0.25 ", math.log10(0.25)), ("1.2e4000", 4000.0792)],
)
def test_numbers_of_the_paper_as_people_write_them(text, log10):
    assert cells.log10_of_paper(text) == pytest.approx(log10, abs=1e-4)


@pytest.mark.parametrize("text", ["10^34", "-3", "0", "nan", "inf", "about 5"])
def test_what_is_no_number_is_refused_by_its_text(text):
    with pytest.raises(qn.QnotesError, match="the column paper has"):
        cells.log10_of_paper(text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("depth,20", "dept,20", "no quantity 'dept'"),
        ("T7 gain", "T77", "names 0 theorems"),
        ("resnet20,digits,4", "resnet20,digits,5", "no stored profile"),
        ("P2,resnet20,digits", "P2,resnet20,", "depends on weights"),
        ("place\n", "page\n", "not statement, network"),
    ],
)
def test_rows_that_mean_nothing_are_refused(file, old, new, said):
    file.write_text(FILLED.replace(old, new))
    with pytest.raises(qn.QnotesError, match=said):
        cells.compared(cells.read(file), "digits")


def test_numbers_in_print():
    values = map(math.log10, (53, 802816, 1.2e34))
    assert [*map(cells.printed, values), cells.printed(math.nan)] == [
        "53",
        "802\u202f816",
        "10^34.1",
        "–",
    ]


@pytest.mark.slow
def test_the_page_shows_what_was_filled_in(file, tmp_path):
    done = papermill.execute_notebook(
        str(BOOK / "paper.ipynb"),
        str(tmp_path / "paper.ipynb"),
        {"numbers": str(file)},
        kernel_name="python3",
        cwd=str(BOOK),
        progress_bar=False,
    )
    shown = str([output for cell in done.cells for output in cell.get("outputs", [])])
    gain = qn.gain_factors(qn.stored_profile("resnet20", bits=8)).sum()
    assert f"{gain - 2:+.2f}" in shown and "Figure 2" in shown and "10^400.0" in shown
    assert "`pap-filled` = 5" in shown
