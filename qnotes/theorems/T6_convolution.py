"""T6, convolutional networks: T5 with the weights of one filter for the fan-in and the norm.

A convolution is a matrix whose rows are pieces of filters. So its fan-in is the number of weights
of a filter, and its norm the largest absolute sum of a filter; the size of the image is in neither.
"""

import sympy as sp

from qnotes.theorems import notation as sy
from qnotes.theorems.axioms import Beside, Norm
from qnotes.theorems.facts import Fact, eq, ge, le
from qnotes.theorems.notation import LAYERS, at_zero, c, ell, eps_layer, i, kappa, n_joint, r_joint
from qnotes.theorems.rules import Algebra, Apply, Replace
from qnotes.theorems.T1_decomposition import W, W_q, b, b_q
from qnotes.theorems.T2_recursion import DOMAIN, OUR_PROOF
from qnotes.theorems.T4_mean_form import ONE_GAP, smallest_of
from qnotes.theorems.T5_layerwise_with_biases import (
    CHANGE,
    JOINT,
    MEAN_FORM_WITH_BIASES,
    ROW_OF_CHANGES,
)
from qnotes.theorems.T17_slopes import LIPSCHITZ
from qnotes.theorems.theorem import Hypothesis, Step, Theorem, proof_of

# One filter: its height, width and channels, by layer; taps (a, x, y), a channel, row and column.
_WHOLE = {"integer": True, "positive": True}
height, width, channels = (
    sy._family(name, latex, **_WHOLE)
    for name, latex in (("p_h", "p^h"), ("p_w", "p^w"), ("g", "c"))
)
a, x, y, x_other = (sp.Symbol(name, **_WHOLE) for name in ("a", "x", "y", "x'"))
inside = sy._family("inside", r"\chi", nonnegative=True)
filters, filters_q, changes = (
    sy._family(name, latex, nonnegative=True)
    for name, latex in (("f", "|w|"), ("f'", "|w'|"), ("df", "|w-w'|"))
)
bias, bias_q, bias_change = (
    sy._family(name, latex, nonnegative=True)
    for name, latex in (("fb", "|b|"), ("fb'", "|b'|"), ("dfb", "|b-b'|"))
)
quantized_biases = sy._family("m_b", "m", integer=True, nonnegative=True)
# A row of the output: where its taps lie, for any position, stride, dilation and padding.
at, stride, dilation, taps = (sp.Symbol(name, **_WHOLE) for name in ("o", "s", "d", "p"))
padding = sp.Symbol("P", integer=True, nonnegative=True)


def tap(place: sp.Expr) -> sp.Expr:
    """The input that a tap reads, along one axis."""
    return at * stride + place * dilation - padding


#: Two taps of a filter never read the same input: later ones lie further on.
APART = ge(tap(x_other) - tap(x), 1, (x, 1, taps), (x_other, x + 1, taps))


def over_filter(entry) -> sp.Expr:
    """A sum over the channels, rows and columns of the filter of layer ℓ."""
    inner = sp.Sum(entry, (y, 1, width[ell]))
    return sp.Sum(sp.Sum(inner, (x, 1, height[ell])), (a, 1, channels[ell]))


def _read(family) -> sp.Expr:
    return over_filter(inside[ell, x, y] * family[ell, a, x, y])


_BIASES = sp.Sum(bias_change[ell, i], (i, 1, quantized_biases[ell]))
_ROW, _ROW_Q = Norm(Beside(W[ell], b[ell])), Norm(Beside(W_q[ell], b_q[ell]))
_TAPS = ((x, 1, height[ell]), (y, 1, width[ell]))
FILTERS: dict[str, Fact] = {
    "row": le(_ROW, _read(filters) + bias[ell], LAYERS, given=(APART,)),
    "quantized row": le(_ROW_Q, _read(filters_q) + bias_q[ell], LAYERS, given=(APART,)),
    "row of changes": le(ROW_OF_CHANGES, _read(changes) + _BIASES, LAYERS, given=(APART,)),
    "inside or not": le(inside[ell, x, y], 1, LAYERS, *_TAPS),
    "filter": le(
        kappa[ell] * (over_filter(filters[ell, a, x, y]) + bias[ell]), r_joint[ell], LAYERS
    ),
    "quantized filter": le(
        kappa[ell] * (over_filter(filters_q[ell, a, x, y]) + bias_q[ell]) + Norm(at_zero[ell]),
        r_joint[ell],
        LAYERS,
    ),
    "at least one": ge(r_joint[ell], 1, LAYERS),
    "changes": le(
        kappa[ell] * changes[ell, a, x, y], eps_layer[ell], LAYERS, (a, 1, channels[ell]), *_TAPS
    ),
    "bias changes": le(
        kappa[ell] * bias_change[ell, i], eps_layer[ell], LAYERS, (i, 1, quantized_biases[ell])
    ),
    "fan-in": eq(
        n_joint[ell], channels[ell] * height[ell] * width[ell] + quantized_biases[ell], LAYERS
    ),
}


def _has_no_convolution(profile) -> str | None:
    if any(layer.kind == "convolution" for layer in profile.layers):
        return None
    return "needs a convolution; this network has none"


CONVOLUTION = Theorem(
    number="T6",
    form="mean form",
    name="convolutional networks",
    source=(
        "The paper has norms of convolutions, and counts the weights of a kernel over all "
        "channels. Here a convolution is a dense layer that reads the weights of one filter, and "
        "T5 does the rest. " + OUR_PROOF
    ),
    whose="the paper's, in our form",
    statement=MEAN_FORM_WITH_BIASES.statement,
    definitions=MEAN_FORM_WITH_BIASES.definitions,
    hypotheses=(
        LIPSCHITZ,
        DOMAIN,
        Hypothesis(
            "at least one layer is a convolution; its outputs read the inputs under the taps of a "
            "filter that lie inside the image, r̃ is at least κ times the absolute sum of each "
            "filter with its bias, and with σ(0), ñ counts the weights of a filter, and the bias "
            "where it is quantized",
            _has_no_convolution,
            facts=FILTERS,
        ),
        ONE_GAP,
        smallest_of(r_joint, sy.r_joint_min),
    ),
    tight=True,
    premises=(MEAN_FORM_WITH_BIASES,),
)


@proof_of(CONVOLUTION)
def prove(theorem: Theorem) -> tuple[Step, ...]:
    """A convolution is a matrix whose rows are pieces of filters; then T5."""
    (dense,) = theorem.premises
    (goal,) = theorem.goals()
    slope = kappa[ell]
    one_gap = {c: lambda layer, entry: eps_layer[layer]}
    count = sp.Sum(eps_layer[ell], (i, 1, n_joint[ell]))
    return (
        Step(
            "taps apart",
            APART,
            Algebra(gives_away=True),
            reason="So a row reads each input at most once, and with one weight of its filter: for "
            "every kernel, stride, dilation and padding; along both axes alike.",
        ),
        *_whole_filter("row", filters, "filter", JOINT.facts["norm"]),
        *_whole_filter(
            "quantized row", filters_q, "quantized filter", JOINT.facts["quantized norm"]
        ),
        Step(
            "changes inside",
            le(slope * _read(changes), over_filter(slope * changes[ell, a, x, y]), LAYERS),
            Replace(),
            uses=("inside or not",),
        ),
        Step(
            "changes of a row",
            le(over_filter(slope * changes[ell, a, x, y]), over_filter(eps_layer[ell]), LAYERS),
            Replace(),
            uses=("changes",),
        ),
        Step(
            "changes of its bias",
            le(
                sp.Sum(slope * bias_change[ell, i], (i, 1, quantized_biases[ell])),
                quantized_biases[ell] * eps_layer[ell],
                LAYERS,
            ),
            Replace(),
            uses=("bias changes",),
        ),
        Step(
            "all changes",
            le(CHANGE, count, LAYERS),
            Algebra((slope, 1, 1, 1, -eps_layer[ell])),
            uses=(
                "row of changes",
                "taps apart",
                "changes inside",
                "changes of a row",
                "changes of its bias",
                "fan-in",
            ),
            reason="Channels times height times width of them, and the bias.",
        ),
        Step(
            "statement",
            goal,
            Apply(dense, one_gap),
            uses=(
                *LIPSCHITZ.facts,
                *DOMAIN.facts,
                "norm of the row",
                "norm of the quantized row",
                "at least one",
                "all changes",
                *ONE_GAP.facts,
                "smallest",
            ),
            reason="So a convolution is a dense layer with this fan-in and this norm.",
        ),
    )


def _whole_filter(name: str, family, whole: str, norm: Fact) -> tuple[Step, ...]:
    """A row under the border lacks some weights of its filter; its sum is no larger."""
    slope = kappa[ell]
    return (
        Step(
            f"{name} at the border",
            le(_read(family), over_filter(family[ell, a, x, y]), LAYERS),
            Replace(),
            uses=("inside or not",),
        ),
        Step(
            f"norm of the {name}",
            norm,
            Algebra((slope, slope, 1)),
            uses=(name, "taps apart", f"{name} at the border", whole),
        ),
    )
