"""Run one chapter: python book/execute.py [--lines] SOURCE TARGET [PARAMETER_FILE ...]

papermill does the work; here is what it lacks: TARGET appears only when every cell has run, in a
kernel that knows nothing of the user's settings, and a failure is told by chapter and cell.
"""

import ast
import os
import re
import sys
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent


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
MAKER = re.compile(r"""(?:\bglue|\bpages\.figure)\(\s*["']([^"']+)["']""")


def finish_figures(notebook) -> None:
    """Under each figure a link to the cell that made it; what follows its caption is folded."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    makers = {name: cell.id for cell in code for name in MAKER.findall(cell.source)}
    cells = []
    for cell in notebook.cells:
        if cell.id in makers.values():
            cells.append(nbformat.v4.new_markdown_cell(f'<span id="code-{cell.id}"></span>'))
        if cell.cell_type == "markdown":
            cell.source = FIGURE.sub(lambda found: _finished(found, makers), cell.source)
        cells.append(cell)
    notebook.cells = cells


def _finished(figure: re.Match, makers: dict[str, str]) -> str:
    """The second paragraph under a figure says where its numbers come from."""
    link = f'<a class="code" href="#code-{makers[figure[2]]}">The code of this figure.</a>'
    head, caption, *sources = figure[0].rstrip().split("\n\n")
    parts = [head, f"{caption} {link}"]
    if sources:
        parts += ['<details class="source">\n<summary>Provenance</summary>', *sources, "</details>"]
    return "\n\n".join(parts) + "\n"


def failure(name: str, error, source) -> str:
    """The chapter, the cell as counted in its source, and the traceback."""
    sources = [cell.source for cell in source.cells]
    number = sources.index(error.source) + 1 if error.source in sources else error.cell_index + 1
    trace = re.sub("\x1b\\[.*?m", "", "\n".join(error.traceback))
    return f"\nChapter {name} failed in cell {number} (In [{error.exec_count}]):\n\n{trace}\n"


def run(source: Path, target: Path, files: list[str], lines: bool) -> int:
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from papermill.iorw import read_yaml_file

    name, start = source.stem, time.time()
    running, failed = (ROOT / "_build" / folder / source.name for folder in ("running", "failed"))
    for folder in (running.parent, failed.parent, target.parent):
        folder.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    declared = papermill.inspect_notebook(str(source))
    defaults = {key: ast.literal_eval(value["default"]) for key, value in declared.items()}
    given = {key: value for file in files for key, value in (read_yaml_file(file) or {}).items()}
    for key in sorted(given.keys() - defaults.keys()):
        print(f"{name} has no {key}: the value is not used", file=sys.stderr)
        del given[key]
    print(f"{name}: running", *(f"{key}={value}" for key, value in given.items()), flush=True)
    how = {"kernel_name": "python3", "cwd": source.parent, "progress_bar": progress(name, lines)}
    try:
        done = papermill.execute_notebook(source, running, given, **how)
    except PapermillExecutionError as error:
        running.replace(failed)
        print(failure(name, error, nbformat.read(source, as_version=4)), file=sys.stderr)
        print(f"The half-run notebook: {failed.relative_to(ROOT)}", file=sys.stderr)
        return 1
    except BaseException:
        running.unlink(missing_ok=True)
        raise
    finish(done, {**defaults, **given}, defaults)
    finish_figures(done)
    # Readers download this: no paths of ours.
    running.write_text(nbformat.writes(done).replace(f"{ROOT}/", ""), encoding="utf-8")
    # An edit made while the chapter ran must count as newer than the result.
    os.utime(running, (start, start))
    running.replace(target)
    print(f"{name}: done in {time.time() - start:.0f} s", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    source, target, *files = (a for a in arguments if a != "--lines")
    isolate()
    try:
        return run(Path(source).resolve(), Path(target).resolve(), files, "--lines" in arguments)
    except KeyboardInterrupt:
        print(f"\n{Path(source).stem}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
