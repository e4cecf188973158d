"""What takes a chapter long, computed once and kept with the book in ``data/kept``.

A chapter marks a function with `kept`: its results are read where nothing has changed that they
depend on (its source, its arguments, the weights), and computed where something has. `CELLS` does
the same for the cells of a sweep. ``make kept`` computes all of them again.

The files have a JSON object a line, so that a changed result is a changed line.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import symtable
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType

from qnotes.errors import QnotesError
from qnotes.files import data_folder, write_whole

FOLDER, SWEEPS = "kept", "sweeps"
#: A folder. A run then keeps what it computes there, and reads nothing else: so does ``make kept``.
KEEP = "QNOTES_KEEP"


# ---------------------------------------------------------------- functions of a chapter


def kept(chapter: str) -> Callable[[Callable], Callable]:
    """Look results of a function up in ``data/kept``; compute what is not there.

    The function must depend on its arguments alone, and they and its result must be plain: text,
    numbers, None, and lists and dictionaries of them. Functions and constants of the chapter that
    it uses count as part of its source. An argument ``network``, with ``weights`` and ``seed``
    where they are given, stands for the file of the weights, too.

    Args:
        chapter: whose file it is.

    Raises:
        QnotesError: where the function reads a global that is no constant, or arguments or result
            are not plain.
    """

    def mark(function: Callable) -> Callable:
        @functools.wraps(function)
        def found(*args, **options):
            given = inspect.signature(function).bind(*args, **options)
            given.apply_defaults()
            about = plain(dict(given.arguments), f"the arguments of {function.__name__}")
            try:
                code = fingerprint(function)
            except OSError:  # no source at hand, so nothing tells whether it has changed
                return function(*args, **options)
            key = {"function": function.__name__, "code": code, "about": about}
            key["weights"] = _weights(about)
            return _found(chapter, key, lambda: function(*args, **options))

        return found

    return mark


def fingerprint(function: Callable) -> str:
    """Of the source of a function and of what it uses of its own module; spaces do not count.

    Raises:
        QnotesError: where it reads a global that is no constant, function, class or module.
        OSError: where a source is not at hand.
    """
    texts = sorted(_sources(function))
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:12]


def _sources(function: Callable) -> Iterator[str]:
    waiting, seen = [inspect.unwrap(function)], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        text = textwrap.dedent(inspect.getsource(current))
        yield "".join(text.split())
        space = current.__globals__
        for name in sorted(_global_names(text) & space.keys()):
            value = inspect.unwrap(space[name]) if callable(space[name]) else space[name]
            if isinstance(value, FunctionType) and value.__module__ == current.__module__:
                waiting.append(value)
            elif not (callable(value) or isinstance(value, ModuleType)):
                about = f"{name}, which {current.__name__} reads and does not take as an argument"
                yield f"{name}={json.dumps(plain(value, about), sort_keys=True)}"


def _global_names(text: str) -> set[str]:
    """The global names that a function reads; those local to it are left out."""
    tables, found = [symtable.symtable(text, "cell", "exec")], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if not top and s.is_global()}
    return found


def plain(value: object, about: str) -> object:
    """A value as JSON gives it back: tuples become lists, numbers of numpy those of Python.

    Raises:
        QnotesError: for what JSON has no form for.
    """
    try:
        return json.loads(json.dumps(value, default=_number))
    except (TypeError, ValueError) as error:
        raise QnotesError(
            f"{about}: {error}; expected text, numbers, None, and lists and dictionaries of them"
        ) from error


def _number(value: object) -> object:
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        return value.item()
    raise TypeError(f"got a {type(value).__name__}")


def _weights(about: dict) -> str | None:
    """What stands for the weights of the network that the arguments name."""
    if "network" not in about:
        return None
    from qnotes.networks import provenance  # torch, which whoever only reads tables need not load

    chosen = {"weights": about.get("weights", "digits"), "seed": about.get("seed", 0)}
    return _or_drawn(provenance(about["network"], **chosen).get("sha256"))


def _or_drawn(sha256: str | None) -> str:
    """The hash of a file of weights; where they are drawn, what draws them."""
    if sha256 is not None:
        return sha256
    import torch

    return f"torch {torch.__version__}"


# ---------------------------------------------------------------- cells of a sweep


class Cells:
    """Finished cells of sweeps, kept with the book: a memory for `qnotes.sweep`.

    Cells of own networks are not kept.
    """

    def recall(self, cell) -> list[dict] | None:
        """The rows of a cell; None where they are not kept."""
        found = _read(_path(SWEEPS)).get(_line_key(_about_cell(cell)))
        return None if found is None else _unpacked(found["result"])

    def remember(self, cell, rows: list[dict]) -> None:
        """Keep the rows of a cell, if this run is to keep anything."""
        if os.environ.get(KEEP) and cell.own is None:
            _write(SWEEPS, {**_about_cell(cell), "result": _packed(rows)})


#: ``qn.sweep(..., memory=CELLS)``.
CELLS = Cells()
#: What rows of one cell share.
SHARED = ("depth", "accuracy", "reference_accuracy")


def _about_cell(cell) -> dict:
    from qnotes.experiments import scheme_options

    defaults = scheme_options()
    chosen = {name: v for name, v in cell.options.items() if v != defaults[name]}
    left_out = ("scheme", "own", "sha256", "options")
    about = {name: v for name, v in vars(cell).items() if name not in left_out and v is not None}
    about = plain({**about, "options": chosen}, "a cell")
    return {"function": "sweep", "about": about, "weights": _or_drawn(cell.sha256)}


def _packed(rows: list[dict]) -> dict:
    values = [[row["theorem"], row["bound"], row["log10"], row["reason"]] for row in rows]
    return {name: rows[0][name] for name in SHARED} | {"rows": values}


def _unpacked(result: dict) -> list[dict]:
    shared = {name: result[name] for name in SHARED}
    columns = ("theorem", "bound", "log10", "reason")
    return [{**shared, **dict(zip(columns, row, strict=True))} for row in result["rows"]]


# ---------------------------------------------------------------- the files


def _found(chapter: str, key: dict, compute: Callable[[], object]) -> object:
    known = _read(_path(chapter)).get(_line_key(key))
    if known is not None:
        return known["result"]
    start = time.process_time()
    result = plain(compute(), f"the result of {key['function']}")
    if os.environ.get(KEEP):
        spent = round(time.process_time() - start, 1)
        _write(chapter, {**key, "seconds": spent, "result": result})
    return result


def _path(chapter: str) -> Path:
    return Path(os.environ.get(KEEP) or data_folder() / FOLDER) / f"{chapter}.jsonl"


def _line_key(line: dict) -> str:
    known = {name: v for name, v in line.items() if name not in ("seconds", "result")}
    return json.dumps(known, sort_keys=True)


def _read(path: Path) -> dict[str, dict]:
    """The lines of a file by their keys."""
    return _lines(path, path.stat().st_mtime_ns) if path.is_file() else {}


@functools.lru_cache(maxsize=4)
def _lines(path: Path, _changed: int) -> dict[str, dict]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {_line_key(line): line for line in lines}
    except (ValueError, AttributeError) as error:
        raise QnotesError(f"cannot read {path}: {error}; run `make kept`") from error


def _write(chapter: str, line: dict) -> None:
    """Add a line; those of the same function that its present source did not write go."""
    path = _path(chapter)
    others = [
        other
        for key, other in _read(path).items()
        if key != _line_key(line)
        and (other["function"] != line["function"] or other.get("code") == line.get("code"))
    ]
    ordered = sorted([*others, line], key=_line_key)
    short = [{**entry, "result": _rounded(entry["result"])} for entry in ordered]
    text = "".join(json.dumps(entry) + "\n" for entry in short)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path.parent, {path.name: text.encode()})


def _rounded(value: object) -> object:
    """Nine digits of each number that is not whole."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {name: _rounded(v) for name, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
