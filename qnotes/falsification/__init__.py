"""Falsification: an honest attempt to break every bound, on many small networks."""

from qnotes.falsification.mutation import kills
from qnotes.falsification.search import search

__all__ = ["kills", "search"]
