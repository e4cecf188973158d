"""The errors that qnotes raises: each says what came, what was expected, where, and what to do."""


class QnotesError(ValueError):
    """Something that was passed in cannot be used; the message says what and why."""


class UnsupportedOperation(QnotesError):
    """A network contains an operation that the theory does not cover."""


class WeightsUnavailable(QnotesError):
    """The weights of a named network are missing, damaged or cannot be downloaded."""


def check_whole(option: str, value: object, least: int) -> None:
    """Refuse all but whole numbers that are large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise QnotesError(f"{option} must be a whole number, {least} or larger; got {value!r}")


def check_choice(option: str, value: object, known: tuple) -> None:
    """Refuse a value that is none of the known ones."""
    # Identity for booleans: 1 == True, and an unhashable or array value must not pass or crash.
    if not any(value is choice or (type(value) is str and value == choice) for choice in known):
        raise QnotesError(f"{option} must be one of {', '.join(map(repr, known))}; got {value!r}")
