"""The theorems as SymPy objects: stated once, printed on the page and evaluated from there."""

from qnotes.theory import earlier, layerwise
from qnotes.theory.theorem import Hypothesis, Recursion, Theorem, to_latex

_REGISTRY = (
    earlier.ENTRYWISE,
    earlier.UNIFORM_NORM,
    earlier.PATH_METRIC,
    layerwise.RECURSION,
    layerwise.PRODUCT_FORM,
    layerwise.MEAN_FORM,
    layerwise.PRODUCT_FORM_WITH_BIASES,
    layerwise.MEAN_FORM_WITH_BIASES,
    layerwise.CONVOLUTION,
    layerwise.GAIN,
)


def theorems() -> tuple[Theorem, ...]:
    """The registry: every theorem that qnotes can state, print and evaluate."""
    return _REGISTRY


__all__ = ["Hypothesis", "Recursion", "Theorem", "theorems", "to_latex"]
