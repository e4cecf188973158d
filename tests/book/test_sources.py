"""The chapters as they are stored: conventions that make, papermill and the site rely on."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

import qnotes

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.ipynb"))
VARIABLES = {"weights", "bits", "seed"}
FLAGS = re.DOTALL | re.MULTILINE
GLUED = {"figure", "numbers", "statements"}
FOLDED = {"hide-input", "remove-cell", "remove-input", "parameters"}
WITHOUT_IDEA = {"notation", "reproducibility"}
WIDEST = 76  # characters in a line of open code
# A measured number: a decimal fraction, or a count of something that a run may change.
TYPED = r"\b\d+\.\d+\b|\b\d+ ?(?:%|percent|decades?|times|orders|seconds|layers|networks)\b"
ALLOWED = {"intro": {"3.11", "3.13"}, "depth": {"110 layers"}}  # Python; what ResNet-110 means


def notebook(name: str):
    return nbformat.read(BOOK / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list:
    return [cell for cell in notebook(name).cells if cell.cell_type == "code"]


def calls(cell) -> list[str]:
    """Which functions of `qnotes.pages` a cell calls, in the order of the source."""
    nodes = ast.walk(ast.parse(cell.source))
    functions = [node.func for node in nodes if isinstance(node, ast.Call)]
    return [ast.unparse(f).removeprefix("pages.") for f in functions if _of_pages(f)]


def _of_pages(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and ast.unparse(function.value) == "pages"


def imports(cell) -> set[str]:
    """Modules that a cell imports, and what it imports from them, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def pages() -> list[str]:
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text())
    return [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]


def prose(name: str) -> str:
    """What a chapter says about results, without exercises, statements, proofs, code, formulae."""
    cells = [cell.source for cell in notebook(name).cells if cell.cell_type == "markdown"]
    text = "\n\n".join("\n".join(_outside(cell.splitlines())) for cell in cells)
    return re.sub(r"\$\$.*?\$\$|\$[^$]*\$|\{[^}\n]*\}`[^`]*`|`[^`\n]*`", "", text, flags=FLAGS)


def _outside(lines: list[str]) -> list[str]:
    """The lines that stand in no exercise, statement, proof or code; fences may hold fences."""
    kept, fences = [], []
    for line in lines:
        if found := re.fullmatch(r"(`{3,})(.*)", line):
            ticks, info = found.groups()
            if fences and fences[-1][0] == ticks and not info:
                fences.pop()
            else:
                fences.append((ticks, info))
        elif all(re.match(r"\{(?!exercise|solution|prf:)", info) for _, info in fences):
            kept.append(line)
    return kept


def stated_by_key(name: str) -> list[str]:
    """Theorems whose formula a chapter takes from the object, such as ``T5-mean-form``."""
    keys = {theorem.key.replace(" ", "-") for theorem in qnotes.theorems()}
    sources = "\n".join(cell.source for cell in notebook(name).cells)
    return [key for key in re.findall(r"\{glue:math\} ([\w-]+)", sources) if key in keys]


def declared(name: str) -> set[str]:
    """The variables of make that a chapter sets in its cell of parameters."""
    return VARIABLES & set(re.findall(r"^(\w+) *(?::[^=]+)?=", code_cells(name)[0].source, re.M))


@functools.cache
def database_of_make() -> str:
    """Every rule, as make has read them."""
    command = ["make", "-pn", "help", "ENV=active", f"PYTHON={sys.executable}"]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=BOOK.parent, env=env, capture_output=True, text=True).stdout


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
def test_make_knows_the_parameters(name):
    line = rf"^_build/executed/{re.escape(name)}\.ipynb:(.*)$"
    (found,) = re.findall(line, database_of_make(), re.MULTILINE)
    assert set(re.findall(r"_build/parameters/(\w+)\.yaml", found)) == declared(name)


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_the_text_shows_is_not_shown_twice(name):
    """Jupyter shows figures, numbers and statements under their cells, the page in the text."""
    for cell in code_cells(name):
        glued = bool(GLUED.intersection(calls(cell)))
        assert glued == ("remove-output" in cell.metadata.get("tags", [])), cell.id


@pytest.mark.parametrize("name", [name for name in CHAPTERS if name not in WITHOUT_IDEA])
def test_some_code_is_open(name):
    """Each chapter writes its idea down in a cell that a reader sees at once."""
    folded = FOLDED.intersection
    assert any(not folded(cell.metadata.get("tags", [])) for cell in code_cells(name))


@pytest.mark.parametrize("name", CHAPTERS)
def test_open_code_fits_the_page(name):
    for cell in code_cells(name):
        if not FOLDED.intersection(cell.metadata.get("tags", [])):
            assert max(map(len, cell.source.splitlines())) <= WIDEST, cell.id


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_table_is_shown_with_its_caption(name):
    """No cell ends with a table that has none, or displays one."""
    for cell in code_cells(name):
        bodies = [node.body for node in ast.walk(ast.parse(cell.source)) if hasattr(node, "body")]
        ends = [body[-1] for body in bodies if isinstance(body, list) and body]
        shown = [ast.unparse(node.value) for node in ends if isinstance(node, ast.Expr)]
        assert not [text for text in shown if ".style" in text and "table(" not in text], cell.id


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_draw_with_what_a_reader_knows(name):
    found = set().union(*map(imports, code_cells(name)))
    gone = ("qnotes.plots", "qnotes.studies", "myst_nb")
    assert [module for module in sorted(found) if module.startswith(gone)] == []


def test_every_file_is_a_page_and_every_page_a_file():
    files = {path.stem for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]}
    assert sorted(pages()) == sorted(files)


def test_api_page_has_every_public_name():
    documented = re.findall(r"^\.\. auto\w+:: (\w+)", (BOOK / "api.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(qnotes.__all__)


def test_the_paper_is_never_called_hidden():
    """It is public on arXiv and in TMLR; what is true is that we did not have its full text."""
    package = Path(qnotes.__file__).parent
    files = [BOOK.parent / name for name in ("README.md", "CHANGELOG.md", "data/README.md")]
    files += [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md"), *package.rglob("*.py")]
    wrong = re.compile(r"not public|publicly visible|full text was not|text of the paper was not")
    assert [file.name for file in files if wrong.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_numbers_in_the_prose_come_by_glue(name):
    assert set(re.findall(TYPED, prose(name))) - ALLOWED.get(name, set()) == set()


def test_theorems_take_their_formulae_from_the_objects():
    """A statement of a numbered theorem prints its object and types no inequality for E."""
    stated = []
    for name in CHAPTERS:
        sources = "\n\n".join(cell.source for cell in notebook(name).cells)
        for _, body in re.findall(r"^(`{3,})\{prf:theorem\}(.*?)^\1$", sources, FLAGS):
            assert "{glue:math}" in body, (name, body)
            assert not re.search(r"E\s*\\le", re.sub(r"E \\le C", "", body)), (name, body)
            stated += re.findall(r"\{glue:math\} ([\w-]+)", body)
    proved = {t.key.replace(" ", "-") for t in qnotes.theorems() if t.proof}
    # These stand in running text, or only among all theorems.
    others = {"T8", "T10", "T11", "T13", "T14", "T15"}
    assert proved == {*stated, *others} and len(stated) == len(set(stated))


@pytest.mark.parametrize("name", CHAPTERS)
def test_numbered_theorems_print_their_own_number(name):
    """Theorem T5, not Theorem 6.3: its title begins so, and the counter is off."""
    for cell in notebook(name).cells:
        for title, options in re.findall(
            r"^`{3,}\{prf:theorem\} ([TP]\d.*)\n((?::.*\n)*)", cell.source, re.MULTILINE
        ):
            assert ":nonumber:" in options, (name, title)


@pytest.mark.parametrize("page", [*CHAPTERS, *(path.name for path in BOOK.glob("*.md"))])
def test_references_to_numbered_theorems_have_a_text(page):
    """A bare reference would print only "Theorem", since the theorem has no counter."""
    if page.endswith(".md"):
        text = (BOOK / page).read_text()
    else:
        text = "\n\n".join(cell.source for cell in notebook(page).cells)
    assert re.findall(r"\{prf:ref\}`thm-[TP]\d[^`<]*`", text) == []
