"""One table of truth: what is known about the error of a network, measured once for all pages.

Nobody knows E of a deep network. What can be had lies below it: the errors of images, of random
inputs, and of the worst input that a search has found. `data/errors.csv` has them for the networks
of the book, and `known_errors` measures them for others in the same way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import cache

import pandas as pd
from torch import Tensor

from qnotes.errors import QnotesError
from qnotes.experiments import in_precision, shown, versions
from qnotes.files import data_folder
from qnotes.networks import digits, fold, input_shape, load, preprocessing, provenance
from qnotes.observation import (
    distances,
    observe,
    outputs,
    random_inputs,
)
from qnotes.observation.measured import margins
from qnotes.observation.promises import inputs_needed, promised_rank
from qnotes.quantization import quantize

FILE, CERTIFIED = "errors.csv", "certified.csv"
#: What decides a row of the table.
KEY = ("network", "weights", "bits", "granularity", "seed")
RANDOM_INPUTS = 64
#: So many images, those with the largest errors, are among the starts of a search.
WORST = 4
#: Networks whose outputs are no scores of classes.
FEATURES = ("mobilenet_v2_features",)
#: Of the promise (T16), and so many parts of photographs as it needs.
FRACTION, CONFIDENCE = 0.99, 0.95
PARTS = inputs_needed(FRACTION, CONFIDENCE)
#: Rounds of a search: what `observe` does by default, and less where an input takes long.
ROUNDS_OF_SMALL, ROUNDS_OF_LARGE = 6, 2
#: Seconds of a search whose result is not stored.
SECONDS = 10


@dataclass(frozen=True)
class KnownErrors:
    """What is known about the error of a named network with quantized weights.

    All errors are in the maximum norm of the outputs. Inputs lie in the box of all images.

    Attributes:
        network: name of what was quantized, symmetric and to nearest.
        weights: ``digits``, ``imagenet`` or ``random``.
        bits: width of a code.
        granularity: ``channel`` or ``tensor``.
        seed: of random weights and random inputs.
        sha256: of the weights' file; None for random weights.
        images: ``digits`` (all 599 test images), ``photographs`` (random parts of those for tests)
            or None.
        image_count: how many.
        median: of the errors on images.
        largest: of the errors on images.
        promised: an error that at most 1% of such images exceed, with 95% confidence (T16).
        size: median over images of the largest absolute output of the reference.
        margin: median distance of the two largest outputs of the reference; None for features.
        agreement: share of images whose top class stays; None for features.
        safe: share of images whose margin is above twice `observed`: no smaller bound on all inputs
            can promise them their class.
        random_count: how many random inputs, half of them corners of the box.
        sampled: the largest error on them.
        observed: the largest error that `observe` found, `images` among its starts: E is at least
            this.
        start: where that search began.
        evaluations: at how many inputs it ran the networks, forward or backward.
        stopped: why it ended.
        qnotes: version of this package.
        torch: version of torch.
    """

    network: str
    weights: str
    bits: int
    granularity: str
    seed: int
    sha256: str | None
    images: str | None
    image_count: int
    median: float | None
    largest: float | None
    promised: float | None
    size: float
    margin: float | None
    agreement: float | None
    safe: float | None
    random_count: int
    sampled: float
    observed: float
    start: str
    evaluations: int
    stopped: str
    qnotes: str
    torch: str


def known_errors(
    network: str,
    *,
    weights: str = "digits",
    bits: int = 8,
    granularity: str = "channel",
    seed: int = 0,
) -> KnownErrors:
    """What is known about the error of a named network: from the table, or measured now.

    Measuring takes half a minute, or more where a network is large; its search ends after ten
    seconds. ``make errors`` searches without a limit.

    Args:
        network: a name that `load` knows.
        weights: ``digits``, ``imagenet`` or ``random``.
        bits: width of a code.
        granularity: ``channel`` or ``tensor``.
        seed: of random weights and random inputs.
    """
    asked = (network, weights, int(bits), granularity, int(seed))
    table = error_table()
    rows = table[(table[list(KEY)] == pd.Series(asked, index=KEY)).all(axis=1)]
    sha256 = provenance(network, weights, seed).get("sha256")
    for row in as_rows(rows):
        if row.sha256 == sha256:  # a row about other weights says nothing about these
            return row
    return measure_errors(*asked, seconds=SECONDS)


def error_table() -> pd.DataFrame:
    """The stored rows, to keep or to change: a column for each attribute of `KnownErrors`."""
    path = data_folder() / FILE
    if not path.is_file():
        return pd.DataFrame(columns=[field.name for field in fields(KnownErrors)])
    return _read(path).copy()


def certified_table() -> pd.DataFrame:
    """Stored bounds of `certify`, which take minutes: a row for each network, bits and method.

    Columns: ``network`` (its digits weights; on images of 224 × 224, ResNet-18 and -50 have random
    ones, and ``mobilenet_v2_features`` those of ImageNet),
    ``bits`` (symmetric, a scale a channel, to nearest), ``method``, ``descent`` (seconds for the
    diagonals of T14), ``log10`` of the bound on the largest output error, ``seconds``, ``radius``
    of the box of inputs, ``sha256`` of the weights' file, and versions. ``make certified`` writes
    them again.
    """
    path = data_folder() / CERTIFIED
    if not path.is_file():
        raise QnotesError(f"there is no table {path}; run `make certified`")
    return _read(path).copy()


def as_rows(table: pd.DataFrame) -> list[KnownErrors]:
    """The rows of a table that was read from a file."""
    plain = table.astype(object).where(table.notna(), None)
    return [KnownErrors(**row) for row in plain.to_dict("records")]


@cache
def _read(path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except ValueError as error:
        target = "certified" if path.name == CERTIFIED else "errors"
        raise QnotesError(f"cannot read {path}: {error}; run `make {target}`") from error


def measure_errors(
    network: str,
    weights: str,
    bits: int,
    granularity: str,
    seed: int,
    *,
    seconds: float | None = None,
) -> KnownErrors:
    """Measure a row of the table; arguments as in `known_errors`, and `seconds` of the search."""
    shape, radius = input_shape(network, weights), preprocessing(network, weights).radius
    folded = fold(load(network, weights=weights, seed=seed))
    quantized = quantize(folded, bits=bits, granularity=granularity).model
    running = [in_precision(model, "float32") for model in (folded, quantized)]
    inputs = random_inputs(shape, count=RANDOM_INPUTS, radius=radius, seed=seed)
    ours, theirs = (outputs(model, inputs) for model in running)
    kind, images = _images(network, weights, radius, seed)
    answers = None if images is None else [outputs(model, images) for model in running]
    worst = observe(
        folded,
        quantized,
        input_shape=shape,
        radius=radius,
        images=None if images is None else images[distances(*answers).topk(WORST).indices],
        rounds=ROUNDS_OF_SMALL if shape[-1] <= 32 else ROUNDS_OF_LARGE,
        seconds=seconds,
        seed=seed,
    )
    found = KnownErrors(
        network=network,
        weights=weights,
        bits=bits,
        granularity=granularity,
        seed=seed,
        sha256=provenance(network, weights, seed).get("sha256"),
        images=kind,
        image_count=0,
        **dict.fromkeys(("median", "largest", "promised", "margin", "agreement", "safe")),
        size=_size(ours),
        random_count=RANDOM_INPUTS,
        sampled=distances(ours, theirs).max().item(),
        observed=worst.error,
        start=worst.start,
        evaluations=worst.effort.evaluations + worst.effort.gradients,
        stopped=worst.effort.stopped,
        **{name: version for name, version in versions().items() if name != "python"},
    )
    return found if images is None else _with_images(found, *answers)


def _images(network: str, weights: str, radius: float, seed: int) -> tuple[str | None, Tensor]:
    count = len(digits("test")[0]) if weights == "digits" else PARTS
    for kind, images in shown(network, weights, radius, "test", count, seed).items():
        return kind, images
    return None, None


def _size(answers: Tensor) -> float:
    """Median of the largest absolute output."""
    return answers.abs().amax(1).median().item()


def _with_images(found: KnownErrors, ours: Tensor, theirs: Tensor) -> KnownErrors:
    """With what the outputs of both networks for images say."""
    errors = distances(ours, theirs).sort(descending=True).values
    about = {
        "image_count": len(ours),
        "median": errors.median().item(),
        "largest": errors.max().item(),
        "promised": errors[promised_rank(len(errors), FRACTION, CONFIDENCE) - 1].item(),
        "size": _size(ours),
    }
    if found.network in FEATURES:
        return replace(found, **about)
    apart = margins(ours)
    return replace(
        found,
        **about,
        margin=apart.median().item(),
        agreement=(ours.argmax(1) == theirs.argmax(1)).double().mean().item(),
        safe=(apart > 2 * found.observed).double().mean().item(),
    )


def as_csv(rows: list[KnownErrors]) -> str:
    """Rows of the table as it is stored, numbers with six digits."""
    table = pd.DataFrame([asdict(row) for row in rows])
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
