"""The chapters run with other parameters than their own."""

from pathlib import Path

import papermill
import pytest

from tests.book.test_sources import BOOK, CHAPTERS, declared

SMALL = {"weights": "digits", "bits": [5], "seed": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHAPTERS if declared(name)])
def test_chapter_with_small_parameters(name, tmp_path: Path):
    given = {key: value for key, value in SMALL.items() if key in declared(name)}
    papermill.execute_notebook(
        str(BOOK / f"{name}.ipynb"),
        str(tmp_path / f"{name}.ipynb"),
        given,
        kernel_name="python3",
        cwd=str(BOOK),
        progress_bar=False,
    )
