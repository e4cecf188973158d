"""The chapters as they are stored: conventions that make, papermill and the site rely on."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

import qnotes

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.ipynb"))
VARIABLES = {"weights", "bits", "seed"}


def notebook(name: str):
    return nbformat.read(BOOK / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list:
    return [cell for cell in notebook(name).cells if cell.cell_type == "code"]


def pages() -> list[str]:
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text())
    return [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]


def declared_to_make(name: str) -> set[str]:
    """The variables that the Makefile lists for a chapter."""
    line = rf"^_build/executed/{re.escape(name)}\.ipynb:(.*)$"
    found = re.findall(line, (BOOK.parent / "Makefile").read_text(), re.MULTILINE)
    return {word.lower() for word in re.findall(r"_build/parameters/(\w+)", " ".join(found))}


@pytest.mark.parametrize("name", CHAPTERS)
def test_valid_with_ids(name):
    content = notebook(name)
    nbformat.validate(content)
    assert (content.nbformat, content.nbformat_minor) >= (4, 5)
    assert content.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_outputs(name):
    assert all(not cell.outputs for cell in code_cells(name))
    assert all(cell.execution_count is None for cell in code_cells(name))


@pytest.mark.parametrize("name", CHAPTERS)
def test_begins_with_a_title(name):
    assert notebook(name).cells[0].source.startswith("# ")


@pytest.mark.parametrize("name", CHAPTERS)
def test_first_code_cell_has_the_parameters(name):
    tagged = ["parameters" in cell.metadata.get("tags", []) for cell in code_cells(name)]
    assert tagged == [True] + [False] * (len(tagged) - 1)


@pytest.mark.parametrize("name", CHAPTERS)
def test_makefile_knows_the_parameters(name):
    assigned = set(re.findall(r"^(\w+) *(?::[^=]+)?=", code_cells(name)[0].source, re.MULTILINE))
    assert assigned & VARIABLES == declared_to_make(name)


def test_every_file_is_a_page_and_every_page_a_file():
    files = {path.stem for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]}
    assert sorted(pages()) == sorted(files)


def test_api_page_has_every_public_name():
    documented = re.findall(r"^\.\. auto\w+:: (\w+)", (BOOK / "api.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(qnotes.__all__)
