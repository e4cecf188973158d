"""The command line: bounds, profiles, searches and proofs from the shell, a module a command.

Only the module of the command that was asked for is imported: `prove` needs no torch.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from qnotes.errors import QnotesError

GOOD, VIOLATED, WRONG, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141

COMMANDS = {
    "bounds": "every bound on the error of a quantized network",
    "profile": "the numbers per layer that the bounds are made of, as JSON",
    "observe": "search for the input with the largest error",
    "sweep": "a grid of networks and bit-widths as one table",
    "prove": "derive every step of every proof again",
}
EXIT_CODES = """exit codes:
  0    all is well
  1    a bound was violated, a proof failed, or a cell of a sweep failed
  2    a wrong call, or input that cannot be used
  130  interrupted"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all is well, 1 if a proof failed, a bound was violated or a cell failed, 2 for a wrong
        call or input that cannot be used, 130 if interrupted, 141 if nobody reads the output any
        more, as after ``| head``.
    """
    chosen = _parser().parse_args(arguments)
    command = import_module(f"qnotes.commands.{chosen.command}")
    parser = argparse.ArgumentParser(
        prog=f"python -m qnotes {chosen.command}",
        description=command.__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_options(parser)
    try:
        result = command.run(parser.parse_args(chosen.arguments))
        sys.stdout.flush()
        return result
    except BrokenPipeError:
        # Python flushes once more at the end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except (QnotesError, OSError) as error:
        print(f"qnotes: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("qnotes: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m qnotes",
        usage="%(prog)s COMMAND ...",
        description=f"What quantization does to a network.\n\ncommands:\n{listed}",
        epilog=f"Each command explains itself: %(prog)s COMMAND --help\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
