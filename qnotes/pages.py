"""What a chapter needs of the book: figures and numbers for the page, statements, proofs, tables.

Only chapters import this module; it needs what Jupyter Book brings along.

Figures, numbers and statements are shown under their cell, where a notebook is read in Jupyter. On
the page they stand where the text asks for them, as ``{glue:figure}``, ``{glue:text}`` and
``{glue:math}``; the tag ``remove-output`` keeps the cell itself from showing them there once more.
"""

from __future__ import annotations

import base64

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, Markdown, Math, display
from matplotlib.figure import Figure
from myst_nb import glue
from sympy import IndexedBase

from qnotes import theorems
from qnotes.theorems import notation as sy
from qnotes.theorems import to_latex


def theorem(key: str):
    """A theorem by number and form, such as ``T2`` or ``T5 mean form``."""
    return {entry.key: entry for entry in theorems()}[key]


def figure(name: str, drawn: Figure) -> None:
    """Show a figure; the page has it where ``{glue:figure} name`` stands."""
    plt.close(drawn)  # pyplot would show it a second time
    glue(name, drawn)


def numbers(section: str, **values: object) -> None:
    """Show numbers; ``numbers("gain", low="3.1")`` is ``{glue:text}`gain-low``` in the text.

    Args:
        section: begins the name of each.
        values: what the text shall say, as text or as a whole number, by the rest of its name; an
            underscore becomes a dash.
    """
    named = {f"{section}-{name.replace('_', '-')}": value for name, value in values.items()}
    for name, value in named.items():
        glue(name, value, display=False)
    display(Markdown(", ".join(f"`{name}` = {value}" for name, value in named.items())))


def statements(*keys: str) -> None:
    """Show the formulae of theorems; the page has T5's where ``{glue:math} T5-mean-form`` stands.

    Args:
        keys: theorems by number and form, such as ``T2`` or ``T5 mean form``.
    """
    for key in keys:
        glue(key.replace(" ", "-"), Math(theorem(key).latex()))


def symbols(key: str) -> Markdown:
    """The symbols of a theorem that a profile supplies, with their meanings."""
    rows = [f"| ${_of_layer(s)}$ | {text} |" for s, text in theorem(key).symbols().items()]
    return Markdown("\n".join(["| symbol | meaning |", "|---|---|", *rows]))


def notation() -> Markdown:
    """Every symbol that a profile supplies, with its meaning."""
    rows = [f"| ${_of_layer(s)}$ | {quantity.meaning} |" for s, quantity in sy.QUANTITIES.items()]
    return Markdown("\n".join(["| symbol | meaning |", "|---|---|", *rows]))


def status(chapters: dict[str, str], ratios: pd.Series) -> Markdown:
    """A row a theorem: whose it is, its proof derived again now, and how near networks come to it.

    Args:
        chapters: for each theorem that a chapter states, the label of its statement there.
        ratios: for each bound that was searched, the largest ratio error/bound that was found.

    Whether a theorem is tight is said where it is a bound.
    """
    rows = []
    for entry in theorems():
        checked = entry.check()
        seconds = sum(step.seconds for step in checked)
        proved = f"{entry.status}, {len(checked)} steps, {seconds:.1f} s" if checked else "stated"
        label = chapters.get(entry.key)
        link = f"{{prf:ref}}`{entry.key} <{label}>`" if label else entry.key
        tight, ratio = "–", "–"
        if entry.key in ratios:
            tight, ratio = "yes" if entry.tight else "no", f"{ratios[entry.key]:.3f}"
        rows.append(f"| {link} | {entry.name} | {entry.whose} | {proved} | {tight} | {ratio} |")
    header = "| theorem | name | whose | status | tight | largest ratio |"
    return Markdown("\n".join([header, "|---|---|---|---|---|---|", *rows]))


def all_statements() -> Markdown:
    """Every theorem with its conditions, its statement, and where it comes from."""
    return Markdown("\n\n".join(map(_card, theorems())))


def _card(entry) -> str:
    conditions = "; ".join(hypothesis.text for hypothesis in entry.hypotheses) or "none"
    return (
        f"**{entry.key}, {entry.name}.** Conditions: {conditions}.\n\n"
        f"$$\n{entry.latex()}\n$$\n\n*{entry.source}*"
    )


def _of_layer(symbol) -> str:
    return to_latex(symbol[sy.ell] if isinstance(symbol, IndexedBase) else symbol)


def proof(key: str) -> Markdown:
    """The steps of a proof as the machine sees them, each derived again at this moment.

    They are folded away: the proof for readers stands beside them.
    """
    steps = []
    for number, checked in enumerate(theorem(key).check(), start=1):
        formulae = "".join(f"\n\n   $$\n   {latex}\n   $$" for latex in checked.step.latex())
        steps.append(f"{number}. **{checked.step.title}.** {checked.step.reason}{formulae}")
    title = f"The machine's proof of {key}: {len(steps)} steps, each derived again just now"
    body = "\n\n".join(steps)
    # Plain Jupyter has no admonitions; it folds this, and so does the page, which styles the class.
    return Markdown(
        f'<details class="toggle-details">\n<summary>{title}</summary>\n\n{body}\n\n</details>'
    )


def csv(table: pd.DataFrame, name: str) -> HTML:
    """A link that saves a table as ``name.csv``; the table itself is in the page."""
    content = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return HTML(
        f'<a class="csv" download="{name}.csv" href="data:text/csv;base64,{content}">'
        "Download this table as CSV</a>"
    )
