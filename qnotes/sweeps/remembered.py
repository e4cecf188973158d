"""Finished cells on disk, a file each, so that an interrupted sweep goes on where it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from qnotes.errors import QnotesError
from qnotes.files import write_whole
from qnotes.sweeps.code import CODE
from qnotes.sweeps.grid import Cell


class Memory:
    """A folder of finished cells, by the hash of the cell and of the code.

    Only the process that asked for the sweep writes: workers may be on machines that do not see
    the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise QnotesError(f"memory must be a folder that can be written: {error}") from error

    def recall(self, cell: Cell) -> list[dict] | None:
        """The rows of a cell; None where they are missing or cannot be read."""
        try:
            return json.loads(self._path(cell).read_text(encoding="utf-8"))["rows"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, cell: Cell, rows: list[dict]) -> None:
        """Write the rows of a cell, whole or not at all."""
        text = json.dumps({**_contents(cell), "rows": rows})
        write_whole(self.folder, {self._path(cell).name: text.encode()})

    def _path(self, cell: Cell) -> Path:
        text = json.dumps(_contents(cell), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def _contents(cell: Cell) -> dict[str, object]:
    """What decides the rows: the code and the cell, whatever its scheme is called."""
    own = {name: value for name, value in asdict(cell).items() if name != "scheme"}
    return {"code": CODE, "cell": own}
