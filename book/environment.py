"""Compare the active environment with the pins: python book/environment.py requirements.txt

A missing package is an error; another version is only reported, since it is the user's choice.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def pins(path: str) -> dict[str, str]:
    """Package and version of every line ``package==version``."""
    lines = (line.split("#")[0].strip() for line in Path(path).read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def main(path: str) -> str | None:
    missing = []
    for package, pinned in pins(path).items():
        try:
            found = version(package).split("+")[0]  # 2.13.0+cpu is 2.13.0
        except PackageNotFoundError:
            missing.append(f"{package}=={pinned}")
            continue
        if found != pinned:
            print(f"note: {package} {found} is installed, the book was made with {pinned}")
    if missing:
        return (
            f"The active environment ({sys.executable}) lacks: {', '.join(missing)}.\n"
            "Install them there, or leave out ENV=active and let make create .venv."
        )
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
