"""The book on paper: the front page offers it where it is there."""

import importlib.util
import os

from tests.book.test_sources import BOOK, notebook

spec = importlib.util.spec_from_file_location("pdf", BOOK / "pdf.py")
pdf = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pdf)


def test_the_link_is_hidden_until_there_is_a_pdf(tmp_path):
    front = "\n".join(cell.source for cell in notebook("intro").cells)
    assert front.count(pdf.HIDDEN) == 1 and 'href="book.pdf"' in front
    for name in ("index.html", "intro.html"):
        (tmp_path / name).write_text(f"{pdf.HIDDEN}here</p>")
    os.utime(tmp_path / "index.html", (1, 1))
    (tmp_path / "printed.pdf").write_bytes(b"%PDF")
    pdf.offer(tmp_path, tmp_path / "printed.pdf")
    assert (tmp_path / "book.pdf").read_bytes() == b"%PDF"
    for name in ("index.html", "intro.html"):
        assert (tmp_path / name).read_text() == '<p class="pdf">here</p>'
    assert (tmp_path / "index.html").stat().st_mtime == 1  # or make would print it again
