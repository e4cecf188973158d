"""The errors that qnotes raises: each says what came, what was expected, where, and what to do."""


class QnotesError(ValueError):
    """Something that was passed in cannot be used; the message says what and why."""


class UnsupportedOperation(QnotesError):
    """A network contains an operation that the theory does not cover."""


class WeightsUnavailable(QnotesError):
    """The weights of a named network are missing, damaged or cannot be downloaded."""
