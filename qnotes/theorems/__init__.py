"""The theorems, a file each: what it says, its statement, its proof, and what gives its value.

The package can be called: ``qnotes.theorems()`` is the tuple of all theorems, in which
``qnotes.theorems()["T5 mean form"]`` finds one; ``qnotes.theorems.T5_layerwise_with_biases`` is
the room where it lives. The other modules are what the theorems share.
"""

import sys
from types import ModuleType

from qnotes.errors import QnotesError
from qnotes.theorems import (
    P1_entrywise,
    P2_uniform_norm,
    P3_path_metric,
    T1_decomposition,
    T2_recursion,
    T3_product_form,
    T4_mean_form,
    T5_layerwise_with_biases,
    T6_convolution,
    T7_gain,
    T8_vector_form,
    T9_equalization,
    T10_intervals,
    T11_euclidean,
    T12_bits,
    T13_typical_error,
    T14_ellipsoids,
    T15_affine_forms,
    T16_tolerance,
    T17_slopes,
)
from qnotes.theorems.axioms import AXIOMS
from qnotes.theorems.inequality_of_means import MEANS
from qnotes.theorems.intervals_of_one_network import DIFFERENCE, ONE_NETWORK
from qnotes.theorems.mean_of_clipped_normal import CLIPPED
from qnotes.theorems.printing import to_latex
from qnotes.theorems.solved_recursion import SOLVED
from qnotes.theorems.T14_ellipsoids import SLOPES_BETWEEN
from qnotes.theorems.theorem import Hypothesis, ProofError, Recursion, Result, Theorem
from qnotes.theorems.through_relu import CHORD, RELU, RESCALED


class Registry(tuple):
    """All theorems, in the order of the book; a key such as ``T5 mean form`` finds one."""

    def __getitem__(self, key):
        """The theorem of a key, or of a number that only one has; otherwise as a tuple does.

        Raises:
            QnotesError: for a key that no theorem has, or a number that several have.
        """
        if not isinstance(key, str):
            return super().__getitem__(key)
        found = [theorem for theorem in self if key in (theorem.key, theorem.number)]
        if len(found) != 1:
            listed = ", ".join(repr(theorem.key) for theorem in found or self)
            raise QnotesError(f"{key!r} names {len(found)} theorems; choose one of {listed}")
        return found[0]


REGISTRY = Registry(
    (
        P1_entrywise.ENTRYWISE,
        P2_uniform_norm.UNIFORM_NORM,
        P3_path_metric.PATH_METRIC,
        T1_decomposition.DECOMPOSITION,
        T2_recursion.RECURSION,
        T3_product_form.PRODUCT_FORM,
        T4_mean_form.MEAN_FORM,
        T5_layerwise_with_biases.PRODUCT_FORM_WITH_BIASES,
        T5_layerwise_with_biases.MEAN_FORM_WITH_BIASES,
        T6_convolution.CONVOLUTION,
        T7_gain.GAIN,
        T8_vector_form.VECTOR_FORM,
        T9_equalization.EQUALIZATION,
        T10_intervals.INTERVALS,
        T11_euclidean.EUCLIDEAN,
        T12_bits.BITS,
        T13_typical_error.TYPICAL,
        T14_ellipsoids.ELLIPSOIDS,
        T15_affine_forms.AFFINE_FORMS,
        T16_tolerance.PROMISE,
        T17_slopes.SLOPES,
    )
)


#: What theorems rest on and the book does not count: proved like them.
LEMMAS = Registry(
    (
        *(SOLVED, MEANS, CLIPPED, ONE_NETWORK, DIFFERENCE),
        *(RELU, CHORD, SLOPES_BETWEEN, RESCALED),
    )
)


class _CallableModule(ModuleType):
    """A package and a function of one name: importing a package replaces a function."""

    def __call__(self) -> Registry:
        """The registry: every theorem; those with `computable` have a value for a profile."""
        return REGISTRY


sys.modules[__name__].__class__ = _CallableModule

__all__ = [
    "AXIOMS",
    "LEMMAS",
    "REGISTRY",
    "Hypothesis",
    "ProofError",
    "Recursion",
    "Result",
    "Theorem",
    "to_latex",
]
