"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files beside their places, then move them all: an interruption leaves the old ones."""
    temporaries: dict[str, str] = {}
    try:
        for file, content in contents.items():
            temporaries[file] = _temporary(folder, file, content)
        for file, temporary in temporaries.items():
            os.replace(temporary, folder / file)
    finally:
        for temporary in temporaries.values():
            Path(temporary).unlink(missing_ok=True)


def _temporary(folder: Path, file: str, content: bytes) -> str:
    handle, path = tempfile.mkstemp(dir=folder, prefix=f".{file}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(path, 0o644)  # mkstemp makes files that only their owner can read
    except BaseException:  # also KeyboardInterrupt: leave no half file behind
        Path(path).unlink()
        raise
    return path
