"""What a chapter prints of a theorem: its statement, its symbols, and the steps of its proof.

Only chapters import this module; it needs what Jupyter Book brings along.
"""

from __future__ import annotations

from IPython.display import Markdown, Math
from myst_nb import glue

from qnotes.theory import theorems, to_latex


def theorem(key: str):
    """A theorem by number and form, such as ``T2`` or ``T5 mean form``."""
    return {entry.key: entry for entry in theorems()}[key]


def glue_statements() -> None:
    """Make every statement available to the page: ``{glue:math} T5-mean-form`` prints it."""
    for entry in theorems():
        glue(entry.key.replace(" ", "-"), Math(entry.latex()), display=False)


def symbols(key: str) -> Markdown:
    """The symbols of a theorem that a profile supplies, with their meanings."""
    rows = [f"| ${to_latex(s)}$ | {text} |" for s, text in theorem(key).symbols().items()]
    return Markdown("\n".join(["| symbol | meaning |", "|---|---|", *rows]))


def proof(key: str) -> Markdown:
    """The steps of a proof as the machine sees them, each derived again at this moment."""
    steps = []
    for number, checked in enumerate(theorem(key).check(), start=1):
        formulae = "".join(f"\n\n   $$\n   {latex}\n   $$" for latex in checked.step.latex())
        steps.append(f"{number}. **{checked.step.title}.** {checked.step.reason}{formulae}")
    return Markdown("\n\n".join(steps))
