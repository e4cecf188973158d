"""The chapters run with other parameters than their own."""

from pathlib import Path

import papermill
import pytest

from tests.book.test_sources import BOOK, CHAPTERS, declared

SMALL = {"weights": "digits", "bits": [5], "seed": 1}
#: For chapters that read what is kept with the book, which is so; else they compute for minutes.
KEPT = SMALL | {"bits": [4], "seed": 0}
#: `errors.csv` has the networks that were trained on ImageNet at 8 bits alone.
IN_THE_TABLE = KEPT | {"bits": [8]}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHAPTERS if declared(name)])
def test_chapter_with_small_parameters(name, tmp_path: Path):
    text = (BOOK / f"{name}.ipynb").read_text(encoding="utf-8")
    small = KEPT if "pages.kept" in text or "pages.CELLS" in text else SMALL
    if "known_errors" in text:
        small = IN_THE_TABLE
    given = {key: value for key, value in small.items() if key in declared(name)}
    papermill.execute_notebook(
        str(BOOK / f"{name}.ipynb"),
        str(tmp_path / f"{name}.ipynb"),
        given,
        kernel_name="python3",
        cwd=str(BOOK),
        progress_bar=False,
    )
