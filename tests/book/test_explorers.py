"""The explorers: Python's formulas, moved by keyboard, offline, on a desk and on a phone."""

# ruff: noqa: F401, F811  (fixtures are imported, and named again by the tests that use them)
import json
import random
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import qnotes as qn
from qnotes.theorems.javascript import function_code, log_code, quantities
from tests.book.cells import definitions
from tests.book.test_site import SCREENS, SITE, address, browser, page, pytestmark, read
from tests.random_profiles import random_profile

SCRIPT = Path(__file__).parents[2] / "book/_static/explorers.js"
FIGURES = [f"fig-explore-{name}" for name in ("network", "norms", "rescaling", "plane")]
cells = definitions("explorers", "plain", "after", "of_five", "PRESETS", "THEOREMS", "up")
ON_ERROR = {t.key: t for t in qn.theorems() if t.computable and isinstance(t.statement, sp.Le)}
TOLERANCE = 1e-9  # relative, of the bounds
VALUES = """([codes, given]) => codes.map((code) => {
  const formula = eval(code);
  return given.map((quantities) => Explorers.log10(formula, quantities));
})"""


@pytest.fixture(scope="module")
def script(browser):
    """A page with nothing on it but the script of the explorers."""
    page = browser.new_page()
    page.add_script_tag(path=SCRIPT)
    yield page
    page.close()


def test_every_bound_is_the_same_in_javascript(script):
    rng = random.Random(0)
    formulas = ON_ERROR | {"plain": cells.plain}
    given = [
        random_profile(rng, depth=depth, biases=biases)
        for depth in [1, 1, 2, 2, 3, 5, 20, 110, *(rng.randint(1, 60) for _ in range(7))]
        for biases in (False, True)
    ]
    sent = [quantities(profile, formulas.values()) for profile in given]
    found = script.evaluate(VALUES, [[function_code(t) for t in formulas.values()], sent])
    compared = 0
    for (key, theorem), values in zip(formulas.items(), found, strict=True):
        for profile, value in zip(given, values, strict=True):
            if not np.isnan(expected := theorem.evaluate(profile)):
                assert abs(value - expected) * np.log(10) < TOLERANCE, (key, profile.depth)
                compared += 1
    assert compared > 8 * 15


def test_the_ellipse_behind_a_relu_is_that_of_the_chapter_on_signs(script):
    of_signs = definitions("signs", "after_relu").after_relu
    entries = [cells.after[0, 0], cells.after[0, 1], cells.after[1, 1]]
    code = f"(z11, z12, z22, d1, d2) => [{', '.join(map(sp.jscode, entries))}]"
    rng = np.random.default_rng(0)
    halves = rng.normal(size=(20, 2, 2))
    drawn = [(Z := half @ half.T, np.linalg.eigvalsh(Z).max()) for half in halves]
    pairs = [(Z, np.diag(top * rng.uniform(0.6, 3, 2))) for Z, top in drawn]
    given = [[Z[0, 0], Z[0, 1], Z[1, 1], D[0, 0], D[1, 1]] for Z, D in pairs]
    run = "([code, given]) => given.map((entries) => eval(code)(...entries))"
    expected = [of_signs(Z, D) for Z, D in pairs]
    expected = [[Q[0, 0], Q[0, 1], Q[1, 1]] for Q in expected]
    np.testing.assert_allclose(script.evaluate(run, [code, given]), expected, rtol=TOLERANCE)


def test_an_operation_without_a_rule_is_refused():
    with pytest.raises(TypeError, match="no rule for sin"):
        log_code(sp.sin(qn.theorems.notation.D))


def test_rounded_numbers_are_never_smaller():
    rng = random.Random(0)
    for value in (10 ** rng.uniform(-9, 9) for _ in range(500)):
        assert value <= cells.up(value) <= value * (1 + 2e-5)
    assert cells.up([3, 0.0]) == [3, 0.0]


def logs(page, figure: str) -> dict[str, float]:
    """The decimal logarithms that an explorer shows; NaN where it shows none."""
    rows = page.locator(f"#{figure} tr[data-key]").all()
    return {row.get_attribute("data-key"): float(row.get_attribute("data-log10")) for row in rows}


def test_bounds_on_the_page_are_those_of_the_package(page, address):
    read(page, f"{address}explorers.html")
    network = page.locator(f"#{FIGURES[0]} select")
    network.select_option(label="ResNet-20 (digits)")
    shown = logs(page, FIGURES[0])
    profile = qn.stored_profile("resnet20", bits=8)
    for key, theorem in cells.THEOREMS.items():
        exact = theorem.evaluate(profile)
        assert exact - 1e-9 <= shown[key] <= exact + 0.01
    assert shown["found"] < shown["T2"]
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0


@pytest.fixture(scope="module")
def offline(browser):
    """The page from a file, on a phone, without a network."""
    context = browser.new_context(offline=True, viewport=SCREENS["phone"])
    page = context.new_page()
    page.goto((SITE / "explorers.html").as_uri())
    assert page.locator(".explorer").count() == len(FIGURES)
    yield page
    context.close()


#: Name, place, and all that is read there.
READ = """slider => [
  slider.labels[0].textContent, slider.ariaValueText, slider.closest("figure").textContent
]"""


def test_every_slider_moves_by_keyboard(offline):
    """Each has a name, says where it is, and changes what is read."""
    for slider in offline.locator(".explorer input[type=range]").all():
        name, place, seen = slider.evaluate(READ)
        slider.press("ArrowLeft" if name == "Bits" else "ArrowRight")
        same, moved, changed = slider.evaluate(READ)
        assert name == same and place != moved and seen != changed, name
    named = "[...document.querySelectorAll('.explorer :is(input, select)')]"
    assert offline.evaluate(f"{named}.every(element => element.labels.length == 1)")


def test_norms_of_the_presets_are_those_of_networks(offline):
    """T5 is never below the error; the plain mean is, and is marked, for the counterexample."""
    choose = offline.locator(f"#{FIGURES[1]} select").first
    broken = {}
    for title, preset in cells.PRESETS.items():
        choose.select_option(label=title)
        shown = logs(offline, FIGURES[1])
        assert min(shown["T5 product form"], shown["T5 mean form"]) >= shown["error"] - 1e-9
        broken[title] = shown["plain"] < shown["error"] - 1e-9
        marked = offline.locator(f"#{FIGURES[1]} tr.broken").count()
        assert marked == broken[title]
        if title in ("the counterexample", "one large norm"):
            assert shown == pytest.approx(cells.of_five(*preset), abs=1e-5)
    assert broken["the counterexample"] and not broken["equal fan-ins"]


def test_rescaling_moves_bounds_and_not_the_error(offline):
    before = logs(offline, FIGURES[2])
    offline.locator(f"#{FIGURES[2]} input").press("Home")
    after = logs(offline, FIGURES[2])
    moved = {key: abs(after[key] - before[key]) for key in before}
    assert moved["error"] < 1e-9 and moved["T2"] < 1e-4 and moved["P2"] > 0.1
    assert all(log >= after["error"] for log in after.values())


def test_on_paper_the_figures_stay(offline):
    offline.emulate_media(media="print")
    assert offline.locator(".explorer").first.is_hidden()
    assert all(offline.locator(f"#{figure} img").is_visible() for figure in FIGURES)
    offline.emulate_media(media="screen")
    assert not any(offline.locator(f"#{figure} img").is_visible() for figure in FIGURES)


def test_without_scripts_the_figures_stay(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((SITE / "explorers.html").as_uri())
    for figure in FIGURES:
        assert page.locator(f"#{figure} img").bounding_box()["height"] > 100
    assert page.locator(".explorer").count() == 0
    context.close()


def test_the_page_is_small():
    """The script is a few hundred lines, and the numbers of all networks a fraction of a figure."""
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) < 400
    html = (SITE / "explorers.html").read_text(encoding="utf-8")
    assert "http" not in json.dumps(html.partition("window.explorers")[2].partition("</script>")[0])
    assert len(html) < 300_000
