"""Pages that quote the same error quote the same number: that of the table of errors."""

import ast
import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

import qnotes as qn
from tests.book.test_sources import BOOK

EXECUTED = Path(__file__).parents[2] / "_build/executed"
RESNETS = [name for name in qn.names() if name.startswith("resnet")]
REAL = "mobilenet_v2_features"


def quoted(chapter: str) -> dict[str, str]:
    """The numbers in the text of a chapter that was run with its own parameters."""
    path = EXECUTED / f"{chapter}.ipynb"
    if not path.is_file():
        pytest.skip(f"{chapter} has not been run")
    notebook = nbformat.read(path, as_version=4)
    if notebook.metadata["papermill"]["parameters"]:
        pytest.skip(f"{chapter} was run with other parameters")
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            text = output.get("data", {}).get("application/papermill.record/text/plain")
            if name and text:
                found[name] = str(ast.literal_eval(text))
    return found


TABLE = qn.error_table().set_index(["network", "weights", "bits", "granularity"])


def stored(name: str, weights: str = "digits", bits: int = 8):
    return TABLE.loc[(name, weights, bits, "channel")]


def worst(name: str, weights: str = "digits", bits: int = 8) -> float:
    return stored(name, weights, bits)["observed"]


def test_front_page():
    assert quoted("intro")["intro-mobile-worst"] == f"{worst(REAL, 'imagenet'):.2g}"
    assert quoted("intro")["intro-deep-worst"] == f"{worst('resnet56'):.2g}"


def test_the_readme_opens_with_the_numbers_and_the_figure_of_the_front_page():
    """Where the figure has changed: store that of `_build/executed/intro.ipynb` as the readme's."""
    opening = (EXECUTED.parents[1] / "README.md").read_text(encoding="utf-8").split("## ")[0]
    found = quoted("intro")
    for said in (
        "from {mobile-earlier} to {mobile-mean} where",
        "a long search finds there is {mobile-worst}.",
        "takes {signs-name} from {signs-T8} to {signs-T14}, and",
        "certifies {signs-small} with {signs-bits} bits",
    ):
        for name, value in found.items():
            said = said.replace(f"{{{name.removeprefix('intro-')}}}", value)
        assert said in opening
    stored = Image.open(BOOK / "_static/ladder.png").convert("L")
    shown = Image.open(io.BytesIO(picture("intro", "intro-ladder"))).convert("L")
    assert np.allclose(stored.size, shown.size, rtol=0.02)
    gap = np.asarray(stored, float) - np.asarray(shown.resize(stored.size), float)
    assert np.abs(gap).mean() < 4, "of 255 grey levels"


def picture(chapter: str, name: str) -> bytes:
    """A figure of a chapter that was run, as PNG."""
    notebook = nbformat.read(EXECUTED / f"{chapter}.ipynb", as_version=4)
    (data,) = (
        output.data["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("metadata", {}).get("scrapbook", {}).get("name") == name
        and "image/png" in output.data
    )
    return base64.b64decode(data)


def test_first_look():
    assert quoted("first-look")["fir-observed"] == f"{worst('resnet20'):.2g}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("schemes sch-v2-tensor-8", "equalization equ-real-before"),  # MobileNetV2, medians
        ("mobilenet mob-real-relative", "full-size ful-mobile-relative"),
        ("mobilenet mob-tensor-relative", "full-size ful-mobile-tensor-relative"),
        ("schemes sch-lite-channel-8-same", "full-size ful-lite-same"),
        ("schemes sch-lite-tensor-8-same", "full-size ful-lite-tensor-same"),
        ("schemes sch-margin", "full-size ful-lite-margin"),
        ("schemes sch-lite-channel-8-same", "first-look fir-kept-many"),
        ("schemes sch-lite-channel-4-same", "first-look fir-kept-few"),
        ("mobilenet mob-real-error", "first-look fir-mobile-error"),
        ("full-size ful-lite-error", "first-look fir-lite-error"),
        ("mobilenet mob-largest-feature", "first-look fir-mobile-reach"),
    ],
)
def test_pages_that_look_at_the_same_parts_say_the_same(one, other):
    (page, name), (other_page, other_name) = one.split(), other.split()
    assert quoted(page)[name] == quoted(other_page)[other_name]


def test_resnets():
    found = [worst(name) for name in RESNETS]
    assert quoted("resnets")["rsn-low-worst-input-found"] == f"{min(found):.1f}"
    assert quoted("resnets")["rsn-high-worst-input-found"] == f"{max(found):.1f}"


def test_bits():
    assert f"{worst('resnet20'):.2g}" in quoted("bits")["pro-worst"]


def test_looseness():
    where = {REAL: "imagenet"} | dict.fromkeys(
        ("resnet20", "resnet56", "resnet110", "mobilenet_v2_x0_25"), "digits"
    )
    rows = [stored(*pair) for pair in where.items()]
    ratios = [row["observed"] / row["sampled"] for row in rows]
    assert quoted("looseness")["loo-ratio-low"] == f"{min(ratios):.1f}"
    assert quoted("looseness")["loo-ratio-high"] == f"{max(ratios):.1f}"
