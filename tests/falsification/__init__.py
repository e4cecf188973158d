"""Falsification: an honest attempt to break every bound, on many small networks."""

from tests.falsification.mutation import kills
from tests.falsification.search import search

__all__ = ["kills", "search"]
