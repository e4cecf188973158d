"""What is added to a chapter after it ran."""

import importlib.util

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.book.test_sources import BOOK, CHAPTERS

spec = importlib.util.spec_from_file_location("execute", BOOK / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)

FIGURE = """Why?

```{glue:figure} a-plot
:name: fig-a

A caption that ends. {glue:text}`a-number`
```

Therefore.
"""


@pytest.mark.parametrize("call", ["glue(\n    'a-plot', plot)", 'pages.figure("a-plot", plot)'])
def test_a_figure_links_to_the_cell_that_made_it(call):
    maker = new_code_cell(f'glue("a-number", 3, display=False)\n{call}')
    notebook = new_notebook(cells=[new_code_cell("x = 1"), maker, new_markdown_cell(FIGURE)])
    execute.finish_figures(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["code", "markdown", "code", "markdown"]
    assert notebook.cells[1].source == f'<span id="code-{maker.id}"></span>'
    link = f'<a class="code" href="#code-{maker.id}">The code of this figure.</a>'
    caption = "A caption that ends. {glue:text}`a-number`"
    assert notebook.cells[3].source == FIGURE.replace(caption, f"{caption} {link}")


def test_where_the_numbers_of_a_figure_come_from_is_folded():
    text = FIGURE.replace(" {glue:text}`a-number`", "\n\nWeights: {glue:text}`a-number`")
    cells = [new_code_cell('pages.figure("a-plot", plot)'), new_markdown_cell(text)]
    notebook = new_notebook(cells=cells)
    execute.finish_figures(notebook)
    folded = """</a>

<details class="source">
<summary>Provenance</summary>

Weights: {glue:text}`a-number`

</details>
```
"""
    assert folded in notebook.cells[-1].source and "ends. <a class" in notebook.cells[-1].source


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_figure_of_the_book_has_a_maker(name):
    notebook = nbformat.read(BOOK / f"{name}.ipynb", as_version=4)
    before = sum(cell.source.count("{glue:figure}") for cell in notebook.cells)
    execute.finish_figures(notebook)
    after = sum(cell.source.count("The code of this figure.") for cell in notebook.cells)
    assert after == before
