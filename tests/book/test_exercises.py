"""Exercises say what they ask for; stubs run as they stand, and checks tell right from wrong."""

import re

import pandas as pd
import pytest

from tests.book.cells import definitions
from tests.book.test_sources import CHAPTERS, notebook
from tests.book.test_student import student

#: What a stub takes from its chapter; and an answer that is wrong.
STUBS = {
    "ex-transposed": (["as_matrix"], "def fan_in(*_): return 1"),
    "ex-own-block": (["three_bounds", "A"], "def helping(_): return 2.0"),
    "ex-distillation": ([], "def distance(ours, originals): return (ours - originals).abs().sum()"),
    "ex-try-the-promise": ([], "def kept(errors, n=473): return 0.95"),
    "ex-per-tensor": ([], "def error_with(granularity): return 1.0"),
    "ex-ful-images": ([], "def ladder(side): return NOTHING"),
    "ex-trusting-bound": ([], "def only(folded, quant, layer): return quant.model"),
    "ex-draws": ([], "def draws(fraction, confidence): return 299"),
    "ex-largest-ball": (
        ["survives", "network", "rounded", "image"],
        "def largest_ball(network, rounded, image): return 1e-3",
    ),
}
NOTHING = pd.Series(0.0, [("P2", "one norm for all layers"), ("T5", "mean form")])


def directives(name: str, kind: str) -> list:
    cells = [cell.source for cell in notebook(name).cells if cell.cell_type == "markdown"]
    found = [part for cell in cells for part in student.parts(cell)]
    return [p for p in found if isinstance(p, student.Directive) and p.name == kind]


def python(text: str) -> str:
    found = student.STUB.search(text)
    return found[1] if found else ""


EXERCISES = [(name, each) for name in CHAPTERS for each in directives(name, "exercise")]
ANSWERS = {
    each.argument: python(each.body) for name in CHAPTERS for each in directives(name, "solution")
}
STUBBED = {each.options["label"]: (name, each) for name, each in EXERCISES if python(each.body)}


def test_every_exercise_says_what_it_asks_for():
    unmarked = [e.options["label"] for _, e in EXERCISES if not student.MARK.match(e.body)]
    assert unmarked == [] and len(EXERCISES) > 100


def test_every_kind_of_exercise_is_there():
    kinds = {student.MARK.match(each.body)[1] for _, each in EXERCISES}
    levels = {student.MARK.match(each.body)[2] for _, each in EXERCISES}
    assert kinds == {"By hand", "By machine", "Research"} and len(levels) == 3


def test_stubs_are_for_machines_and_known_here():
    assert set(STUBBED) == set(STUBS)
    assert all(student.by_machine(each) for _, each in STUBBED.values())


def run(label: str, *answers: str, capsys) -> str:
    """What a stub prints, with other functions in place of what it leaves open."""
    name, each = STUBBED[label]
    space = vars(definitions(name, *STUBS[label][0])) | {"NOTHING": NOTHING}
    opened, _, check = python(each.body).partition("# your code")
    for source in (f"{opened}# your code", *answers, re.sub(r"^[^\n]*\n", "", check)):
        exec(source, space)
    return capsys.readouterr().out


@pytest.mark.parametrize("label", STUBS)
def test_an_open_stub_says_nothing(label, capsys):
    assert run(label, capsys=capsys) == ""


@pytest.mark.parametrize("label", STUBS)
@pytest.mark.medium
def test_the_solution_is_right(label, capsys):
    assert "right" in run(label, ANSWERS[label], capsys=capsys)


@pytest.mark.parametrize("label", STUBS)
@pytest.mark.medium
def test_a_wrong_answer_is_found(label, capsys):
    with pytest.raises(AssertionError):
        run(label, STUBS[label][1], capsys=capsys)


def test_heads_say_what_a_chapter_needs_and_how_long_it_takes():
    """Minutes are those of a slow reader: 100 to 250 words a minute, and the code."""
    for name in CHAPTERS:
        first = notebook(name).cells[0].source
        if not (found := re.search(r"^```\{admonition\} About (\d+) minutes$", first, re.M)):
            assert name in ("intro", "notation", "paper", "reproducibility"), name
            continue
        assert "**Needs.** " in first and "**Afterwards you can** " in first
        assert words(name) / 250 - 5 < int(found[1]) < words(name) / 60 + 10, name


def words(name: str) -> int:
    cells = [cell.source for cell in notebook(name).cells if cell.cell_type == "markdown"]
    solved = re.compile(r"^(`{3,})\{(?:exercise|solution)\}.*?^\1$", re.M | re.S)
    return len(solved.sub("", "\n\n".join(cells)).split())


def test_chapters_end_with_a_road():
    with_heads = [n for n in CHAPTERS if "{admonition} About" in notebook(n).cells[0].source]
    ends = {name: notebook(name).cells[-1].source for name in with_heads}
    assert len(ends) > 20
    for name, text in ends.items():
        assert text.startswith("**Where to go from here.** ") and "{doc}`" in text, name
