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


def test_a_slide_is_the_first_figure_of_a_chapter(tmp_path):
    body = """<div id="jb-print-docs-body">Contents</div><article class="bd-article">
      <h1>{0}<a class="headerlink">#</a></h1><p>text</p>{1}</article>"""
    figure = """<figure><a href="big.png"><img src="{0}.png"></a><figcaption>Of {0}.
      <a class="code" href="#c">The code</a></figcaption></figure>"""
    one, two, three = map(figure.format, ("one", "two", "three"))
    figures = {"a": one + two, "b": "", "c": three}
    for name, shown in figures.items():
        (tmp_path / f"{name}.html").write_text(body.format(name.upper(), shown))
    found = pdf.BeautifulSoup(pdf.slides(tmp_path, list(figures)), "html.parser")
    assert [slide.h1.text for slide in found.select("div.slide")] == ["A", "C"]
    assert [image["src"] for image in found.select("img")] == ["one.png", "three.png"]
    assert not found.select("a") and "Contents" not in found.text and "text" not in found.text
