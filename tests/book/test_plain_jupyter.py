"""Chapters as a student sees them: plain Jupyter, in another folder, nothing of the book's build."""

import ast
import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from tests.book.test_sources import BOOK, calls

ROOT = BOOK.parent
CHAPTERS = ["depth", "full-size", "mobilenet"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAPTERS)
def test_figures_and_numbers_are_there(name, tmp_path):
    shutil.copy(BOOK / f"{name}.ipynb", tmp_path)
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--inplace"]
        + [f"{name}.ipynb"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    notebook = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            assert len(images) == calls(cell).count("figure"), cell.id
            shown = json.dumps(cell.outputs, ensure_ascii=False)
            for number in numbers(cell):
                assert f"`{number}` = " in shown, number


def numbers(cell) -> list[str]:
    """Names of the numbers that a cell sets by `pages.numbers`, those written out in the call."""
    found = []
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pages.numbers":
            section = ast.literal_eval(node.args[0])
            names = [keyword.arg for keyword in node.keywords if keyword.arg]
            found += [f"{section}-{name.replace('_', '-')}" for name in names]
    return found
