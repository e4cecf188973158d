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


def figure(name: str, drawn: Figure) -> None:
    """Show a figure; the page has it where ``{glue:figure} name`` stands."""
    plt.close(drawn)  # pyplot would show it a second time
    glue(name, drawn)


def numbers(section: str, **values: object) -> None:
    """Show numbers; ``numbers("gain", low="3.1")`` is ``{glue:text}`gain-low``` in the text.

    They are text or whole numbers; an underscore in a name becomes a dash.
    """
    named = {f"{section}-{name.replace('_', '-')}": value for name, value in values.items()}
    for name, value in named.items():
        glue(name, value, display=False)
    display(Markdown(", ".join(f"`{name}` = {value}" for name, value in named.items())))


def statements(*keys: str) -> None:
    """Show the formulae of theorems; ``{glue:math} T5-mean-form`` is that of T5 on the page."""
    for key in keys:
        glue(key.replace(" ", "-"), Math(theorems()[key].latex()))


def symbols(key: str | None = None) -> Markdown:
    """The symbols that a profile supplies, with their meanings: those of a theorem, or all."""
    meanings = {symbol: quantity.meaning for symbol, quantity in sy.QUANTITIES.items()}
    found = meanings if key is None else theorems()[key].symbols()
    rows = ["| symbol | meaning |", "|---|---|"]
    for symbol, text in found.items():
        shown = symbol[sy.ell] if isinstance(symbol, IndexedBase) else symbol
        rows.append(f"| ${to_latex(shown)}$ | {text} |")
    return Markdown("\n".join(rows))


def proof(key: str) -> Markdown:
    """The steps of a proof as the machine sees them, each derived again at this moment.

    They are folded away: the proof for readers stands beside them.
    """
    steps = []
    for number, checked in enumerate(theorems()[key].check(), start=1):
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
