"""Chapters as a student has them: downloaded, elsewhere, plain Jupyter, and values of one's own."""

import ast
import os

import myst_nb
import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from bs4 import BeautifulSoup
from IPython.display import Math

from qnotes import pages
from tests.book.test_sources import BOOK, CHAPTERS, calls, declared
from tests.book.test_student import OF_THE_BUILD, downloaded, student

#: What a student's environment does not have: the tools of the book.
ABSENT = ("myst_nb", "myst_parser", "sphinx", "jupyter_book", "papermill", "docutils", "pybtex")
SMALL = {"weights": "digits", "bits": [5], "seed": 1}
#: For chapters that read what is kept with the book, which is so; else they compute for minutes.
KEPT = SMALL | {"bits": [4], "seed": 0}
#: For chapters that read `errors.csv`: the width of which it has most.
IN_THE_TABLE = KEPT | {"bits": [8]}


@pytest.fixture
def student_of(installed, tmp_path, monkeypatch):
    """Runs a downloaded chapter in another folder, with the installed package and Jupyter alone."""
    absent = tmp_path / "absent"
    absent.mkdir()
    for module in ABSENT:
        (absent / f"{module}.py").write_text(f"raise ModuleNotFoundError('{module} is not here')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(absent), str(installed)]))
    monkeypatch.delenv("QNOTES_DATA", raising=False)
    monkeypatch.delenv("MPLBACKEND", raising=False)

    def run(name: str, given: dict):
        """The cells before and after."""
        offered, ran = downloaded(name), tmp_path / "ran.ipynb"
        nbformat.write(offered, tmp_path / f"{name}.ipynb")
        how = {"kernel_name": "python3", "cwd": str(tmp_path), "progress_bar": False}
        done = papermill.execute_notebook(str(tmp_path / f"{name}.ipynb"), str(ran), given, **how)
        known = {cell.id: cell for cell in offered.cells if cell.cell_type == "code"}
        return [(known[cell.id], cell) for cell in done.cells if cell.id in known]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*CHAPTERS} - OF_THE_BUILD))
def test_runs_with_other_values(name, student_of):
    text = (BOOK / f"{name}.ipynb").read_text(encoding="utf-8")
    small = KEPT if "pages.kept" in text or "pages.CELLS" in text else SMALL
    if "known_errors" in text:
        small = IN_THE_TABLE
    given = {key: value for key, value in small.items() if key in declared(name)}
    figures = 0
    for _, cell in student_of(name, given):
        images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(images) >= calls(cell).count("figure"), cell.id
        figures += len(images)
        texts = "".join(o.data.get("text/markdown", "") for o in cell.outputs if "data" in o)
        for number in numbers(cell):
            assert f"`{number}` = " in texts, number
        streams = [output for output in cell.outputs if output.output_type == "stream"]
        # Jupyter prints it on red: nothing of progress bars.
        assert not [s.text for s in streams if s.name == "stderr" and "IProgress" in s.text]
    assert figures or name in {"theorems", "notation", "paper"}


@pytest.mark.slow
def test_shows_the_numbers_of_the_page(student_of):
    for before, after in student_of("travel", {}):
        assert shown(after) == shown(before), before.id


def shown(cell) -> list:
    """What a cell shows: the kind of each output, and its numbers as they are."""
    kept = [output for output in cell.outputs if "data" in output and not student._hidden(output)]
    return [
        rows(output.data) or (sorted(output.data), output.data.get("text/markdown"))
        for output in kept
    ]


def rows(data: dict) -> list[list[str]]:
    """The rows of a table, which an edition has in HTML or, where it has formulae, in Markdown.

    Its caption is left out, which has the number of the page in the edition alone.
    """
    found = BeautifulSoup(data.get("text/html", ""), "html.parser").find_all("tr")
    cells = [[cell.get_text().strip() for cell in row.find_all(["th", "td"])] for row in found]
    lines = data.get("text/markdown", "").splitlines()
    ruled = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return cells or [row for row in ruled if set(row[0]) != {"-"}]


def shown_table(table: pd.DataFrame, monkeypatch, **look) -> dict:
    shown = []
    monkeypatch.setattr(pages, "display", lambda data, **options: shown.append(data))
    pages.table("a-name", table.style.format(**look), "What it says.")
    return shown[0]


def test_a_table_has_its_caption_in_jupyter_and_on_the_page(monkeypatch):
    table = pd.DataFrame({"a_b|c": [0.5, np.nan], "text": ["*x*", "$y"]}, index=["r", "s"])
    data = shown_table(table.rename_axis("row"), monkeypatch, precision=2, na_rep="–")
    assert data.keys() == {"text/html", "text/markdown"}
    assert "<caption>What it says.</caption>" in data["text/html"]
    assert data["text/markdown"].splitlines() == [
        "```{table} What it says.",
        ":name: tab-a-name",
        "",
        r"| row | a\_b\|c | text |",
        "| --- | ---: | --- |",
        r"| r | 0.50 | \*x\* |",
        r"| s | – | \$y |",
        "```",
    ]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("-0.5", "−0.5"),
        ("16,384", "16\u202f384"),
        ("2e-16", "2\u202f·\u202f10⁻¹⁶"),
        ("-8.7e-06", "−8.7\u202f·\u202f10⁻⁶"),
        ("12%", "12%"),
        ("features.0-1", "features.0-1"),  # a name
        ("–", "–"),
        (-3, -3),
    ],
)
def test_numbers_look_as_people_print_them(text, printed):
    assert pages.in_print(text) == printed


def test_symbols_have_a_caption(monkeypatch):
    shown = []
    monkeypatch.setattr(pages, "display", lambda data, **options: shown.append(data))
    pages.symbols("T2")
    lines = shown[0]["text/markdown"].splitlines()
    assert lines[:2] == [
        "```{table} Symbols of T2 that a profile supplies.",
        ":name: tab-symbols-T2",
    ]
    assert lines.count("```") == 1 and "<caption>Symbols of T2" in shown[0]["text/html"]


def test_a_head_of_two_lines_becomes_one(monkeypatch):
    columns = pd.MultiIndex.from_product([["one", "two"], ["x", "y"]])
    data = shown_table(pd.DataFrame([[1, 2, 3, 4]], columns=columns), monkeypatch)
    assert "|  | one, x | one, y | two, x | two, y |" in data["text/markdown"].splitlines()


def test_a_proof_needs_no_directive_of_the_book():
    text = pages.proof("T2").data
    assert "{" + "admonition" not in text and "```" not in text
    assert text.startswith("<details") and text.endswith("</details>")
    assert "\n\n| " in text  # Markdown inside begins after an empty line


@pytest.mark.parametrize("display", [False, True])
@pytest.mark.parametrize("value", [7, "text", Math("x")])
def test_values_are_stored_as_myst_nb_stores_them(value, display, monkeypatch):
    """Students need not have MyST-NB, so `pages` has its own `glue`."""
    shown = []
    monkeypatch.setattr(pages, "display", lambda *data, **options: shown.append((data, options)))
    monkeypatch.setattr("myst_nb.ext.glue.ipy_display", lambda *d, **o: shown.append((d, o)))
    pages.glue("name", value, display_too=display)
    myst_nb.glue("name", value, display=display)
    assert shown[0] == shown[1]


def numbers(cell) -> set[str]:
    """Names of the numbers that `pages.numbers` sets: those in the call, and those of the page."""
    stored = [output for output in cell.outputs if "data" in output and student._hidden(output)]
    found = {output.metadata["scrapbook"]["name"] for output in stored}
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pages.numbers":
            if not isinstance(node.args[0], ast.Constant):  # in a loop over sections
                continue
            section = node.args[0].value
            names = [keyword.arg for keyword in node.keywords if keyword.arg]
            found |= {f"{section}-{name.replace('_', '-')}" for name in names}
    return found
