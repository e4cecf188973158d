"""The command line: `python -m qnotes prove` and `python -m qnotes falsify`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from qnotes.errors import QnotesError
from qnotes.theory.report import proofs, select


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all is well, 1 if a proof failed or a bound was violated, 2 for a wrong call.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except QnotesError as error:
        print(f"qnotes: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qnotes", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_prove(commands)
    _add_falsify(commands)
    return parser


def _add_prove(commands) -> None:
    command = commands.add_parser(
        "prove", help="derive every step of every proof again", description=prove.__doc__
    )
    command.add_argument(
        "numbers", nargs="*", metavar="NUMBER", help="theorems, such as T4; default: all"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=prove)


def _add_falsify(commands) -> None:
    command = commands.add_parser(
        "falsify", help="search for networks that break a bound", description=falsify.__doc__
    )
    command.add_argument("--networks", type=_positive, default=100_000, metavar="N")
    command.add_argument("--seed", type=int, default=0, metavar="N")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")
    command.set_defaults(run=falsify)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or larger; got {text}")
    return value


def prove(options: argparse.Namespace) -> int:
    """Derive every step of the proofs again and print each with its time."""
    chosen = select(options.numbers)
    table = proofs(chosen)
    if options.json:
        print(json.dumps(table.to_dict("records"), indent=1, ensure_ascii=False))
    else:
        print(_as_text(table))
        _print_summary(table, [theorem.key for theorem in chosen if not theorem.proof])
    return 0 if table["ok"].all() else 1


def _print_summary(table: pd.DataFrame, stated: list[str]) -> None:
    print(
        f"\n{table['theorem'].nunique()} theorems, {len(table)} steps, "
        f"{table['seconds'].sum():.1f} s, {int((~table['ok']).sum())} failed"
    )
    if stated:
        print(f"stated, without a proof here: {', '.join(stated)}")
    for _, row in table[~table["ok"]].iterrows():
        print(f"{row['theorem']}, step {row['step']!r}: {row['remaining']}")


def falsify(options: argparse.Namespace) -> int:
    """Try random and optimized networks against every bound and print the largest ratios."""
    from qnotes.falsification import search  # needs torch, which `prove` does not

    table = search(options.networks, seed=options.seed, progress=True)
    print(_as_text(table.drop(columns="by_depth")))
    if options.json:
        options.json.write_text(table.to_json(orient="records", indent=1), encoding="utf-8")
    return 1 if table["violations"].any() else 0


def _as_text(table: pd.DataFrame) -> str:
    shown = table.drop(columns=[name for name in ("remaining",) if name in table])
    return shown.to_string(index=False, float_format=lambda value: f"{value:.6g}")


if __name__ == "__main__":
    sys.exit(main())
