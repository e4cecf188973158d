"""The functions that a chapter defines in its cells, for tests of them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from symtable import symtable
from types import SimpleNamespace

import nbformat

BOOK = Path(__file__).parents[2] / "book"


def definitions(chapter: str, *names: str, setup: dict | None = None) -> SimpleNamespace:
    """What a chapter's cells define, without running the rest of the chapter.

    All imports of the chapter are executed, then the statements (functions, classes, assignments)
    that define the names, and before them those that define what they use, in the chapter's order.
    Where a name is defined twice, the first definition counts.

    Args:
        chapter: a notebook's name without suffix, such as ``layerwise``.
        names: functions, classes or constants of that notebook.
        setup: values of globals that are not to be taken from the chapter, by name, such as
            ``{"networks": ["resnet20"]}``.

    Raises:
        LookupError: for a name that no cell defines.
    """
    imports, needed = _needed(chapter, names, given=set(setup or {}))
    body = [statement for statement, _ in (*imports, *needed)]
    space = {"__name__": chapter, **(setup or {})}
    exec(compile(ast.Module(body, type_ignores=[]), f"{chapter}.ipynb", "exec"), space)
    return SimpleNamespace(**space)


def written(chapter: str, names: list[str], folder: Path) -> Path:
    """A module with functions of a chapter, what they use and all imports, as they are written.

    Where the source of a function matters: `definitions` makes functions without one.
    """
    imports, needed = _needed(chapter, names)
    texts = [_text(cell, statement) for statement, cell in (*imports, *needed)]
    path = folder / f"{chapter.replace('-', '_')}_cells.py"
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def _needed(chapter: str, names: Iterable[str], given: set[str] = frozenset()) -> tuple[list, list]:
    """Imports of a chapter, and the statements that define names and what they use but is given.

    Each with the cell that it stands in; in the chapter's order.
    """
    source = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    cells = [cell.source for cell in source.cells if cell.cell_type == "code"]
    found = [(statement, cell) for cell in cells for statement in ast.parse(cell).body]
    makers: dict[str, ast.stmt] = {}
    for statement, _ in found:
        for name in _defined(statement):
            makers.setdefault(name, statement)

    if missing := [name for name in names if name not in makers]:
        raise LookupError(f"no cell of {chapter} defines {', '.join(missing)}")
    needed, waiting = set(), list(names)
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is not None and maker not in needed:
            needed.add(maker)
            waiting += _used(maker) - given
    imports = [pair for pair in found if isinstance(pair[0], ast.Import | ast.ImportFrom)]
    return imports, [pair for pair in found if pair[0] in needed]


def _text(cell: str, statement: ast.stmt) -> str:
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(cell.splitlines()[first - 1 : statement.end_lineno])


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return []
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    nodes = [node for target in targets for node in ast.walk(target)]
    return [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def _used(statement: ast.stmt) -> set[str]:
    """The global names that a statement reads; those local to a function are left out."""
    tables, found = [symtable(ast.unparse(statement), "cell", "exec")], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        is_top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if is_top or s.is_global()}
    return found
