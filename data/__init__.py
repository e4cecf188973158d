"""What makes the files of this folder again: a script is run as `python -m data.NAME`."""

import sys


def _end(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Ctrl-C, also while a script is being imported, ends in a line and not in a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted: what was finished is stored", file=sys.stderr)
        sys.exit(130)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end
