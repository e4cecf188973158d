"""The command line: `python -m qnotes COMMAND`."""

import sys

from qnotes.cli import main

if __name__ == "__main__":
    sys.exit(main())
