"""The errors that qnotes raises: each says what came, what was expected, where, and what to do."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real


class QnotesError(ValueError):
    """Something that was passed in cannot be used; the message says what and why."""


class UnsupportedOperation(QnotesError):
    """A network contains an operation that the theory does not cover."""


class NotVerified(QnotesError):
    """A bound has a rule for a network, but float64 has no number that could be verified."""


class WeightsUnavailable(QnotesError):
    """The weights of a named network are missing, damaged or cannot be downloaded."""


@contextmanager
def foreign(
    message: str | Callable[[Exception], str], kind: type[QnotesError] = QnotesError
) -> Iterator[None]:
    """Turn what code of others raises into an error of ours, with theirs as its cause.

    Args:
        message: what could not be done, to which the error is added; or a function of the error
            that says it all.
        kind: of the error.
    """
    try:
        yield
    except QnotesError:
        raise
    except Exception as error:  # of any kind: it is not our code that runs here
        said = message(error) if callable(message) else f"{message}: {_said(error)}"
        raise kind(said) from error


@contextmanager
def prefixed(what: str) -> Iterator[None]:
    """Say of what an error of ours is."""
    try:
        yield
    except QnotesError as error:
        raise type(error)(f"{what}: {error}") from error


def _said(error: Exception) -> str:
    text = str(error).strip()
    return text if isinstance(error, RuntimeError) and text else f"{type(error).__name__}: {text}"


def whole(value: object) -> int | None:
    """A whole number, numpy's and torch's too, as an int; None for all else."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # an array, a tensor of many numbers
        return None


def real(value: object) -> float | None:
    """A real number, numpy's too, as a float, NaN included; None for all else and beyond floats."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def check_whole(option: str, value: object, least: int) -> int:
    """The whole number that a value is; refuses all else, and what is too small."""
    number = whole(value)
    if number is None or number < least:
        raise QnotesError(f"{option} must be a whole number, {least} or larger; got {value!r}")
    return number


def check_choice(option: str, value: object, known: tuple) -> None:
    """Refuse a value that is none of the known ones."""
    # Identity for booleans: 1 == True, and an unhashable or array value must not pass or crash.
    if not any(value is choice or (type(value) is str and value == choice) for choice in known):
        raise QnotesError(f"{option} must be one of {', '.join(map(repr, known))}; got {value!r}")
