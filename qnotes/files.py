"""The folder of stored data, and files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from qnotes.errors import QnotesError


def data_folder() -> Path:
    """The folder of checkpoints and profiles.

    What ``QNOTES_DATA`` names; else ``data`` inside an installed package, or beside the package in
    its repository.
    """
    given = os.environ.get("QNOTES_DATA")
    if given:
        return Path(given)
    installed = Path(__file__).parent / "data"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "data"


def write_whole(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files beside their places, then move them all: an interruption leaves the old ones."""
    if not folder.is_dir():
        raise QnotesError(f"there is no folder {folder}; make it first")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as beside:
        for file, content in contents.items():
            (Path(beside) / file).write_bytes(content)
        for file in contents:
            os.replace(Path(beside) / file, folder / file)
