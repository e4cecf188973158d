"""Make as the engine, on a copy of the project with two tiny chapters and no torch.

`alpha` declares BITS, `beta` declares SEED. The environment of the tests is used as it is.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
COPIED = [
    "Makefile",
    "requirements.txt",
    "pyproject.toml",
    "_config.yml",
    "book/execute.py",
    "book/environment.py",
    "book/student.py",
    "book/references.bib",
    "book/_static",
]
CHAPTERS = {"alpha": "bits = [8]", "beta": "seed = 0"}
EXECUTED = [f"_build/executed/{name}.ipynb" for name in CHAPTERS]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("make"),  # the small project is built once
    pytest.mark.skipif(shutil.which("make") is None, reason="there is no make"),
]


# -- a small project -------------------------------------------------------------------------------


def write_chapter(project: Path, name: str, code: str = "import qnotes", text: str = "") -> None:
    cells = [
        new_markdown_cell(f"# {name}\n\n{text}", id="title"),
        new_code_cell(CHAPTERS[name], id="parameters", metadata={"tags": ["parameters"]}),
        new_code_cell(code, id="code"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(content, project / "book" / f"{name}.ipynb")


def write(project: Path, name: str, content: str) -> None:
    path = project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def command(*arguments: str) -> list[str]:
    return ["make", "ENV=active", f"PYTHON={sys.executable}", *arguments]


def environment(**extra: str) -> dict[str, str]:
    """Without what the make that runs these tests handed down."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))} | extra


def make(project: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments),
        cwd=project,
        env=environment(**extra),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def times(project: Path, *names: str) -> dict[str, int]:
    return {name: (project / name).stat().st_mtime_ns for name in names}


def rerun(project: Path, before: dict[str, int]) -> set[str]:
    """The chapters that ran since ``before``."""
    return {Path(name).stem for name, t in times(project, *before).items() if t != before[name]}


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The small project, built once; tests work on copies."""
    project = tmp_path_factory.mktemp("built") / "project"
    for name in COPIED:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    write(project, "book/_toc.yml", "format: jb-book\nroot: alpha\nchapters:\n  - file: beta\n")
    write(project, "qnotes/__init__.py", "")
    write(project, "qnotes/inner/module.py", "")
    write(project, "data/manifest.json", "{}")
    for name in CHAPTERS:
        write_chapter(project, name)
    result = make(project, "book")
    assert result.returncode == 0, result.stdout + result.stderr
    return project


@pytest.fixture
def project(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "project", symlinks=True))


# -- what runs again, and what does not ------------------------------------------------------------


def test_book_is_built_and_named(built):
    assert "alpha" in (built / "_build/html/alpha.html").read_text()
    assert f"{built}/_build/html/index.html" in make(built, "book").stdout


def test_nothing_changed_nothing_runs(project):
    before = times(project, *EXECUTED, "_build/html/index.html")
    result = make(project, "book")
    assert result.returncode == 0
    assert rerun(project, before) == set()
    assert result.stdout.count("\n") == 1  # only where the book is


def test_changed_chapter_runs_alone(project):
    before = times(project, *EXECUTED)
    write_chapter(project, "beta", "1 + 1")
    assert make(project, *EXECUTED).returncode == 0
    assert rerun(project, before) == {"beta"}


@pytest.mark.parametrize(
    "change",
    [
        lambda project: write(project, "qnotes/inner/module.py", "x = 1"),
        lambda project: write(project, "qnotes/another.py", ""),
        lambda project: (project / "qnotes/inner/module.py").unlink(),
        lambda project: write(project, "data/manifest.json", "{ }"),
    ],
    ids=["module changed", "module added", "module removed", "data changed"],
)
def test_package_and_data_concern_every_chapter(project, change):
    before = times(project, *EXECUTED)
    change(project)
    assert make(project, "-j2", *EXECUTED).returncode == 0
    assert rerun(project, before) == set(CHAPTERS)


@pytest.mark.parametrize("name", ["qnotes/in ner/module.py", "data/it's $HOME (1).json"])
def test_names_that_make_would_take_apart(project, name):
    for content in ("x = 1", "x = 2"):
        before = times(project, *EXECUTED)
        write(project, name, content)
        result = make(project, *EXECUTED)
        assert result.returncode == 0, result.stderr
        assert rerun(project, before) == set(CHAPTERS)
        before = times(project, *EXECUTED)
        assert make(project, *EXECUTED).returncode == 0
        assert rerun(project, before) == set()
    (project / name).unlink()
    assert make(project, *EXECUTED).returncode == 0
    assert rerun(project, before) == set(CHAPTERS)


def test_an_environment_at_a_path_with_spaces_and_quotes(project, tmp_path):
    place = tmp_path / "it's \"mine\" here"
    place.mkdir()
    (place / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (place / "python").chmod(0o755)
    there = Path(shutil.move(project, place / "the project"))
    result = make(there, *EXECUTED, f"PYTHON={place}/python")
    assert result.returncode == 0, result.stderr
    before = times(there, *EXECUTED)
    assert make(there, *EXECUTED, f"PYTHON={place}/python").returncode == 0
    assert rerun(there, before) == set()


def test_parameter_runs_who_declares_it(project):
    before = times(project, *EXECUTED)
    assert make(project, *EXECUTED, "BITS=8 4").returncode == 0
    assert rerun(project, before) == {"alpha"}
    alpha = nbformat.read(project / EXECUTED[0], as_version=4)
    assert alpha.metadata.qnotes.parameters == {"bits": [4, 8]}
    assert "bits = [4, 8]" in alpha.cells[2].source
    assert "hide-input" in alpha.cells[2].metadata.tags
    before = times(project, *EXECUTED)
    make(project, *EXECUTED, "BITS=8 4")
    assert rerun(project, before) == set()


@pytest.mark.parametrize(("given", "value"), [("SEED=7", 7), ("SEED=010", 10), ("BITS=8", None)])
def test_values_arrive_as_numbers(project, given, value):
    before = times(project, *EXECUTED)
    assert make(project, *EXECUTED, given).returncode == 0
    beta = nbformat.read(project / EXECUTED[1], as_version=4)
    assert ("beta" in rerun(project, before)) == (value is not None)
    assert beta.metadata.qnotes.parameters == {"seed": value or 0}


def test_another_script_in_data_concerns_no_chapter(project):
    before = times(project, *EXECUTED)
    write(project, "data/train.py", "x = 1")
    write(project, "data/__pycache__/train.cpython-311.pyc", "")
    make(project, *EXECUTED)
    assert rerun(project, before) == set()


def test_edit_during_the_run_is_not_lost(project):
    write_chapter(project, "alpha", "import os, time; time.sleep(0.1); os.utime('alpha.ipynb')")
    make(project, EXECUTED[0])
    before = times(project, EXECUTED[0])
    make(project, EXECUTED[0])
    assert rerun(project, before) == {"alpha"}


def test_two_at_once(project):
    for name in CHAPTERS:
        write_chapter(project, name, "import time; time.sleep(2)")
    assert make(project, "-j2", *EXECUTED).returncode == 0
    runs = [nbformat.read(project / e, as_version=4).metadata.papermill for e in EXECUTED]
    assert max(run.start_time for run in runs) < min(run.end_time for run in runs)


# -- one chapter, and the notebooks for students ---------------------------------------------------


def test_one_chapter_leaves_the_book_alone(project):
    before = times(project, *EXECUTED, "_build/html/index.html")
    result = make(project, "chapter", "NAME=alpha", "BITS=4 8", "SEED=7")
    assert result.returncode == 0, result.stderr
    assert "alpha has no seed" in result.stderr
    page = project / "_build/chapter/_build/html/alpha.html"
    assert str(page) in result.stdout and page.exists()
    alone = nbformat.read(project / "_build/chapter/alpha.ipynb", as_version=4)
    assert alone.metadata.qnotes.parameters == {"bits": [4, 8]}
    assert make(project, "book").returncode == 0
    assert rerun(project, before) == set()


EXERCISE = """\
````{exercise} Half
:label: ex-half

Why?
````

````{solution} ex-half
:class: dropdown

Because.
````
"""


def test_notebooks_for_students_and_for_teachers(project):
    write_chapter(project, "alpha", text=EXERCISE)
    for arguments, folder in ((("student",), "student"), (("student", "SOLUTIONS=yes"), "teacher")):
        result = make(project, *arguments)
        assert result.returncode == 0, result.stderr
        assert f"{project}/_build/{folder}" in result.stdout
        text = (project / f"_build/{folder}/alpha.ipynb").read_text()
        assert "**Exercise 1 (Half).** Why?" in text
        assert ("Because." in text) == (folder == "teacher")
    offered = (project / "_build/html/_sources/alpha.ipynb").read_text()
    assert offered == (project / "_build/student/alpha.ipynb").read_text()
    assert "Because." in (project / "_build/html/alpha.html").read_text()


# -- what goes wrong -------------------------------------------------------------------------------


def test_failing_chapter(project):
    before = times(project, *EXECUTED, "_build/html/index.html")
    write_chapter(project, "beta", "print('so far')\n1 / 0")
    result = make(project, "book")
    assert result.returncode != 0
    assert "Chapter beta failed in cell 3" in result.stderr
    assert "1 / 0" in result.stderr and "ZeroDivisionError" in result.stderr  # the traceback
    assert "_build/failed/beta.ipynb" in result.stderr
    half_run = (project / "_build/failed/beta.ipynb").read_text()
    assert "so far" in half_run
    assert rerun(project, before) == set()  # neither the chapter nor the site
    write_chapter(project, "beta")
    assert make(project, EXECUTED[1]).returncode == 0
    assert not (project / "_build/failed/beta.ipynb").exists()


def test_failing_site(project):
    before = times(project, "_build/html/index.html")
    write_chapter(project, "beta", text="See {ref}`nowhere`.")
    result = make(project, "book")
    assert result.returncode != 0
    assert "nowhere" in result.stderr
    assert "untouched" in result.stderr
    assert times(project, "_build/html/index.html") == before
    assert "nowhere" not in (project / "_build/html/beta.html").read_text()
    assert make(project, "book").returncode != 0  # and not only the first time


def test_interrupt_leaves_nothing_that_looks_finished(project):
    (project / EXECUTED[0]).unlink()
    write_chapter(project, "alpha", "open('started', 'w').close()\nimport time; time.sleep(60)")
    running = subprocess.Popen(
        command(EXECUTED[0]),
        cwd=project,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background may have Ctrl-C ignored, here too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.time() + 60
    while not (project / "book/started").exists() and time.time() < deadline:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode != 0
    assert "alpha: interrupted" in errors
    assert not (project / EXECUTED[0]).exists()
    assert not (project / "_build/running/alpha.ipynb").exists()


def test_kept_results_are_replaced_when_all_are_there(project):
    """A run that ends early leaves the old ones; the next goes on, unless the package changed."""
    count = "import os\nfrom pathlib import Path\npath = Path(os.environ['QNOTES_KEEP'], 'runs')"
    count += "  # pages.kept\nrun = int(path.read_text()) + 1 if path.is_file() else 1\n"
    write_chapter(project, "alpha", count + "path.write_text(str(run))")
    write_chapter(project, "beta", "1 / 0  # pages.kept")
    write(project, "data/kept/old", "")

    def kept():
        return {path.name: path.read_text() for path in (project / "data/kept").iterdir()}

    assert make(project, "kept").returncode != 0
    assert kept() == {"old": ""}
    write_chapter(project, "beta", "1 / 1  # pages.kept")
    assert make(project, "kept").returncode == 0
    assert kept() == {"runs": "2"}
    write_chapter(project, "beta", "1 / 0  # pages.kept")
    assert make(project, "kept").returncode != 0
    write_chapter(project, "beta", "1 / 1  # pages.kept")
    write(project, "qnotes/inner/module.py", "x = 1")
    assert make(project, "kept").returncode == 0
    assert kept() == {"runs": "1"}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("WEIGHTS=foo", "digits, imagenet, random"),
        ("WEIGHTS=digits random", "digits, imagenet, random"),
        ("BITS=x", "from 2 to 16"),
        ("BITS=1", "from 2 to 16"),
        ("BITS=4 99", "from 2 to 16"),
        ("BITS=4,8", "from 2 to 16"),
        ("SEED=-1", "whole number"),
        ("SEED=1 2", "whole number"),
        ("ENV=conda", "ENV=active"),
        ("SLOW=yes", "FAST=1 and SLOW=1"),
        ("SOLUTIONS=no", "SOLUTIONS=yes"),
        ("BIT=4", "no variable BIT"),
    ],
)
def test_wrong_value_is_one_clear_line(built, argument, expected):
    result = make(built, "book", argument)
    assert result.returncode != 0
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["", "NAME=gamma", "NAME=alpha beta"])
def test_a_chapter_that_does_not_exist(built, name):
    result = make(built, "chapter", name) if name else make(built, "chapter")
    assert result.returncode != 0
    assert "is no chapter: give one of alpha beta" in result.stderr
    assert result.stderr.count("\n") == 1


def test_unwritable_build_folder(project):
    shutil.rmtree(project / "_build")
    write(project, "_build", "a file in the way")
    result = make(project, "book")
    assert result.returncode != 0
    assert "Cannot write to the folder _build" in result.stderr


def test_active_environment_without_the_packages(project, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    result = make(project, "book", f"PYTHON={tmp_path}/bare/bin/python")
    assert result.returncode != 0
    assert "lacks: torch==" in result.stderr
    assert not (project / ".venv").exists()


def test_no_suitable_python(project):
    result = make(project, "book", "ENV=", "PYTHON=false")
    assert result.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed, and false is none" in result.stderr


# -- the rest --------------------------------------------------------------------------------------


def test_kernel_of_the_user_is_not_used(project, tmp_path):
    """Someone's kernel named python3 must not run the chapters in another environment."""
    kernel = '{"argv": ["false"], "display_name": "theirs", "language": "python"}'
    for folder in (".local/share/jupyter", "Library/Jupyter"):  # on Linux, on macOS
        write(tmp_path, f"{folder}/kernels/python3/kernel.json", kernel)
    write_chapter(project, "alpha", "import sys; print(sys.executable)")
    result = make(project, EXECUTED[0], HOME=str(tmp_path), JUPYTER_PREFER_ENV_PATH="0")
    assert result.returncode == 0, result.stderr
    assert sys.executable in (project / EXECUTED[0]).read_text()


def test_readers_download_no_paths_of_ours(built):
    for name in CHAPTERS:
        assert str(built) not in (built / f"_build/html/_sources/{name}.ipynb").read_text()


def test_buttons_appear_with_the_address_of_a_repository(project):
    config = (project / "_config.yml").read_text()
    config = config.replace("#: ", "").replace("OWNER/NAME", "someone/something")
    write(project, "_config.yml", config)
    result = make(project, "book")
    assert result.returncode == 0, result.stderr
    page = (project / "_build/html/alpha.html").read_text()
    for host in ("github.com", "mybinder.org/v2/gh", "colab.research.google.com/github"):
        assert f"https://{host}/someone/something" in page
    # What they open is what the built site has at that place: the student edition.
    (colab,) = re.findall(r"someone/something/blob/gh-pages/([^\"]+)", page)
    offered = (project / "_build/html" / colab).read_text()
    assert 'pip install --quiet \\"git+https://github.com/someone/something' in offered


def test_no_button_leads_nowhere(built):
    page = (built / "_build/html/alpha.html").read_text()
    assert "mybinder" not in page and "colab.research" not in page


def test_help_explains_targets_and_variables(built):
    shown = make(built, "help").stdout
    targets = "book chapter student lab pdf test serve clean checkpoints profiles lint help"
    for word in targets.split():
        assert f"make {word} " in shown
    variables = "WEIGHTS BITS SEED NAME SOLUTIONS TESTS FAST SLOW PORT PYTHON ENV"
    for word in variables.split():
        assert f"  {word} " in shown


def test_clean_removes_what_was_built(project):
    assert make(project, "clean").returncode == 0
    assert not (project / "_build").exists()
    assert (project / "book/alpha.ipynb").exists()
