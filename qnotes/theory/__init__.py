"""The theorems as SymPy objects: stated once, printed on the page and evaluated from there."""

from qnotes.theory import bits, decomposition, earlier, equalization, gain, layerwise, stated
from qnotes.theory.proof import ProofError
from qnotes.theory.theorem import Hypothesis, Recursion, Result, Theorem, to_latex

_REGISTRY = (
    earlier.ENTRYWISE,
    earlier.UNIFORM_NORM,
    earlier.PATH_METRIC,
    decomposition.DECOMPOSITION,
    layerwise.RECURSION,
    layerwise.PRODUCT_FORM,
    layerwise.MEAN_FORM,
    layerwise.PRODUCT_FORM_WITH_BIASES,
    layerwise.MEAN_FORM_WITH_BIASES,
    layerwise.CONVOLUTION,
    gain.GAIN,
    stated.VECTOR_FORM,
    equalization.EQUALIZATION,
    stated.INTERVALS,
    stated.EUCLIDEAN,
    bits.BITS,
    stated.TYPICAL,
)


def theorems() -> tuple[Result, ...]:
    """The registry: every theorem; those with `computable` have a value for a profile."""
    return _REGISTRY


__all__ = ["Hypothesis", "ProofError", "Recursion", "Result", "Theorem", "theorems", "to_latex"]
