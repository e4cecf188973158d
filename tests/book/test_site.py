"""The built site in headless Chromium, on a desk and on a phone."""

import functools
import gzip
import http.server
import os
import re
import shutil
import threading
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import nbformat
import pytest
from matplotlib.image import imread
from playwright.sync_api import sync_playwright

from tests.book.test_sources import CHAPTERS, pages, stated_by_key

SITE = Path(__file__).parents[2] / "_build/html"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SCREENS = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
# The front page is opened under its own name: index.html only sends the browser on to it.
OTHERS = ["search", "genindex"]

pytestmark = [
    pytest.mark.medium,
    pytest.mark.xdist_group("site"),  # one browser and one server
    pytest.mark.skipif(
        not CHROMIUM and not os.environ.get("CI"),
        reason="needs Chromium (Debian: apt-get install chromium)",
    ),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture(scope="module")
def address():
    """Where the site is served; ends with a slash."""
    assert (SITE / "index.html").exists(), f"There is no site in {SITE}: run make book first"
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "Chromium is missing (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=SCREENS)
def page(request, browser, address):
    """An empty tab that records, and after the test refuses, errors and requests to other hosts."""
    context = browser.new_context(viewport=SCREENS[request.param], reduced_motion="reduce")
    page = context.new_page()
    complaints = []

    def visit(route):
        if route.request.url.startswith(address):
            route.continue_()
        else:
            complaints.append(f"request to {route.request.url}")
            route.abort()

    context.route("**/*", visit)
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda r: r.status >= 400 and complaints.append(f"{r.status} {r.url}"))
    yield page
    context.close()
    assert complaints == []


def read(page, url: str) -> None:
    page.goto(url, wait_until="load")


def test_every_page_of_the_book_is_there():
    assert [name for name in pages() if not (SITE / f"{name}.html").exists()] == []


@pytest.mark.parametrize("name", [*pages(), *OTHERS])
def test_page(page, address, name):
    """A page is read once, since setting its formulae is what costs; then all is looked at."""
    read(page, f"{address}{name}.html")
    _all_is_set(page)
    if name in CHAPTERS:
        _notebook_can_be_downloaded(page)
        _figures_lead_to_their_code(page)
        _tables_can_be_saved(page)
        _solutions_open_on_a_click(page)
    if name not in OTHERS:
        _tables_have_captions(page)
        _nothing_is_cut(page)


def _all_is_set(page):
    """Formulae and images are there, images are described, and nothing is too wide."""
    if page.locator("div.math, span.math").count():
        page.wait_for_selector("mjx-container")
        assert page.locator("mjx-merror").count() == 0
        assert page.locator("div.math:not(:has(mjx-container))").count() == 0
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    empty = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
    assert page.evaluate(empty) == []
    unnamed = "[...document.querySelectorAll('.bd-article img')].filter(image => !image.alt)"
    assert page.evaluate(f"{unnamed}.map(image => image.src)") == []
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0


LOST = Path(__file__).with_name("lost.js").read_text(encoding="utf-8")
UNSIGNED = """() => [...document.querySelectorAll(".bd-article *")].filter((box) =>
  box.clientWidth > 4 && box.scrollWidth > box.clientWidth + 2
  && /auto|scroll/.test(getComputedStyle(box).overflowX)
  && !(box.matches(".goes-on") && box.tabIndex == 0)).map((box) => box.className || box.tagName)"""


def _nothing_is_cut(page):
    """What is wider than its place scrolls, fades at the edge, and the keyboard reaches it."""
    page.evaluate("window.MathJax?.startup?.promise")
    page.evaluate(LOST)  # opens what is folded
    page.wait_for_timeout(100)
    assert page.evaluate(LOST) == []
    assert page.evaluate(UNSIGNED) == []


BARE = """() => [...document.querySelectorAll(".bd-article table:not(:has(> caption))")].filter(
  (table) => !table.closest("details, .explorer, .highlight, dl, div.theorem, div.proof")
  && !/^(symbol|theorem\\s+name)/.test(table.textContent.trim()))
  .map((table) => table.textContent.slice(0, 80))"""


def _tables_have_captions(page):
    """All but lists of symbols and of theorems, and tables in what has a head of its own."""
    assert page.evaluate(BARE) == []


def _notebook_can_be_downloaded(page):
    link = page.locator('.dropdown-download-buttons a[href$=".ipynb"]').first.get_attribute("href")
    answer = page.request.get(urljoin(page.url, link))
    notebook = nbformat.reads(answer.text(), as_version=4)
    nbformat.validate(notebook)
    assert any(cell.get("outputs") for cell in notebook.cells)
    assert "install" in [cell.id for cell in notebook.cells]  # the student edition
    assert str(SITE.parents[1]) not in answer.text()


def _figures_lead_to_their_code(page):
    """The link under a figure opens the folded cell that made it, also when clicked again."""
    for link in page.locator("figcaption a.code").all():
        target = page.locator(link.get_attribute("href"))
        assert target.count() == 1
        cell = target.locator("xpath=following::div[contains(@class, 'cell')][1]")
        code = cell.locator("div.cell_input").first
        assert "pages.figure(" in code.text_content()
        link.click()
        code.wait_for(state="visible")
        if cell.locator("details.hide").count():
            cell.locator("details.hide > summary").first.click()
            code.wait_for(state="hidden")
            link.click()
            code.wait_for(state="visible")


def _tables_can_be_saved(page):
    for link in page.locator("a.csv").all():
        with page.expect_download() as caught:
            link.click()
        text = Path(caught.value.path()).read_text(encoding="utf-8")
        assert caught.value.suggested_filename.endswith(".csv")
        assert text.count("\n") >= 2 and "," in text


def _solutions_open_on_a_click(page):
    for solution in page.locator("div.solution.dropdown").all():
        assert not solution.locator("section").is_visible()
        solution.locator("button.toggle-button").click()
        solution.locator("section").wait_for(state="visible")


@pytest.mark.parametrize("name", CHAPTERS)
def test_an_address_opens_the_code_of_its_figure(page, address, name):
    """A link from elsewhere to the code of a figure finds it unfolded."""
    html = (SITE / f"{name}.html").read_text(encoding="utf-8")
    for place in re.findall(r'<a class="code" href="(#[^"]+)">', html)[-1:]:
        read(page, f"{address}{name}.html{place}")
        cell = page.locator(place).locator("xpath=following::div[contains(@class, 'cell')][1]")
        cell.locator("div.cell_input").first.wait_for(state="visible")


CUT = re.compile(r'<figure class="[^"]*\bcut-([\d-]+)[^"]*".*?<img[^>]*src="([^"]+)"', re.DOTALL)


@pytest.mark.parametrize("name", CHAPTERS)
def test_figures_are_cut_between_their_panels(name):
    """On a phone they come apart there, so nothing may be drawn at these columns."""
    html = (SITE / f"{name}.html").read_text(encoding="utf-8")
    for cuts, source in CUT.findall(html):
        picture = imread(SITE / source)[..., :3]
        for cut in map(int, cuts.split("-")):
            column = picture[:, round(cut / 100 * picture.shape[1])]
            assert column.min() > 0.97, (source, cut)


def test_what_is_cut_is_seen(page, address):
    """A line in a box that hides what is too long, as in the proofs once, is found."""
    read(page, f"{address}{pages()[0]}.html")
    before = len(page.evaluate(LOST))
    page.evaluate("""() => {
      const box = document.createElement("div"), line = document.createElement("p");
      box.style.overflow = "hidden";
      line.style.whiteSpace = "nowrap";
      line.textContent = "long ".repeat(500);
      box.append(line);
      document.querySelector(".bd-article").append(box);
    }""")
    assert len(page.evaluate(LOST)) == before + 1


# From npm's axe-core 4.10.3, as it was published; its licence lies beside it.
AXE = Path(__file__).with_name("axe.min.js").read_text(encoding="utf-8")
RUN_AXE = """(rules) => axe.run(rules.length ? {runOnly: rules} : {}).then(
  (found) => found.violations.map((each) => each.id + ": " + each.nodes[0].html.slice(0, 120)))"""
#: axe walks through all of a page, so most pages wait for make test SLOW=1.
QUICK = [pages()[0], "how-many-bits"]
WALKED = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in [*pages(), *OTHERS]
]


@pytest.mark.parametrize("name", WALKED)
def test_axe_finds_nothing(browser, address, name):
    """Contrast by day and by night, names, landmarks, heads of tables and what else axe knows.

    Formulae are left as text: MathJax makes thousands of elements of them.
    """
    page = browser.new_page(viewport=SCREENS["desk"], color_scheme="light")
    page.route("**/mathjax/**", lambda route: route.abort())
    read(page, f"{address}{name}.html")
    page.evaluate(AXE)
    assert page.evaluate(RUN_AXE, []) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme == 'dark'")
    page.wait_for_function("document.getAnimations().length == 0")  # colours change by and by
    assert page.evaluate(RUN_AXE, ["color-contrast"]) == []
    page.close()


def test_the_front_page_is_light():
    """What it loads, compressed as servers do: letters of formulae come when they are needed."""
    html = (SITE / f"{pages()[0]}.html").read_bytes()
    named = set(re.findall(r'(?:src|href)="([^"#?:]+)', html.decode("utf-8")))
    files = [SITE / name for name in named if not name.endswith((".html", ".ipynb"))]
    contents = [file.read_bytes() for file in files if file.is_file()]
    assert len(contents) > 20
    assert len(gzip.compress(html)) + sum(len(gzip.compress(each)) for each in contents) < 1.5e6


def test_search_finds_depthwise(page, address):
    read(page, f"{address}search.html?q=depthwise")
    page.wait_for_selector("#search-results ul.search li a")


def test_dark_mode(page, address):
    read(page, f"{address}{pages()[0]}.html")
    dark = "document.documentElement.dataset.theme == 'dark'"
    for _ in range(3):  # the button goes round: system, light, dark
        if not page.evaluate(dark):
            page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate(dark)
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", color)[:3])) < 64


@pytest.mark.parametrize("name", CHAPTERS)
def test_formulae_on_the_page_are_those_of_the_objects(name):
    import qnotes

    html = unescape((SITE / f"{name}.html").read_text(encoding="utf-8"))
    latex = {entry.key.replace(" ", "-"): entry.latex() for entry in qnotes.theorems()}
    for key in stated_by_key(name):
        assert latex[key] in html, f"{name}.html does not show the formula of {key}"


def test_api_page_has_the_public_face(page, address):
    read(page, f"{address}api.html")
    import qnotes

    missing = [n for n in qnotes.__all__ if not page.locator(f'[id="qnotes.{n}"]').count()]
    assert missing == []


def test_reproducibility_names_chapters_versions_and_weights(page, address):
    read(page, f"{address}reproducibility.html")
    text = page.locator("article").inner_text()
    for expected in ("seconds", "torch", "sha256", "resnet20"):
        assert expected in text
