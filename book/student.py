"""Notebooks for students: python book/student.py [--solutions] --to FOLDER NOTEBOOK ...

A chapter is written in MyST: directives and roles that only the book's build understands. Here each
becomes plain Markdown, with its number on the page, and what a cell glued stands in the text.
A cell on top installs the package; solutions are left out.

The numbers of figures, theorems, exercises and formulae are read from the pages of the site, which
--site names. Without a site the names of things stand in place of their numbers.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.colon_fence import colon_fence_plugin
from nbformat.v4 import new_code_cell, new_markdown_cell
from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
MARKDOWN = MarkdownIt("commonmark").use(colon_fence_plugin)
HEAD = re.compile(r"\{(?P<name>[\w:-]+)\}\s*(?P<argument>.*)")
OPTION = re.compile(r":([\w-]+):[ \t]*(.*)\n?")
ROLE = re.compile(r"\{([a-z:]+)\}`([^`]+)`|(`+)[^`](?:.*?[^`])?\3(?!`)", re.DOTALL)  # or code
EXPLICIT = re.compile(r"(.+?)\s*<([^<>]+)>", re.DOTALL)  # a text, and the label that it leads to
LABELLED = re.compile(r"\$\$(.*?)\$\$ *\(([\w-]+)\)", re.DOTALL)
TARGET = re.compile(r"^\(([\w-]+)\)=[ \t]*\n+(?=#+ (.*))", re.MULTILINE)  # before a heading
# What the build adds for its pages: marks before code, and links to them.
OF_THE_PAGE = re.compile(
    r'<span id="code-[^>]*></span>| ?<a class="code".*?</a>|<p class="pdf".*?</p>', re.DOTALL
)
# On a page: an element with a name, or the number of the last one before it.
NUMBERED = re.compile(r'\bid="([^"]+)"|<span class="(?:caption-number|eqno)">([^<]+)<')
TABLE = re.compile(r'\bpages\.table\(\s*"([\w-]+)"')  # a cell that makes one
GLUED = "application/papermill.record/text/plain"
# What an exercise asks for, at its beginning; and the stub of one that asks for code.
MARK = re.compile(r"\*(By hand|By machine|Research), (easy|medium|hard)\.\* ")
STUB = re.compile(r"^```python\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
BOXES = {"prf:theorem": "info", "prf:lemma": "info", "prf:definition": "info"}
KINDS = {
    "prf:theorem": "Theorem",
    "prf:lemma": "Lemma",
    "prf:definition": "Definition",
    "prf:example": "Example",
    "exercise": "Exercise",
    "glue:figure": "Figure",
    "table": "Table",
    "math": "Equation",
}


class StudentError(Exception):
    """Something in a chapter that has no plain form; the message says where and what to do."""


# ---------------------------------------------------------------- reading MyST


@dataclass(frozen=True)
class Directive:
    """A fenced block such as ```` ```{exercise} Half a step ````."""

    name: str
    argument: str
    options: dict[str, str]
    body: str


def parts(text: str) -> Iterator[str | Directive]:
    """The directives of a Markdown text, and what stands between them."""
    lines, done = text.splitlines(), 0
    for token in MARKDOWN.parse(text):
        found = HEAD.fullmatch(token.info.strip()) if token.type.endswith("fence") else None
        if found and token.level == 0:
            yield "\n".join(lines[done : token.map[0]])
            yield directive(found["name"], found["argument"], token.content)
            done = token.map[1]
    yield "\n".join(lines[done:])


def directive(name: str, argument: str, content: str) -> Directive:
    options = {}
    while found := OPTION.match(content):
        options[found[1]] = found[2].strip()
        content = content[found.end() :]
    return Directive(name, argument.strip(), options, content.strip())


# ---------------------------------------------------------------- what references say


@dataclass
class References:
    """What a reference shows: names come from the sources, numbers from the pages.

    Attributes:
        documents: the title of each page, by file name without suffix.
        names: kind and title of what has a label, such as ("Exercise", "Half a step").
        numbers: what the page calls it, such as "Exercise 2.1".
        citations: authors, year and address (or none) of each source.
    """

    documents: dict[str, str] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    citations: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def number(self, label: str) -> str:
        """Such as "Fig. 13.1"; without a site, "Figure", or "Exercise (Half a step)"."""
        if label not in self.numbers and label not in self.names:
            raise StudentError(f"nothing in the book has the label {label!r}")
        kind, title = self.names.get(label, ("", ""))
        return self.numbers.get(label) or (f"{kind} ({title})" if title else kind)

    def title(self, label: str) -> str:
        """Such as "Half a step"; what has no title has its number."""
        return self.names.get(label, ("", ""))[1] or self.number(label)

    def cite(self, key: str, style: str) -> str:
        if key not in self.citations:
            raise StudentError(f"references.bib has no source {key!r}")
        authors, year, address = self.citations[key]
        shown = f"{authors} ({year})" if style == "cite:t" else f"{authors}, {year}"
        return f"[{shown}]({address})" if address else shown


def references(book: Path, site: Path | None) -> References:
    """All that chapters refer to, from the folder of the sources and, if it is there, the site."""
    found = References(citations=citations(book / "references.bib"))
    for path in [*book.glob("*.ipynb"), *book.glob("*.md")]:
        texts = _texts(path)
        found.documents[path.stem] = texts[0].splitlines()[0].lstrip("# ")
        for text in texts:
            found.names |= labels(text)
        tables = TABLE.findall("\n".join(_texts(path, "code")))
        found.names |= {f"tab-{name}": (KINDS["table"], "") for name in tables}
    for path in site.glob("*.html") if site else []:
        found.numbers |= numbers(path.read_text(encoding="utf-8"))
    return found


def _texts(path: Path, kind: str = "markdown") -> list[str]:
    """The cells of one kind; a page of Markdown is one text, without code."""
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")] if kind == "markdown" else []
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == kind]


def labels(text: str) -> dict[str, tuple[str, str]]:
    """Kind and title of everything in a text that has a label."""
    found = {label: (KINDS["math"], "") for _, label in LABELLED.findall(text)}
    found |= {label: (heading, "") for label, heading in TARGET.findall(text)}
    for part in parts(text):
        if isinstance(part, Directive) and part.name in KINDS:
            label = part.options.get("label") or part.options.get("name")
            captioned = part.name in ("glue:figure", "table")
            title = "" if captioned else part.argument.strip("()")
            if label:
                found[label] = (KINDS[part.name], title)
    return found


def numbers(html: str) -> dict[str, str]:
    """What a page calls everything that has a number, by its label."""
    found, owner = {}, ""
    for identity, text in NUMBERED.findall(html):
        owner = identity or owner
        if text and any(letter.isdigit() for letter in text):
            found[owner.removeprefix("equation-")] = " ".join(text.split())
    return found


def citations(file: Path) -> dict[str, tuple[str, str, str]]:
    """Authors, year and address of each source of a BibTeX file, as the pages name them."""
    found = {}
    for key, entry in parse_file(str(file)).entries.items() if file.exists() else ():
        people = entry.persons.get("author", [])
        names = [" ".join(map(str, [*p.rich_prelast_names, *p.rich_last_names])) for p in people]
        authors = " and ".join(names) if len(names) < 3 else f"{names[0]} *et al.*"
        given = entry.fields
        address = given.get("url", "")
        if "eprint" in given:
            address = f"https://arxiv.org/abs/{given['eprint']}"
        if "doi" in given:
            address = f"https://doi.org/{given['doi']}"
        found[key] = (authors or given.get("title", key), given.get("year", ""), address)
    return found


# ---------------------------------------------------------------- one notebook


class Edition:
    """A chapter that ran, on its way to plain Markdown.

    Args:
        notebook: the executed chapter.
        books: what references say.
        solutions: whether solutions of exercises stay, folded.
    """

    def __init__(self, notebook, books: References, *, solutions: bool = False):
        self.books, self.solutions = books, solutions
        self.cells, self.pictures = [], {}
        self.glued, self.makers = glued(notebook)
        self.above = set()  # the code cells right above the text that is being read
        for cell in notebook.cells:
            if cell.cell_type == "code":
                self.above.add(cell.id)
                self._code(cell)
            elif OF_THE_PAGE.sub("", cell.source).strip():
                self._markdown(cell)
                self.above = set()

    # -- cells

    def _code(self, cell) -> None:
        tags = cell.metadata.get("tags", [])
        if "remove-cell" in tags:
            return
        folded = {"hide-input", "remove-input"}.intersection(tags)
        metadata = {"tags": [tag for tag in tags if not tag.startswith("remove-")]}
        if folded:
            metadata["jupyter"] = {"source_hidden": True}
        cell.metadata = nbformat.from_dict(metadata)
        cell.outputs = [output for output in cell.outputs if not _hidden(output)]
        for output in cell.outputs:
            data = output.get("data", {})
            if {"text/html", "text/markdown"} <= data.keys():
                self._table(data)
            elif "text/markdown" in data:
                data["text/markdown"] = self.text(data["text/markdown"])
        self.cells.append(cell)

    def _table(self, data: dict) -> None:
        """Jupyter shows the HTML; only its caption lacks the number of the page.

        Not all that show notebooks set formulae in HTML, but all set those in Markdown.
        """
        if "$" in data["text/html"]:
            del data["text/html"]
            data["text/markdown"] = self.text(data["text/markdown"])
            return
        (name,) = labels(data.pop("text/markdown"))
        number = self.books.numbers.get(name, KINDS["table"])
        data["text/html"] = data["text/html"].replace("<caption>", f"<caption>{number}. ", 1)

    def _markdown(self, cell) -> None:
        """One cell, or several where an exercise asks for code."""
        self.pictures, texts = {}, []
        for part in parts(OF_THE_PAGE.sub("", cell.source)):
            texts.append(self.plain(part))
            if isinstance(part, Directive) and part.name == "exercise" and by_machine(part):
                self._close(texts, cell.id)
                number = self.books.number(part.options["label"])
                self.cells.append(new_code_cell(f"# {number}: your code.\n{stub(part)}"))
                texts = []
        self._close(texts, cell.id)

    def _close(self, texts: list[str], identity: str) -> None:
        text = "\n\n".join(text.strip() for text in texts if text.strip())
        if not text:
            return
        written = new_markdown_cell(text)
        if identity not in {cell.id for cell in self.cells}:
            written.id = identity
        if self.pictures:
            written.attachments, self.pictures = self.pictures, {}
        self.cells.append(written)

    # -- text

    def plain(self, part: str | Directive) -> str:
        """A piece of text without directives and roles."""
        if isinstance(part, str):
            text = LABELLED.sub(lambda found: self.tagged(found[1], found[2]), TARGET.sub("", part))
            return ROLE.sub(lambda f: self.role(f[1], f[2]) if f[1] else f[0], text)
        if part.name not in CONVERTERS:
            raise StudentError(
                f"there is no plain form of the directive {part.name!r}: add one to CONVERTERS "
                "in book/student.py"
            )
        return CONVERTERS[part.name](self, part)

    def text(self, source: str) -> str:
        """The same for a text that may hold directives."""
        plain = (self.plain(part).strip() for part in parts(source))
        return "\n\n".join(piece for piece in plain if piece)

    def role(self, name: str, content: str) -> str:
        if name not in ROLES:
            raise StudentError(
                f"there is no plain form of the role {name!r}: add one to ROLES in book/student.py"
            )
        explicit = EXPLICIT.fullmatch(content)
        shown, target = (explicit[1], explicit[2]) if explicit else ("", content)
        return ROLES[name](self, name, shown, target)

    def value(self, name: str) -> str:
        if name not in self.glued:
            raise StudentError(f"no cell of the chapter glues {name!r}")
        return self.glued[name]

    def tagged(self, formula: str, label: str = "") -> str:
        """A displayed formula, with the number that the page gives it."""
        number = self.books.numbers.get(label, "").strip("()")
        formula = formula.strip()
        if "\\\\" in formula and not formula.startswith(r"\begin"):
            formula = rf"\begin{{aligned}} {formula} \end{{aligned}}"
        tag = rf" \tag{{{number}}}" if number else ""
        return f"$$\n{formula}{tag}\n$$"


def glued(notebook) -> tuple[dict[str, str], dict[str, str]]:
    """What the cells of a chapter stored by name, and which cell stored it."""
    values, makers = {}, {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name is None:
                continue
            data, makers[name] = output.data, cell.id
            if "image/png" in data:
                values[name] = data["image/png"]
            elif "text/latex" in data:
                values[name] = data["text/latex"].strip("$ ").removeprefix(r"\displaystyle").strip()
            elif GLUED in data:
                values[name] = str(ast.literal_eval(data[GLUED]))
    return values, makers


def _hidden(output) -> bool:
    """What only the build reads, and warnings, which the pages do not show either."""
    kinds = output.get("data", {})
    stored = bool(kinds) and all(kind.startswith("application/papermill") for kind in kinds)
    return stored or output.get("name") == "stderr"


def by_machine(exercise: Directive) -> bool:
    """Whether an exercise asks for a machine: it says so at its beginning."""
    found = MARK.match(exercise.body)
    return bool(found) and found[1] == "By machine"


def stub(exercise: Directive) -> str:
    """What a reader fills in, with a check that runs; empty where an exercise has none."""
    found = STUB.search(exercise.body)
    return f"\n{found[1].strip()}" if found else ""


# ---------------------------------------------------------------- a rule for each directive


def figure(edition: Edition, part: Directive) -> str:
    """Its caption; and the picture, unless a cell right above the text shows it."""
    name, number = part.argument, edition.books.number(part.options["name"])
    caption = f"**{number}.** {edition.text(part.body)}"
    image, maker = edition.value(name), edition.makers[name]
    alt = part.options.get("alt", "")
    for cell in edition.cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == name:
                output.metadata["image/png"] = {"alt": alt}
    if maker in edition.above:
        return caption
    edition.pictures[f"{name}.png"] = {"image/png": "".join(image.split())}
    alt = re.sub(r"[\[\]]", "", alt)
    return f"![{alt}](attachment:{name}.png)\n\n{caption}"


def table(edition: Edition, part: Directive) -> str:
    """A table of Markdown, its caption above it as on the page."""
    number = edition.books.numbers.get(part.options["name"]) or KINDS[part.name]
    return f"**{number}.** {edition.plain(part.argument)}\n\n{edition.text(part.body)}"


def formula(edition: Edition, part: Directive) -> str:
    glues = part.name == "glue:math"
    latex = edition.value(part.argument) if glues else part.body
    return edition.tagged(latex, part.options.get("label", ""))


def boxed(edition: Edition, part: Directive) -> str:
    """A statement with its number and name, in a box where Jupyter draws boxes."""
    title = part.argument.strip()
    number = edition.books.numbers.get(part.options.get("label", "")) or KINDS[part.name]
    body = f"**{f'{number} {title}'.strip()}.**\n\n{edition.text(part.body)}"
    return box(body, BOXES[part.name]) if part.name in BOXES else body


def box(body: str, kind: str) -> str:
    """Markdown inside HTML begins and ends with an empty line."""
    return f'<div class="alert alert-{kind}">\n\n{body}\n\n</div>'


def proof(edition: Edition, part: Directive) -> str:
    return f"**Proof.** {edition.text(part.body)}\n\n∎"


def exercise(edition: Edition, part: Directive) -> str:
    number = edition.books.numbers.get(part.options["label"]) or KINDS[part.name]
    body = edition.text(STUB.sub("", part.body))  # the stub has a cell of its own
    return f"**{number} ({edition.plain(part.argument)}).** {body}"


def solution(edition: Edition, part: Directive) -> str:
    if not edition.solutions:
        return ""
    return folded(f"Solution: {edition.books.title(part.argument)}", edition.text(part.body))


def folded(title: str, body: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def admonition(edition: Edition, part: Directive) -> str:
    title = edition.plain(part.argument) or part.name.capitalize()
    if part.name == "dropdown" or "dropdown" in part.options.get("class", ""):
        return folded(title, edition.text(part.body))
    return box(f"**{title}**\n\n{edition.text(part.body)}", "success")


CONVERTERS: dict[str, Callable[[Edition, Directive], str]] = {
    "glue:figure": figure,
    "table": table,
    **dict.fromkeys(("glue:math", "math"), formula),
    **dict.fromkeys(("prf:theorem", "prf:lemma", "prf:definition", "prf:example"), boxed),
    "prf:proof": proof,
    "exercise": exercise,
    "solution": solution,
    **dict.fromkeys(("admonition", "note", "tip", "warning", "important", "dropdown"), admonition),
}


# ---------------------------------------------------------------- a rule for each role


def number_of(edition: Edition, name: str, shown: str, target: str) -> str:
    return shown or edition.books.number(target)


def document(edition: Edition, name: str, shown: str, target: str) -> str:
    """A link to the notebook beside this one; pages that are no notebooks are only named."""
    if target not in edition.books.documents:
        raise StudentError(f"the book has no page {target!r}")
    text = shown or edition.books.documents[target]
    return f"[{text}]({target}.ipynb)" if (BOOK / f"{target}.ipynb").exists() else f"*{text}*"


def citation(edition: Edition, name: str, shown: str, target: str) -> str:
    listed = "; ".join(edition.books.cite(key.strip(), name) for key in target.split(","))
    return listed if name == "cite:t" else f"({listed})"


def pasted(edition: Edition, name: str, shown: str, target: str) -> str:
    """A number of the chapter, which is text: nothing in it is Markdown."""
    return re.sub(r"([*_`|])", r"\\\1", edition.value(target))


ROLES: dict[str, Callable[[Edition, str, str, str], str]] = {
    **dict.fromkeys(("prf:ref", "ref", "numref", "eq"), number_of),
    "doc": document,
    **dict.fromkeys(("cite:p", "cite:t"), citation),
    "glue:text": pasted,
}


# ---------------------------------------------------------------- what stands on top

INSTALL = """\
# Installs the package of the book where it is missing (on Colab, say).
import importlib.util

if importlib.util.find_spec("qnotes") is None:
    %pip install --quiet "git+{address}"
"""
INSTALL_BY_HAND = """\
# The package of the book must be installed: pip install FOLDER, with the
# folder of the book, where its Makefile is. Then start the kernel again.
import qnotes
"""


def repository(file: Path = ROOT / "_config.yml") -> str:
    """The address of the repository in `_config.yml`; empty where none is given."""
    settings = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return settings.get("repository", {}).get("url", "")


def note(used: dict, *, solutions: bool) -> str:
    whose = "Teacher's edition, with solutions" if solutions else "Student edition"
    values = ", ".join(f"`{name} = {value!r}`" for name, value in used.items())
    ran = f"with {values}" if values else "without parameters"
    return (
        f"*{whose}. Figures, and numbers in the text, come from a run {ran}. Run all cells, and "
        "every figure and number under a cell is yours; the text keeps those of that run.*"
    )


def edition_of(notebook, books: References, *, solutions: bool = False, address: str = ""):
    """The plain notebook of a chapter that ran; the chapter is not changed.

    Args:
        notebook: the executed chapter.
        books: what references say, from :func:`references`.
        solutions: whether solutions stay.
        address: of the repository that the cell on top installs from; empty for none.

    Raises:
        StudentError: for a directive, role, label or glued name without a plain form.
    """
    notebook = nbformat.from_dict(notebook)
    used = notebook.metadata.get("qnotes", {}).get("parameters", {})
    first, *others = Edition(notebook, books, solutions=solutions).cells
    install = INSTALL.format(address=address) if address else INSTALL_BY_HAND
    top = [
        new_markdown_cell(note(used, solutions=solutions), id="edition"),
        new_code_cell(install.strip(), id="install"),
    ]
    kept = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    plain = nbformat.v4.new_notebook(cells=[first, *top, *others], metadata=kept)
    nbformat.validate(plain)
    return plain


def write(source: Path, folder: Path, books: References, **options) -> None:
    try:
        plain = edition_of(nbformat.read(source, as_version=4), books, **options)
    except StudentError as error:
        raise StudentError(f"Chapter {source.stem}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(plain, folder / source.name)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--site", type=Path, metavar="FOLDER")
    parser.add_argument("--solutions", action="store_true")
    given = parser.parse_args(arguments)
    books = references(BOOK, given.site)
    try:
        for path in given.notebooks:
            write(path, given.to, books, solutions=given.solutions, address=repository())
    except StudentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
