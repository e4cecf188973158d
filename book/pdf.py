"""Print one page of a site on paper: python book/pdf.py PAGE.html TARGET.pdf

Chromium does the work; `_static/qnotes.css` says how the page looks on paper (`@media print`).
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

MINUTES = 20  # for all formulae of the book
CHROMIUM = ("chromium", "google-chrome", "chromium-browser")
OPEN = """async () => {
  document.documentElement.dataset.theme = "light";
  const folded = document.querySelectorAll(".toggle-hidden");
  folded.forEach((box) => box.classList.remove("toggle-hidden"));
  document.querySelectorAll("img").forEach((image) => (image.loading = "eager"));
  await window.MathJax?.startup?.promise;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
}"""
FOOT = '<p class="pageNumber" style="width: 100%; text-align: center; font-size: 8pt"></p>'


def print_page(source: Path, target: Path, browser: str) -> None:
    """Write the page as PDF on A4, with solutions open and numbers of pages."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(MINUTES * 60_000)
        page.goto(source.resolve().as_uri(), wait_until="load")
        page.evaluate(OPEN)
        page.pdf(
            path=target,
            format="A4",
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
            margin={"top": "18mm", "bottom": "20mm", "left": "16mm", "right": "16mm"},
            outline=True,
            tagged=True,
        )
        chromium.close()


def main(arguments: list[str]) -> int:
    source, target = map(Path, arguments)
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser is None:
        print("Chromium is missing (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    print_page(source, target, browser)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
