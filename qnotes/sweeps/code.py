"""Which code computed a row: a hash of all that it depends on, besides its cell."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

#: Sources that no row depends on. All others count, new ones too; a test watches this list.
ASIDE = ("plots", "commands", "studies", "pages.py", "__main__.py")

#: Packages that a number passes through.
LIBRARIES = ("torch", "torchvision", "numpy", "sympy", "scikit-learn")


def _hash() -> str:
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if name.parts[0] not in ASIDE:
            found.update(f"{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    for library in LIBRARIES:
        found.update(f"{library} {version(library)}\0".encode())
    return found.hexdigest()


#: Taken when the code is loaded: files that change later do not change the code that runs.
CODE = _hash()
