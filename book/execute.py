"""Run one chapter: python book/execute.py [--lines] SOURCE TARGET [PARAMETER_FILE ...]

Each parameter file is named after its variable and holds the value (``_build/parameters/BITS``
with ``4 8``); an empty one leaves the chapter's own default. TARGET appears only when every cell
has run.
"""

import ast
import os
import re
import sys
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
READ = {"weights": str, "bits": lambda text: sorted({int(b) for b in text.split()}), "seed": int}


def read_parameters(paths: list[str]) -> dict:
    """The values that were given, by the name that the chapters know."""
    given = {Path(path).name.lower(): Path(path).read_text().strip() for path in paths}
    return {name: READ[name](text) for name, text in given.items() if text}


def default_parameters(notebook) -> dict:
    """The assignments in the cell tagged ``parameters``."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            lines = [line for line in ast.parse(cell.source).body if isinstance(line, ast.Assign)]
            return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    return {}


def isolate() -> None:
    """Make the run depend on this environment and not on the user's settings."""
    profile = ROOT / "_build/state/ipython/profile_default"  # without start-up files
    profile.mkdir(parents=True, exist_ok=True)
    # The kernel would warn that it talks to us over a local port.
    (profile / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 50\n")
    os.environ.update(
        JUPYTER_PATH=f"{sys.prefix}/share/jupyter",  # first of all places to look for a kernel
        IPYTHONDIR=str(profile.parent),
        PYTHONPATH=str(ROOT),
        PYTHONHASHSEED="0",
        PYDEVD_DISABLE_FILE_VALIDATION="1",  # no warning about frozen modules
        PYTHONWARNINGS="ignore:IProgress not found",  # tqdm, about widgets that we do not use
    )
    os.environ.pop("MPLBACKEND", None)  # inline, which the kernel chooses


class Lines:
    """A stream for tqdm that ends each report with a newline, for logs and parallel runs."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(text.strip() + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress(name: str, lines: bool) -> dict:
    """How tqdm shows the cells of a chapter as they run."""
    if not lines and sys.stderr.isatty():
        return {"desc": name}
    shown = "{desc}: {n_fmt} of {total_fmt} cells after {elapsed}"
    rare = {"mininterval": 5, "delay": 5, "leave": False}
    return {"desc": name, "file": Lines(), "bar_format": shown, **rare}


def finish(notebook, used: dict, defaults: dict) -> None:
    """Record what was run; hide the cell that papermill injected, wholly if it says nothing new."""
    notebook.metadata["qnotes"] = {"parameters": used}
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-cell" if used == defaults else "hide-input")
            cell.source = cell.source.replace("# Parameters", "# Values of this build", 1)


FIGURE = re.compile(r"^(`{3,}){glue:figure} (\S+)\n.*?(?=^\1$)", re.MULTILINE | re.DOTALL)


def link_figures(notebook) -> None:
    """Under each figure a link to the cell that made it."""
    cells, makers = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            made = re.findall(r"""(?:glue|figure)\(\s*["']([^"']+)["']""", cell.source)
            makers |= dict.fromkeys(made, cell.id)
    for cell in notebook.cells:
        if cell.id in makers.values():
            anchor = nbformat.v4.new_markdown_cell(f'<span id="code-{cell.id}"></span>')
            cells.append(anchor)
        if cell.cell_type == "markdown":
            cell.source = FIGURE.sub(lambda found: _linked(found, makers), cell.source)
        cells.append(cell)
    notebook.cells = cells


def _linked(figure: re.Match, makers: dict[str, str]) -> str:
    link = f'<a class="code" href="#code-{makers[figure[2]]}">The code of this figure.</a>'
    return f"{figure[0].rstrip()} {link}\n"


def failure(name: str, error, source) -> str:
    """The chapter, the cell as counted in its source, and the traceback."""
    sources = [cell.source for cell in source.cells]
    number = sources.index(error.source) + 1 if error.source in sources else error.cell_index + 1
    trace = re.sub("\x1b\\[.*?m", "", "\n".join(error.traceback))
    return f"\nChapter {name} failed in cell {number} (In [{error.exec_count}]):\n\n{trace}\n"


def run(source: Path, target: Path, given: dict, lines: bool) -> int:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    name, start = source.stem, time.time()
    running, failed = (ROOT / "_build" / folder / source.name for folder in ("running", "failed"))
    for folder in (running.parent, failed.parent, target.parent):
        folder.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    notebook = nbformat.read(source, as_version=4)
    defaults = default_parameters(notebook)
    print(f"{name}: running", *(f"{key}={value}" for key, value in given.items()), flush=True)
    try:
        done = papermill.execute_notebook(
            str(source),
            str(running),
            given,
            kernel_name="python3",
            cwd=str(source.parent),
            progress_bar=progress(name, lines),
        )
    except PapermillExecutionError as error:
        running.replace(failed)
        print(failure(name, error, notebook), file=sys.stderr)
        print(f"The half-run notebook: {failed.relative_to(ROOT)}", file=sys.stderr)
        return 1
    except BaseException:
        running.unlink(missing_ok=True)
        raise
    finish(done, {**defaults, **given}, defaults)
    link_figures(done)
    # Readers download this: no paths of ours.
    running.write_text(nbformat.writes(done).replace(f"{ROOT}/", ""), encoding="utf-8")
    # An edit made while the chapter ran must count as newer than the result.
    os.utime(running, (start, start))
    running.replace(target)
    print(f"{name}: done in {time.time() - start:.0f} s", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    lines = "--lines" in arguments
    source, target, *files = (a for a in arguments if a != "--lines")
    isolate()
    try:
        return run(Path(source).resolve(), Path(target).resolve(), read_parameters(files), lines)
    except KeyboardInterrupt:
        print(f"\n{Path(source).stem}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
