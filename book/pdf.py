"""Print the built site: python book/pdf.py [--slides] SITE TARGET.pdf

The articles of all pages become one page, and Chromium prints it; `_static/qnotes.css` says how it
looks on paper (`@media print`). Sphinx's own builder of a single page does not know folded cells.
The site gets a copy, book.pdf, and its front page shows the link that it hides without one.
With --slides, it is the first figure of each chapter, a slide each.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import yaml
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

TOC = Path(__file__).with_name("_toc.yml")
MINUTES = 20  # for all formulae of the book
CHROMIUM = ("chromium", "google-chrome", "chromium-browser")
OPEN = """async () => {
  document.documentElement.dataset.theme = "light";
  const folded = document.querySelectorAll(".toggle-hidden");
  folded.forEach((box) => box.classList.remove("toggle-hidden"));
  document.querySelectorAll("details:not(.hide)").forEach((each) => (each.open = true));
  document.querySelectorAll("img").forEach((image) => (image.loading = "eager"));
  await window.MathJax?.startup?.promise;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
}"""
FOOT = '<p class="pageNumber" style="width: 100%; text-align: center; font-size: 8pt"></p>'
#: On the front page, in front of the link to the PDF.
HIDDEN = '<p class="pdf" hidden>'
LINK = re.compile(r'href="([\w-]+)\.html(#[^"]*)?"')


def pages(toc: Path) -> list[str]:
    """The pages of the book in its order."""
    listed = yaml.safe_load(toc.read_text(encoding="utf-8"))
    parts = listed.get("parts", [listed])
    return [listed["root"], *(page["file"] for part in parts for page in part["chapters"])]


def joined(site: Path, names: list[str]) -> str:
    """One page with the articles of all; links between them stay inside it."""
    articles = []
    for name in names:
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        article = str(BeautifulSoup(html, "html.parser").select_one("article.bd-article"))
        links = LINK.sub(lambda f: f'href="{f[2] or "#page-" + f[1]}"', article)
        articles.append(f'<div class="page" id="page-{name}">{links}</div>')
    return _instead(site, names[0], articles)


def slides(site: Path, names: list[str]) -> str:
    """One page with a slide for each chapter that has a figure: its title, and the first figure."""
    shown = []
    for name in names:
        soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        article = soup.select_one("article.bd-article")
        figure = article.select_one("figure")
        if figure is None:
            continue
        for link in article.select(".headerlink, a.code, details.source"):
            link.decompose()
        for link in figure.select("a"):
            link.unwrap()
        shown.append(f'<div class="page slide">{article.select_one("h1")}{figure}</div>')
    return _instead(site, names[0], shown)


def _instead(site: Path, name: str, articles: list[str]) -> str:
    """A page of the site with other articles, and without the theme's table of contents."""
    soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    for contents in soup.select("#jb-print-docs-body"):
        contents.decompose()
    place = soup.select_one("article.bd-article")
    place.replace_with(BeautifulSoup("\n".join(articles), "html.parser"))
    return str(soup)


ON_PAPER = {
    "format": "A4",
    "display_header_footer": True,
    "header_template": "<span></span>",
    "footer_template": FOOT,
    "margin": {"top": "18mm", "bottom": "20mm", "left": "16mm", "right": "16mm"},
}
ON_A_SCREEN = {"width": "320mm", "height": "180mm"}


def print_page(source: Path, target: Path, browser: str, options: dict) -> None:
    """Write the page as PDF, with solutions open."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(MINUTES * 60_000)
        page.goto(source.resolve().as_uri(), wait_until="load")
        page.evaluate(OPEN)
        page.pdf(path=target, print_background=True, outline=True, tagged=True, **options)
        chromium.close()


def offer(site: Path, target: Path) -> None:
    """Put the PDF into the site and show the link to it; make sees no newer front page."""
    front = site / "index.html"
    shutil.copy(target, site / "book.pdf")
    built = front.stat()
    # The root of the book is a page of its own, and index.html leads there.
    for page in (front, site / f"{pages(TOC)[0]}.html"):
        html = page.read_text(encoding="utf-8")
        page.write_text(html.replace(HIDDEN, HIDDEN.replace(" hidden", "")), encoding="utf-8")
    os.utime(front, ns=(built.st_atime_ns, built.st_mtime_ns))


def main(arguments: list[str]) -> int:
    as_slides = "--slides" in arguments
    site, target = (Path(argument) for argument in arguments if argument != "--slides")
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser is None:
        print("Chromium is missing (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    whole = site / "whole-book.html"  # beside the images that it shows
    try:
        html = (slides if as_slides else joined)(site, pages(TOC))
        whole.write_text(html, encoding="utf-8")
        print_page(whole, target, browser, ON_A_SCREEN if as_slides else ON_PAPER)
    finally:
        whole.unlink(missing_ok=True)
    if not as_slides:
        offer(site, target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
