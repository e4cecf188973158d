"""The command line: `python -m qnotes COMMAND`, or `qnotes COMMAND`."""

import sys


def run() -> int:
    """Run one command; importing what it needs takes a second, in which Ctrl-C may come, too."""
    try:
        from qnotes.cli import main

        return main()
    except KeyboardInterrupt:
        print("qnotes: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
