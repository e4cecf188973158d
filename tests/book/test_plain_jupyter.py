"""Chapters as a student sees them: plain Jupyter, another folder, nothing of the book's build."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import myst_nb
import nbformat
import pytest
from IPython.display import Math

from qnotes import pages
from tests.book.test_sources import BOOK, calls

CHAPTERS = ["depth", "full-size", "mobilenet"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAPTERS)
def test_figures_and_numbers_are_there(name, tmp_path):
    cells = [cell for cell in executed(name, tmp_path).cells if cell.cell_type == "code"]
    assert any("figure" in calls(cell) for cell in cells)
    for cell in cells:
        images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(images) == calls(cell).count("figure"), cell.id
        texts = "".join(o.data.get("text/markdown", "") for o in cell.outputs if "data" in o)
        for number in numbers(cell):
            assert f"`{number}` = " in texts, number
        streams = [output for output in cell.outputs if output.output_type == "stream"]
        # Jupyter prints it on red: nothing of progress bars.
        assert not [s.text for s in streams if s.name == "stderr" and "IProgress" in s.text]


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


def executed(name: str, folder: Path):
    shutil.copy(BOOK / f"{name}.ipynb", folder)
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    outside = {**os.environ, "PYTHONPATH": str(BOOK.parent)}
    subprocess.run([*command, f"{name}.ipynb"], cwd=folder, env=outside, check=True)
    return nbformat.read(folder / f"{name}.ipynb", as_version=4)


def numbers(cell) -> set[str]:
    """Names of the numbers that `pages.numbers` sets: those in the call, and those of the page."""
    found = {output.metadata["scrapbook"]["name"] for output in cell.outputs if _hidden(output)}
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pages.numbers":
            section = ast.literal_eval(node.args[0])
            names = [keyword.arg for keyword in node.keywords if keyword.arg]
            found |= {f"{section}-{name.replace('_', '-')}" for name in names}
    return found


def _hidden(output) -> bool:
    """Whether this is what the page reads, under a type that Jupyter does not show."""
    kinds = output.get("data", {})
    return bool(kinds) and all(kind.startswith("application/papermill") for kind in kinds)
