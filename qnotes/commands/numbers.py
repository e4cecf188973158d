"""Numbers and lists of them as arguments."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number, 1 or larger."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or larger; got {text}")
    return value


def shape(text: str) -> tuple[int, ...]:
    """Sizes with commas between, batch dimension first."""
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) < 2 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"must be sizes with the batch dimension first, such as 1,3,224,224; got {text}"
        )
    return sizes
