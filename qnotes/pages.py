"""What a chapter needs of the book: figures and numbers for the page, statements, proofs, tables.

Only chapters import this module; it needs IPython, which Jupyter brings along.

Figures, numbers and statements are shown under their cell, where a notebook is read in Jupyter. On
the page they stand where the text asks for them, as ``{glue:figure}``, ``{glue:text}`` and
``{glue:math}``; the tag ``remove-output`` keeps the cell itself from showing them there once more.
"""

from __future__ import annotations

import base64
import re
from html import escape

import matplotlib.pyplot as plt
import pandas as pd
from IPython.core.formatters import format_display_data
from IPython.display import HTML, Markdown, Math, display
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler
from sympy import IndexedBase, sympify

from qnotes import theorems
from qnotes.kept import CELLS as CELLS
from qnotes.kept import kept as kept
from qnotes.theorems import AXIOMS, to_latex
from qnotes.theorems import notation as sy
from qnotes.theorems.printing import fact_to_latex
from qnotes.theorems.rules import ByAxiom

#: Jupyter does not show what is stored under a type that begins like this.
STORED = "application/papermill.record/"


def glue(name: str, value: object, *, display_too: bool = True) -> None:
    """Store a value by name in the outputs of the cell, where MyST-NB looks for it.

    Its own ``glue`` does the same; a reader who runs a chapter need not have MyST-NB.
    """
    bundle, metadata = format_display_data(value)
    prefix = "" if display_too else STORED
    metadata["scrapbook"] = {"name": name, "mime_prefix": prefix}
    display({prefix + kind: data for kind, data in bundle.items()}, raw=True, metadata=metadata)


def figure(name: str, drawn: Figure) -> None:
    """Show a figure; the page has it where ``{glue:figure} name`` stands."""
    plt.close(drawn)  # pyplot would show it a second time
    glue(name, drawn)


def numbers(section: str, **values: object) -> None:
    """Show numbers; ``numbers("gain", low="3.1")`` is ``{glue:text}`gain-low``` in the text.

    They are text or whole numbers; an underscore in a name becomes a dash. A text that is a number
    is shown as people print it.
    """
    named = {f"{section}-{name.replace('_', '-')}": in_print(v) for name, v in values.items()}
    for name, value in named.items():
        glue(name, value, display_too=False)
    display(Markdown(", ".join(f"`{name}` = {value}" for name, value in named.items())))


def table(name: str, shown: Styler, caption: str) -> None:
    """Show a table under its caption; the page numbers it, and knows it as ``tab-name``.

    An index that is shown needs a name, which heads its column: ``table.rename_axis("network")``.
    """
    _show(name, caption, _rows(shown), shown.set_caption(caption).to_html())


def _show(name: str, caption: str, rows: list[str], html: str) -> None:
    """Jupyter takes the HTML; the page the Markdown, whose directive the build understands."""
    page = "\n".join([f"```{{table}} {caption}", f":name: tab-{name}\n", *rows, "```"])
    display({"text/html": html, "text/markdown": page}, raw=True)


BETWEEN = "\x1f"  # two cells of a row; no cell has it
NUMBER = re.compile(r"[-+−<]?\d[\d.,%\s\u202f⁰¹²³⁴⁵⁶⁷⁸⁹⁻]*|[-+−]?\d[\d.]*e[-+]\d+|nan|–|")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def in_print(value: object) -> object:
    """A number that is text, as people print it; all else as it is.

    It has a minus and no hyphen, thin spaces that do not break between thousands, and a power of
    ten for an exponent: ``-1,234`` is −1 234, and ``2e-16`` is 2 · 10⁻¹⁶.
    """
    if not isinstance(value, str) or not NUMBER.fullmatch(value.strip()):
        return value
    number, _, exponent = re.sub(r",(?=\d{3}\b)", "\u202f", value).partition("e")
    power = f"\u202f·\u202f10{str(int(exponent)).translate(RAISED)}" if exponent else ""
    return number.replace("-", "−") + power


def _rows(shown: Styler) -> list[str]:
    """A table in Markdown; where its head has several lines they become one."""
    text = shown.to_string(delimiter=BETWEEN, sparse_index=False, sparse_columns=False)
    lines = [line.split(BETWEEN) for line in text.rstrip("\n").split("\n")]
    heads, body = lines[: -len(shown.index)], lines[-len(shown.index) :]
    head = [", ".join(filter(str.strip, parts)) for parts in zip(*heads, strict=True)]
    columns = zip(*body, strict=True)
    numeric = [all(NUMBER.fullmatch(cell.strip()) for cell in cells) for cells in columns]
    rule = ["---:" if each else "---" for each in numeric]
    body = [[in_print(cell.strip()) for cell in row] for row in body]
    return [f"| {' | '.join(row)} |" for row in (_escaped(head), rule, *map(_escaped, body))]


def _escaped(cells: list[str]) -> list[str]:
    """Text of cells, in which nothing is Markdown."""
    return [re.sub(r"([\\`*_|<$\[])", r"\\\1", cell.strip()) for cell in cells]


def statements(*keys: str) -> None:
    """Show the formulae of theorems; ``{glue:math} T5-mean-form`` is that of T5 on the page."""
    for key in keys:
        glue(key.replace(" ", "-"), Math(theorems()[key].latex()))


def symbols(key: str | None = None) -> None:
    """Show the symbols that a profile supplies, with their meanings: those of a theorem, or all.

    On the page the table is ``tab-symbols``, and that of a theorem ``tab-symbols-T2``.
    """
    meanings = {symbol: quantity.meaning for symbol, quantity in sy.QUANTITIES.items()}
    found, name, caption = meanings, "symbols", "Symbols that a profile supplies."
    if key is not None:
        theorem = theorems()[key]
        found, name = theorem.symbols(), f"symbols-{theorem.number}"
        caption = f"Symbols of {theorem.number} that a profile supplies."
    shown = {
        to_latex(symbol[sy.ell] if isinstance(symbol, IndexedBase) else symbol): meaning
        for symbol, meaning in found.items()
    }
    rows = ["| symbol | meaning |", "|---|---|"]
    rows += [f"| ${latex}$ | {meaning} |" for latex, meaning in shown.items()]
    cells = "".join(
        f"<tr><td>${escape(latex)}$</td><td>{escape(meaning)}</td></tr>"
        for latex, meaning in shown.items()
    )
    head = f"<caption>{caption}</caption><tr><th>symbol</th><th>meaning</th></tr>"
    _show(name, caption, rows, f"<table>{head}{cells}</table>")


#: What the word means that stands over each chain.
CHECKED = (
    "*Checked* means: from the hypotheses, definitions and axioms named here, each fact follows "
    "from the facts beside it by the rule beside it, and the last one is the statement, sign for "
    "sign. What the hypotheses say of a real network, and that the axioms are true, is not checked."
)


#: What stands over chains that begin with T17.
SLOPES = (
    "$\\kappa_\\ell$ is the slope of the activations after layer $\\ell$, 1 for ReLU and ReLU6; "
    "$\\sigma(0)_\\ell$ is what they make of zeros, zeros for these. Theorem T17 is about others."
)


def proof(key: str) -> Markdown:
    """The chain of facts as the machine sees it, each derived again at this moment.

    It is folded away: the proof for readers stands beside it.
    """
    theorem = theorems()[key]
    steps = [checked.step for checked in theorem.check()]
    given = {**theorem.facts(), **theorem.definition_facts()}
    used = {name for step in steps for name in step.names}
    rows = ["| | fact | from | by |", "|---|---|---|---|"]
    labels: dict[str, str] = {}
    for name in [name for name in given if name in used]:
        kind = "hypothesis" if name in theorem.facts() else "definition"
        labels[name] = f"{kind[0].upper()}{len(labels) + 1}"
        rows.append(f"| {labels[name]} | ${_in_table(given[name])}$ | {name} | *{kind}* |")
    for number, step in enumerate(steps, start=1):
        labels[step.name] = str(number)
        source = ", ".join(_at(labels, use) for use in step.uses) or "–"
        words = f"**{step.rule.words}**" if isinstance(step.rule, ByAxiom) else step.rule.words
        note = f"<br>{step.reason}" if step.reason else ""
        rows.append(f"| {number} | ${_in_table(step.fact)}$ | {source} | {words}{note} |")
    axioms = {step.rule.axiom for step in steps if isinstance(step.rule, ByAxiom)}
    listed = "\n".join(
        f"- Axiom, {axiom.name}: {axiom.text}" for axiom in AXIOMS if axiom in axioms
    )
    slopes = SLOPES if any(r"\kappa" in row for row in rows) else ""
    body = "\n\n".join(part for part in (CHECKED, slopes, listed, "\n".join(rows)) if part)
    title = f"The machine's chain for {key}: {len(steps)} steps, each derived again just now"
    # Plain Jupyter has no admonitions; it folds this, and so does the page, which styles the class.
    return Markdown(
        f'<details class="toggle-details">\n<summary>{title}</summary>\n\n{body}\n\n</details>'
    )


def _in_table(fact) -> str:
    """LaTeX without the bars that would end a cell of a table."""
    return fact_to_latex(fact).replace(r"\|", r"\Vert ").replace("|", r"\vert ")


def _at(labels: dict[str, str], use) -> str:
    """A fact by its number, and what stands for its indices."""
    if isinstance(use, str):
        return labels[use]
    name, images = use
    put = ", ".join(
        f"{to_latex(index)} := {to_latex(sympify(image))}" for index, image in images.items()
    )
    return f"{labels[name]} at ${put}$"


def csv(table: pd.DataFrame, name: str) -> HTML:
    """A link that saves a table as ``name.csv``; the table itself is in the page."""
    content = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return HTML(
        f'<a class="csv" download="{name}.csv" href="data:text/csv;base64,{content}">'
        "Download this table as CSV</a>"
    )
