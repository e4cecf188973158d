"""Try random and optimized networks against every bound and print the largest ratios.

    python -m tests.falsification --json data/falsification.json

The exit code is 0 if every bound holds, 1 if one is violated, 2 for a wrong call or a file that
cannot be written, 130 if interrupted; then nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.falsification.search import search

HOLDS, VIOLATED, WRONG, INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Search, print the table, and store it if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.falsification",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--networks", type=_positive, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")
    options = parser.parse_args(arguments)
    try:
        table = search(options.networks, seed=options.seed, progress=True)
    except KeyboardInterrupt:
        print("falsification: interrupted", file=sys.stderr)
        return INTERRUPTED
    shown = table.drop(columns="by_depth")
    print(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.6g}"))
    try:
        if options.json:
            options.json.write_text(table.to_json(orient="records", indent=1), encoding="utf-8")
    except OSError as error:
        print(f"falsification: {error}", file=sys.stderr)
        return WRONG
    return VIOLATED if table["violations"].any() else HOLDS


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or larger; got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
