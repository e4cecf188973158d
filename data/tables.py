"""Tables of results that take long: stored as they come, so that an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import ClassVar

import pandas as pd

from qnotes.files import write_whole


class Rows:
    """The stored rows, one a key; the file is written again whenever some are added.

    Rows that are computed again stand in a file beside the stored ones until all of them are there:
    whoever is interrupted has the old table, and goes on from there.

    Attributes:
        file: its name.
        row: the dataclass of a row, with a ``network``.
        csv: options of `pandas.DataFrame.to_csv`.
        kept: rows by their keys.
    """

    file: str
    row: type
    csv: ClassVar[dict] = {"lineterminator": "\n"}

    def __init__(self, folder: Path, *, again: bool = False) -> None:
        self.path = folder / (f".{self.file}" if again else self.file)
        self.again, self.kept = again, {}
        if self.path.is_file():
            if again:
                print(f"going on from {self.path}; remove it to begin anew")
            stored = pd.read_csv(self.path, dtype={"sha256": str}).to_dict("records")
            self._keep(self.row(**values) for values in stored)

    def key(self, row) -> tuple:
        """What no two rows have in common."""
        raise NotImplementedError

    def ordered(self) -> list:
        """The rows as they stand in the file."""
        return list(self.kept.values())

    def add(self, rows: Iterable) -> None:
        """Keep rows, in the place of those with their keys, and write the file."""
        self._keep(rows)
        columns = [field.name for field in fields(self.row)]
        table = pd.DataFrame([asdict(row) for row in self.ordered()], columns=columns)
        text = table.to_csv(index=False, **self.csv)
        write_whole(self.path.parent, {self.path.name: text.encode()})

    def finish(self, names: Iterable[str]) -> None:
        """Put what was computed again into its place; of these networks nothing else is kept."""
        if self.again:
            stored = type(self)(self.path.parent)
            rows = [row for row in stored.kept.values() if row.network not in names]
            stored.kept = {}
            stored._keep(rows)
            stored.add(self.kept.values())
            self.path.unlink()

    def _keep(self, rows: Iterable) -> None:
        self.kept.update((self.key(row), row) for row in rows)
