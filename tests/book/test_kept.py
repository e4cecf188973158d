"""What chapters read from `data/kept` is what their functions, as they stand there, compute."""

import importlib.util
import json
import math
from collections import defaultdict

import pytest

from qnotes import experiments, kept
from qnotes.experiments import Cell
from qnotes.files import data_folder
from tests.book.cells import BOOK, written

FOLDER = data_folder() / kept.FOLDER
QUICK = 3.0  # seconds of processor time; what took longer is not computed again here


def lines(chapter: str) -> list[dict]:
    text = (FOLDER / f"{chapter}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


CHAPTERS = sorted(path.stem for path in FOLDER.glob("*.jsonl") if path.stem != kept.SWEEPS)
FUNCTIONS = sorted({(name, line["function"]) for name in CHAPTERS for line in lines(name)})


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("cells"), {}
    for chapter in CHAPTERS:
        names = [function for name, function in FUNCTIONS if name == chapter]
        path = written(chapter, names, folder)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        found[chapter] = importlib.util.module_from_spec(spec)
        # Constants that a chapter computes from its parameters: as it is run for the book.
        vars(found[chapter]).update(weights="digits", seed=0)
        spec.loader.exec_module(found[chapter])
    return found


def test_every_kept_function_of_a_chapter_has_results():
    for path in BOOK.glob("*.ipynb"):
        marked = path.read_text(encoding="utf-8").count(f'@pages.kept(\\"{path.stem}\\")')
        assert marked == sum(name == path.stem for name, _ in FUNCTIONS), path.stem


@pytest.mark.parametrize(("chapter", "function"), FUNCTIONS)
def test_results_are_those_of_the_present_source(chapter, function, modules):
    """Otherwise each run of the chapter computes for minutes: run `make kept`."""
    code = kept.fingerprint(getattr(modules[chapter], function))
    assert {x["code"] for x in lines(chapter) if x["function"] == function} == {code}


def cheapest(chapter: str, function: str) -> dict:
    return min((x for x in lines(chapter) if x["function"] == function), key=lambda x: x["seconds"])


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "function"), FUNCTIONS)
def test_a_result_can_be_computed_again(chapter, function, modules):
    line = cheapest(chapter, function)
    if line["seconds"] > QUICK:
        pytest.skip(f"takes {line['seconds']:.0f} seconds")
    again = getattr(modules[chapter], function).__wrapped__(**line["about"])
    same(kept.plain(again, function), line["result"], function)


def same(ours, theirs, where: str) -> None:
    """Equal up to what sums of float32 do on another processor, and seconds."""
    assert type(ours) is type(theirs) or isinstance(ours, int | float), where
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for name in ours:
            if name not in TIMES:
                same(ours[name], theirs[name], f"{where}, {name}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for place, pair in enumerate(zip(ours, theirs, strict=True)):
            same(*pair, f"{where}, {place}")
    elif isinstance(ours, float):
        assert math.isclose(ours, theirs, rel_tol=1e-3, abs_tol=1e-4) or ours != ours, where
    else:
        assert ours == theirs, where


TIMES = {"fold", "load", "quantize", "profile", "bounds", "one pass"}


def cells() -> dict[str, dict]:
    """For each network with quick ones, a cell."""
    found = defaultdict(list)
    for line in lines(kept.SWEEPS):
        found[line["about"]["network"]].append(line)
    quick = ("resnet20", "mobilenet_v2_x0_25")
    return {name: found[name][0] for name in quick if found[name]}


@pytest.mark.slow
@pytest.mark.parametrize("name", cells())
def test_a_cell_of_a_sweep_can_be_computed_again(name):
    line = cells()[name]
    empty = dict.fromkeys(("equalization", "relu6", "input_shape"))
    cell = Cell(**{**empty, **line["about"]}, sha256=line["weights"], scheme="")
    rows = experiments.rows(cell)
    for ours, theirs in zip(rows, kept.CELLS.recall(cell), strict=True):
        assert (ours["theorem"], ours["bound"]) == (theirs["theorem"], theirs["bound"])
        same(ours["log10"], theirs["log10"], ours["theorem"])
