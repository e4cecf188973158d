"""The student edition: each directive and role has a plain form, and the notebooks run anywhere."""

import importlib.util
import re
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.book.test_sources import BOOK, CHAPTERS, notebook

spec = importlib.util.spec_from_file_location("student", BOOK / "student.py")
student = importlib.util.module_from_spec(spec)
sys.modules["student"] = student
spec.loader.exec_module(student)

SITE = BOOK.parent / "_build/html"
# It reports on the build of the book, and means something only there.
OF_THE_BUILD = {"reproducibility"}
BOOKS = student.References(
    documents={"depth": "Depth", "api": "The package"},
    names={
        "thm-T7": ("Theorem", "T7, gain"),
        "fig-a": ("Figure", ""),
        "ex-half": ("Exercise", "Half a step"),
        "tab-a": ("Table", ""),
        "eq-a": ("Equation", ""),
        "eq-unseen": ("Equation", ""),
    },
    numbers={
        "fig-a": "Fig. 3.1",
        "ex-half": "Exercise 3.2",
        "eq-a": "(3.1)",
        "tab-b": "Table 3.4",
    },
    citations={"he": ("He *et al.*", "2016", "https://doi.org/1"), "wilks": ("Wilks", "1941", "")},
)
PIXEL = "iVBORw0KGgo="


def glue(name: str, **data: str):
    kinds = {kind.replace("__", "/"): value for kind, value in data.items()}
    return new_output("display_data", kinds, metadata={"scrapbook": {"name": name}})


def maker(*, tags: tuple = ("hide-input", "remove-output")):
    """A cell that glues a figure, a formula, a text and a number."""
    outputs = [
        glue("plot", image__png=PIXEL, text__plain="<Figure>"),
        glue("T7", text__latex=r"$\displaystyle G = 2$"),
        new_output("display_data", {student.GLUED: "'a_b*'"}, metadata=_named("word")),
        new_output("display_data", {student.GLUED: "3"}, metadata=_named("count")),
        new_output("stream", name="stderr", text="a warning"),
    ]
    return new_code_cell("draw()", id="maker", outputs=outputs, metadata={"tags": list(tags)})


def _named(name: str) -> dict:
    return {"scrapbook": {"name": name}}


def edition(*cells, **options):
    chapter = new_notebook(cells=[new_markdown_cell("# Title", id="title"), *cells])
    chapter.metadata = {"kernelspec": {"name": "python3", "display_name": "P"}, "language_info": {}}
    chapter.metadata["language_info"] = {"name": "python"}
    chapter.metadata["papermill"] = {"input_path": "ours"}
    return student.edition_of(chapter, BOOKS, **options)


def plain(text: str, **options) -> str:
    """What becomes of a text that stands under the cell of `maker`."""
    cells = edition(maker(), new_markdown_cell(text, id="text"), **options).cells[4:]
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def fence(head: str, body: str = "", ticks: str = "```") -> str:
    return f"{ticks}{head}\n{body}\n{ticks}"


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("{glue:text}`count`", "3"),
        ("{glue:text}`word`", r"a\_b\*"),  # text, not Markdown
        ("{glue:text}`count`{glue:text}`count`", "33"),
        ("{prf:ref}`T7 <thm-T7>`", "T7"),
        ("{prf:ref}`thm-T7`", "Theorem (T7, gain)"),  # it has no number
        ("{numref}`fig-a`", "Fig. 3.1"),
        ("{eq}`eq-a`", "(3.1)"),
        ("{ref}`ex-half`", "Exercise 3.2"),
        ("{ref}`an exercise <ex-half>`", "an exercise"),
        ("{doc}`depth`", "[Depth](depth.ipynb)"),
        ("{doc}`next chapter <depth>`", "[next chapter](depth.ipynb)"),
        ("{doc}`api`", "*The package*"),
        ("{cite:p}`he`", "([He *et al.*, 2016](https://doi.org/1))"),
        ("{cite:p}`he,wilks`", "([He *et al.*, 2016](https://doi.org/1); Wilks, 1941)"),
        ("{cite:t}`wilks`", "Wilks (1941)"),
        ("`{glue:text}` is a role", "`{glue:text}` is a role"),
    ],
)
def test_role(role, expected):
    assert plain(f"So {role}.") == f"So {expected}."


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (fence("{glue:math} T7"), "$$\nG = 2\n$$"),
        (fence("{math}", ":label: eq-a\n\nx = 1"), "$$\nx = 1 \\tag{3.1}\n$$"),
        (fence("{math}", "x &= 1 \\\\ y &= 2"), "\\begin{aligned} x &= 1"),
        ("$$\nx = 1\n$$ (eq-a)", "$$\nx = 1 \\tag{3.1}\n$$"),
        ("(sec-a)=\n## A heading", "\n\n## A heading"),
        ("$$\nx = 1\n$$ (eq-unseen)", "$$\nx = 1\n$$"),
        (fence("{table} All.", ":name: tab-a\n\n| a |\n|---|"), "**Table.** All.\n\n| a |\n|---|"),
        (fence("{prf:lemma} (Means)", "True."), "**Lemma (Means).**\n\nTrue."),
        (fence("{prf:example}", "One."), "**Example.**\n\nOne."),
        (fence("{prf:proof}", "Clear. {eq}`eq-a`"), "**Proof.** Clear. (3.1)\n\n∎"),
        (fence("{admonition} Keep", ":class: tip\n\n- one"), "**Keep**\n\n- one"),
        (fence("{admonition} More", ":class: dropdown\n\nText."), "<summary>More</summary>"),
        (fence("{dropdown} More", "Text."), "<summary>More</summary>"),
        (fence("{note}", "Text.", ":::"), "**Note**\n\nText."),
        (fence("{exercise} Half", ":label: ex-half\n\nWhy?"), "**Exercise 3.2 (Half).** Why?"),
        (fence("python", "{glue:text}`count`"), "```python\n{glue:text}`count`\n```"),
    ],
)
def test_directive(source, expected):
    assert expected in plain(f"Before.\n\n{source}\n\nAfter.")
    assert plain(f"Before.\n\n{source}\n\nAfter.").endswith("\n\nAfter.")


def test_a_theorem_holds_its_formula_in_a_box():
    inner = fence("{glue:math} T7")
    text = plain(fence("{prf:theorem} T7, gain", f":label: thm-T7\n\nIt is\n\n{inner}", "````"))
    assert text.startswith('<div class="alert alert-info">\n\n**Theorem T7, gain.**\n\nIt is')
    assert text.endswith("$$\nG = 2\n$$\n\n</div>")  # Markdown in HTML needs empty lines around


FIGURE = fence("{glue:figure} plot", ":name: fig-a\n:alt: A [line].\n\nA caption: {eq}`eq-a`.")


def test_a_figure_stands_under_its_cell_and_its_caption_below():
    cells = edition(maker(), new_markdown_cell(FIGURE, id="text")).cells
    assert cells[4].source == "**Fig. 3.1.** A caption: (3.1)." and "attachments" not in cells[4]
    (output,) = [o for o in cells[3].outputs if "image/png" in o.get("data", {})]
    assert output.metadata["image/png"].alt == "A [line]."
    assert "remove-output" not in cells[3].metadata.tags


def test_a_figure_of_another_place_is_shown_where_the_text_has_it():
    between = new_markdown_cell("Text.", id="between")
    cell = edition(maker(), between, new_markdown_cell(FIGURE, id="text")).cells[-1]
    assert cell.source.startswith("![A line.](attachment:plot.png)\n\n**Fig. 3.1.**")
    assert cell.attachments == {"plot.png": {"image/png": PIXEL}}


def test_marks_of_the_page_are_gone():
    mark = new_markdown_cell('<span id="code-maker"></span>', id="mark")
    linked = FIGURE.replace(".\n```", '. <a class="code" href="#code-maker">The code.</a>\n```')
    cells = edition(mark, maker(), new_markdown_cell(linked, id="text")).cells
    assert [cell.id for cell in cells] == ["title", "edition", "install", "maker", "text"]
    assert cells[-1].source == "**Fig. 3.1.** A caption: (3.1)."


def test_code_is_folded_and_what_the_build_stores_is_gone():
    removed = new_code_cell("bits = [8]", id="again", metadata={"tags": ["remove-cell"]})
    cell = edition(removed, maker()).cells[3]
    assert cell.metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    assert [kind for output in cell.outputs for kind in output.data] == [
        "image/png", "text/plain", "text/latex",
    ]  # fmt: skip


def test_what_a_cell_prints_as_text_is_plain_too():
    printed = new_output("display_data", {"text/markdown": "| {prf:ref}`T7 <thm-T7>` |"})
    cell = edition(new_code_cell("table", outputs=[printed])).cells[3]
    assert cell.outputs[0].data["text/markdown"] == "| T7 |"


def test_a_table_of_a_cell_has_the_number_of_the_page():
    data = {
        "text/html": "<table><caption>All.</caption></table>",
        "text/markdown": fence("{table} All.", ":name: tab-b\n\n| a |\n|---|"),
    }
    shown = new_output("display_data", data)
    cell = edition(new_code_cell("pages.table()", outputs=[shown])).cells[3]
    (output,) = cell.outputs
    assert output.data == {"text/html": "<table><caption>Table 3.4. All.</caption></table>"}


def test_a_table_with_formulae_is_shown_as_markdown():
    data = {
        "text/html": "<table><caption>All.</caption><tr><td>$x$</td></tr></table>",
        "text/markdown": fence("{table} All.", ":name: tab-b\n\n| $x$ |\n|---|"),
    }
    shown = new_output("display_data", data)
    (output,) = edition(new_code_cell("pages.symbols()", outputs=[shown])).cells[3].outputs
    assert output.data == {"text/markdown": "**Table 3.4.** All.\n\n| $x$ |\n|---|"}


def test_a_table_of_a_cell_can_be_referred_to_without_a_site(tmp_path):
    (tmp_path / "references.bib").touch()
    made = new_code_cell('pages.table(\n    "found", shown, "What was found.",\n)')
    text = new_markdown_cell("# A chapter\n\nSee {numref}`tab-found`.")
    nbformat.write(new_notebook(cells=[text, made]), tmp_path / "one.ipynb")
    books = student.references(tmp_path, None)
    assert books.number("tab-found") == "Table"
    with pytest.raises(student.StudentError, match="tab-lost"):
        books.number("tab-lost")


EXERCISES = "\n\n".join(
    [
        fence("{exercise} Half", ":label: ex-half\n\n*By machine, easy.* Compute it.", "````"),
        fence("{solution} ex-half", ":class: dropdown\n\nIt is 3.", "````"),
        "After.",
    ]
)


def test_solutions_are_left_out_and_code_has_a_place():
    cells = edition(new_markdown_cell(EXERCISES, id="text")).cells[3:]
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "markdown"]
    assert cells[1].source == "# Exercise 3.2: your code.\n"
    assert cells[2].source == "After." and "It is 3" not in str(cells)


def test_the_teacher_keeps_solutions():
    text = edition(new_markdown_cell(EXERCISES, id="text"), solutions=True).cells[-1].source
    solved = "<details>\n<summary>Solution: Half a step</summary>\n\nIt is 3.\n\n</details>"
    assert text == f"{solved}\n\nAfter."


def test_a_stub_stands_in_the_cell_and_not_in_the_text():
    asked = f":label: ex-half\n\n*By machine, hard.* Why?\n\n{fence('python', 'def f(): ...')}"
    text, cell = edition(new_markdown_cell(fence("{exercise} Half", asked, "````"))).cells[3:]
    assert text.source == "**Exercise 3.2 (Half).** *By machine, hard.* Why?"
    assert cell.source == "# Exercise 3.2: your code.\n\ndef f(): ..."


def test_an_exercise_by_hand_has_no_cell():
    by_hand = fence("{exercise} Half", ":label: ex-half\n\n*By hand, easy.* Use `qn.bounds`.")
    assert edition(new_markdown_cell(by_hand, id="text")).cells[-1].cell_type == "markdown"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (fence("{mystery}"), "directive 'mystery'"),
        ("{mystery}`x`", "role 'mystery'"),
        ("{glue:text}`nothing`", "no cell of the chapter glues 'nothing'"),
        ("{numref}`nowhere`", "has the label 'nowhere'"),
        ("{doc}`nowhere`", "no page 'nowhere'"),
        ("{cite:p}`nobody`", "no source 'nobody'"),
    ],
)
def test_what_has_no_plain_form_is_an_error(text, message):
    with pytest.raises(student.StudentError, match=re.escape(message)):
        plain(text)


def test_the_cell_on_top_installs_from_the_address_of_the_repository(tmp_path):
    address = "https://github.com/someone/something"
    assert f'%pip install --quiet "git+{address}"' in edition(address=address).cells[2].source
    assert "pip install FOLDER" in edition().cells[2].source
    config = tmp_path / "_config.yml"
    config.write_text(f"repository:\n  url: {address}\n")
    assert student.repository(config) == address
    assert student.repository() == ""  # nobody's, in our sources


def test_numbers_are_read_from_a_page():
    html = """<figure id="fig-a"><span class="caption-number">Fig. 3.1 </span></figure>
    <div id="thm-T7"><p id="thm-T7"><span class="caption-number">Theorem </span> T7</p></div>
    <div class="math" id="equation-eq-a"><span class="eqno">(3.1)<a>#</a></span></div>"""
    assert student.numbers(html) == {"fig-a": "Fig. 3.1", "eq-a": "(3.1)"}


def test_a_section_is_called_by_its_heading():
    assert student.labels("(sec-a)=\n\n## A heading\n") == {"sec-a": ("A heading", "")}


def test_sources_are_named_as_on_the_pages():
    found = student.citations(BOOK / "references.bib")
    authors, year, address = found["houache2025impact"]
    assert (authors, year) == ("Houache *et al.*", "2025") and address.endswith("2502.01156")
    assert all(authors and year for authors, year, _ in found.values())


# -- the chapters themselves -----------------------------------------------------------------------


class Anything(dict):
    """Stands for what a run would have glued."""

    def __contains__(self, name) -> bool:
        return True

    def __missing__(self, name) -> str:
        return "7"


@pytest.fixture(scope="module")
def books():
    return student.references(BOOK, None)


@pytest.mark.parametrize("solutions", [False, True])
@pytest.mark.parametrize("name", CHAPTERS)
def test_every_directive_of_the_book_has_a_plain_form(name, solutions, books, monkeypatch):
    monkeypatch.setattr(student, "glued", lambda notebook: (Anything(), Anything()))
    chapter = notebook(name)
    chapter.metadata.setdefault("language_info", {"name": "python"})
    done = student.edition_of(chapter, books, solutions=solutions)
    assert raw(done) == []
    asked = sum(cell.source.count("{solution}") for cell in chapter.cells)
    assert sum(c.source.count("<summary>Solution") for c in done.cells) == asked * solutions


def raw(done) -> list[str]:
    """Lines with a directive or a role, in text and in what cells print as text."""
    texts = [cell.source for cell in done.cells if cell.cell_type == "markdown"]
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    texts += [output.get("data", {}).get("text/markdown", "") for output in outputs]
    return [line for text in texts for line in re.findall(rf"^.*(?:{RAW}).*$", text, re.M)]


RAW = r"\{[a-z][\w:-]*\}`|^(?:`{3,}|:{3,})\{|^\([\w-]+\)="


def downloaded(name: str):
    """The notebook that the page of a chapter offers."""
    assert SITE.exists(), f"There is no site in {SITE}: run make book first"
    return nbformat.read(SITE / f"_sources/{name}.ipynb", as_version=4)


@pytest.mark.medium
@pytest.mark.parametrize("name", CHAPTERS)
def test_what_a_page_offers_is_the_student_edition(name):
    offered = downloaded(name)
    assert raw(offered) == []
    assert [cell.id for cell in offered.cells[1:3]] == ["edition", "install"]
    figures = sum(cell.source.count("{glue:figure}") for cell in notebook(name).cells)
    outputs = [output for cell in offered.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= figures
    assert "Solution:" not in str(offered)
