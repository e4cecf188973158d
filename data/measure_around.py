"""Write the table about balls around test images again: `python -m data.measure_around`, or
`make around`.

A small CNN and ResNet-20, as they are trained usually and trained for small balls; how far
around an image their class provably survives rounding, and what T10, T14 and T15 say of the error.
Rows that are there stay as they are, so that an interrupted run goes on; `--again` removes all.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, fx, nn
from torch.nn.functional import cross_entropy, relu
from tqdm import tqdm

import qnotes as qn
from qnotes.experiments import versions
from qnotes.files import data_folder, write_whole
from qnotes.networks import provenance
from qnotes.networks.architectures import seeded
from qnotes.networks.operations import AFFINE, Operation, operations
from qnotes.networks.training import BATCH, WEIGHT_DECAY, _shifted, fit
from qnotes.propagation.affine import Affine, Budget
from qnotes.propagation.euclidean import Euclidean
from qnotes.propagation.intervals import Intervals, Signed, linear
from qnotes.propagation.outward import EPSILON
from qnotes.propagation.pair import Pair, checked_pair
from qnotes.propagation.regions import Region, checked_region
from qnotes.propagation.walk import Domain, propagate, walk
from qnotes.threads import one_thread

from .tables import Rows

FILE = "around_an_image.csv"
#: What is trained here; ResNet-20 as usual is the stored one.
STORED = "resnet20"
PLAIN, FOR_BALLS, DEEP_FOR_BALLS = "cnn", "cnn-balls", "resnet20-balls"
NETWORKS = (PLAIN, FOR_BALLS, STORED, DEEP_FOR_BALLS)
WEIGHTS = dict.fromkeys((PLAIN, FOR_BALLS), "around_an_image.safetensors")
WEIGHTS[DEEP_FOR_BALLS] = "around_an_image_resnet20.safetensors"
SEED, CLASSES = 0, 10
EPOCHS_OF_PLAIN, RATE = 12, 3e-3
#: Training for balls: epochs, the radius at the end, and the share of the worst scores in the loss.
BALLS = {FOR_BALLS: (30, 0.1, 1.0), DEEP_FOR_BALLS: (60, 0.02, 0.5)}
#: What a residual branch of a deep network is multiplied by before it is trained for balls.
BRANCH = 0.1
#: All inputs; the radii that are tried, twenty a decade; T15 looks so many places above T10.
WITHIN = (-1.0, 1.0)
RADII = [float(f"{10 ** (-6 + step / 20):.6g}") for step in range(121)]
STEP = 16
#: Not rounded at all: then the class survives where the network's own class is proven.
UNROUNDED = 0
#: The first so many test images: of the curves with T10, with T15, and with T14.
IMAGES, IMAGES_OF_T15, IMAGES_OF_T14 = 60, 5, 3
#: Radii of curves of bounds.
CURVE = [float(f"1e{exponent}") for exponent in range(-12, 1)]
CURVE_OF_T15 = RADII[40::10]
RADII_OF_T14 = (0.001, 0.0003)
#: (image, radius) of T15 on ResNet-20, where a row takes a minute.
OF_T15 = [(image, radius) for image in range(20) for radius in (0.0003, 0.001)]
#: Symbols that a form of T15 may have.
SYMBOLS = 4096
#: Corners of a ball, and steps of an ascent from them, in the search for an error.
CORNERS, STEPS = 8, 8
#: Seconds of descent for the diagonals of T14.
DESCENT = 90
LARGEST, HERE = "largest radius", "this radius"
#: For an image, a place among `RADII`.
Least = Callable[[int], int]


@dataclass(frozen=True)
class Row:
    """An answer about the ball around one test image, in the maximum norm, cut to [-1, 1].

    Attributes:
        question: ``largest radius``, of those tried, within which the class survives; or
            ``this radius``: what is known there.
        network, bits: what was rounded to nearest: symmetric, a scale a channel; 0 bits: nothing.
        method: ``intervals`` (T10), ``affine`` (T15), ``ellipsoids`` (T14).
        image: its number among the test images.
        radius: in the network's units, where pixels lie in [-1, 1]: a grey level of 256 is 2/255.
            NaN where the class survives within none of those tried.
        survives: whether all images of the ball provably have one class in both networks.
        right: whether it is the label.
        bound: on the largest error of the ten outputs in the ball.
        observed: the largest error that was found there.
        symbols: of T15, in its largest form at most.
        seconds: that the row took; rows that were computed together share theirs.
        sha256: of the weights' file, its first twelve digits.
        qnotes, torch: versions.
    """

    question: str
    network: str
    bits: int
    method: str
    image: int
    radius: float
    survives: bool
    right: bool
    bound: float
    observed: float
    symbols: int
    seconds: float
    sha256: str
    qnotes: str
    torch: str


# ---------------------------------------------------------------- the networks


def cnn() -> nn.Sequential:
    """Three layers: two convolutions and a dense one; (n, 1, 32, 32) to (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 8 * 8, CLASSES),
    ).eval()


class Balls(Domain):
    """T10 for one network, in whatever precision, with gradients: center and reach of each value.

    Args:
        images: centers.
        radius: of the balls, which are cut to [-1, 1].
    """

    def __init__(self, images: Tensor, radius: float) -> None:
        self.low, self.high = ((images + side * radius).clamp(*WITHIN) for side in (-1, 1))

    def input(self, operation: Operation) -> tuple[Tensor, Tensor]:
        return _middle(self.low, self.high)

    def affine(self, operation: Operation, read: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        module = operation.module
        return module(read[0]), linear(module, read[1], module.weight.abs())

    def sum(self, operation: Operation, *reads: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        centers, reaches = zip(*reads, strict=True)
        return sum(centers), sum(reaches)

    def activation(self, operation: Operation, read: tuple[Tensor, Tensor]) -> tuple:
        center, reach = read
        return _middle(relu(center - reach), relu(center + reach))

    def flatten(self, operation: Operation, read: tuple[Tensor, Tensor]) -> tuple:
        return tuple(operation.module(part) for part in read)

    average_pool = flatten


def _middle(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return (low + high) / 2, (high - low) / 2


def begin_small(network: fx.GraphModule) -> None:
    """Draw weights anew with which intervals keep their size from layer to layer (Shi et al. 2021).

    For a Gaussian of this size a row of n weights has E ‖w‖₁ = 2, and a ReLU halves an interval
    around 0. A residual branch begins small, or each of them would double what it reads.
    """
    for operation in operations(network):
        if operation.kind == AFFINE:
            layer = operation.module
            nn.init.normal_(layer.weight, 0, math.sqrt(2 * math.pi) / layer.weight[0].numel())
            nn.init.zeros_(layer.bias)
            if operation.name.endswith("conv2"):
                layer.weight.data *= BRANCH


def train_for_balls(
    network: fx.GraphModule,
    *,
    epochs: int,
    largest: float,
    share: float,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Train a network without batch norm in place on the worst scores that T10 leaves possible.

    The radius is 0 in the first quarter, and grows to `largest` in the next two: scores that become
    uncertain before they mean anything end as constants (Gowal et al. 2018).
    """
    images, labels = qn.digits("train")
    batches = len(images) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=RATE, total_steps=epochs * batches, pct_start=0.15
    )
    graph = operations(network)
    for step in range(epochs * batches):
        if step % batches == 0:
            order = torch.randperm(len(images))
            progress()
        rows = order[step % batches * BATCH :][:BATCH]
        radius = largest * min(1.0, max(0.0, 2 * step / (epochs * batches) - 0.5))
        scores, reach = propagate(graph, Balls(_shifted(images[rows]), radius))
        own = nn.functional.one_hot(labels[rows], CLASSES)
        optimizer.zero_grad()
        worst = cross_entropy(scores + reach * (1 - 2 * own), labels[rows])
        (share * worst + (1 - share) * cross_entropy(scores, labels[rows])).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def trained(name: str, progress: Callable[[], object] = lambda: None) -> fx.GraphModule:
    """A network of this table, trained from its seed, folded; weights are numbers of 16 bits."""
    with seeded(SEED), one_thread():
        model = qn.load(STORED) if name == DEEP_FOR_BALLS else cnn()
        if name == PLAIN:
            fit(model, *qn.digits("train"), epochs=EPOCHS_OF_PLAIN, progress=progress)
        folded = qn.fold(model.eval()).float()
        if name == DEEP_FOR_BALLS:
            begin_small(folded)
        if name in BALLS:
            epochs, largest, share = BALLS[name]
            options = {"epochs": epochs, "largest": largest, "share": share}
            train_for_balls(folded, **options, progress=progress)
    return folded.half().double()


def train(folder: Path, names: Iterable[str], *, again: bool = False) -> None:
    """Train those of these networks that are not stored, or all, and store their weights."""
    for name, file in WEIGHTS.items():
        tensors = load_file(folder / file) if (folder / file).is_file() else {}
        stored = any(key.startswith(f"{name}/") for key in tensors)
        if name not in names or (stored and not again):
            continue
        with tqdm(desc=name, unit=" epochs") as bar:
            found = trained(name, bar.update).half().state_dict()
        tensors |= {f"{name}/{key}": tensor.contiguous() for key, tensor in found.items()}
        about = {"seed": str(SEED), **{key: str(value) for key, value in versions().items()}}
        write_whole(folder, {file: to_safetensors(tensors, metadata=about)})


@cache
def network(name: str, folder: Path) -> fx.GraphModule:
    """A folded network with its stored weights, float64."""
    if name == STORED:
        return qn.fold(qn.load(STORED))
    folded = qn.fold(qn.load(STORED) if name == DEEP_FOR_BALLS else cnn())
    tensors = load_file(folder / WEIGHTS[name])
    prefix = f"{name}/"
    own = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    folded.load_state_dict({key: tensor.double() for key, tensor in own.items()})
    return folded


def sha256(name: str, folder: Path) -> str:
    """Of the file with the weights."""
    if name == STORED:
        return provenance(STORED, "digits", 0)["sha256"]
    return hashlib.sha256((folder / WEIGHTS[name]).read_bytes()).hexdigest()


# ---------------------------------------------------------------- what survives


def with_margins(network: fx.GraphModule) -> fx.GraphModule:
    """The network with further outputs: S_i - S_j for each class i and each other one, j.

    Rows of two classes are subtracted, so that what they have in common cancels
    before a bound is taken. Rows are those of `pairs`.
    """
    changed = qn.fold(network)  # a copy
    layer, name = last_layer(changed)
    ours, others = pairs()
    wider = nn.Linear(layer.in_features, CLASSES + len(ours), dtype=torch.float64)
    with torch.no_grad():
        for old, new in ((layer.weight, wider.weight), (layer.bias, wider.bias)):
            new.copy_(torch.cat([old, old[ours] - old[others]]))
    changed.set_submodule(name, wider)
    return changed.eval()


def last_layer(network: fx.GraphModule) -> tuple[nn.Linear, str]:
    """The layer that makes the scores, and its name."""
    last = [operation for operation in operations(network) if operation.kind == AFFINE][-1]
    return last.module, last.name


def pairs() -> tuple[Tensor, Tensor]:
    """Classes i and j of each margin, nine rows for each i."""
    ours = torch.arange(CLASSES).repeat_interleave(CLASSES - 1)
    others = torch.cat([torch.cat([torch.arange(i), torch.arange(i + 1, 10)]) for i in range(10)])
    return ours, others


@dataclass(frozen=True)
class Enclosed:
    """Where outputs and margins of both networks lie, for all images of each ball.

    Attributes:
        signed: intervals of S, S' and Δ, (images, 10 + 90).
        slack: what rounding took from the 90 differences of weights, (images, 100).
    """

    signed: Signed
    slack: Tensor

    def survives(self, classes: Tensor) -> Tensor:
        """Whether each ball has its class everywhere, in both networks, (images,)."""
        rows = CLASSES + classes[:, None] * (CLASSES - 1) + torch.arange(CLASSES - 1)
        least = [(values.low - self.slack).gather(1, rows).amin(1) for values in self.signed[:2]]
        return torch.minimum(*least) > 0

    @property
    def bound(self) -> Tensor:
        """On the largest error of an output, (images,)."""
        return self.signed.error.size[:, :CLASSES].amax(1)


@torch.no_grad()
def enclosed(pair: Pair, domain: Domain) -> Enclosed:
    """One walk of T10 or T15 through two networks with margins."""
    for visit in walk(pair.operations, domain):
        if visit.operation.kind == AFFINE:
            last = visit
    signed, features = (getattr(one, "signed", one) for one in (visit.result, last.reads[0]))
    sizes = torch.maximum(features.ours.size, features.theirs.size)
    slack = 0.0
    for module in (last.operation.module, last.operation.quantized):
        slack = slack + EPSILON * (sizes @ module.weight.abs().T + module.bias.abs())
    return Enclosed(signed, slack)


class Subject:
    """A network, rounded, and the test images that the table is about."""

    def __init__(self, name: str, bits: int, folder: Path) -> None:
        self.name, self.bits = name, bits
        self.sha256 = sha256(name, folder)
        self.original = network(name, folder)
        rounded = qn.quantize(self.original, bits=bits).model if bits else self.original
        self.rounded = rounded
        self.images, self.labels = (part[:IMAGES] for part in qn.digits("test"))
        self.images = self.images.double()
        both = (with_margins(network) for network in (self.original, rounded))
        shape = tuple(self.images[:1].shape)
        self.pair = checked_pair(*both, input_shape=shape, radius=WITHIN[1])
        with torch.no_grad():
            self.classes = self.original(self.images).argmax(1)
        self.right = (self.classes == self.labels).tolist()
        self.norms = Euclidean(self.pair, self.ball(0, 0.0)).norms
        self.diagonals = None

    def ball(self, image: int, radius: float) -> Region:
        return checked_region(None, radius, self.images[image : image + 1], WITHIN)

    def intervals(self, images: list[int], radii: list[float]) -> Enclosed:
        """T10 for several balls at once."""
        balls = [self.ball(image, radius) for image, radius in zip(images, radii, strict=True)]
        region = Region(*(torch.cat([getattr(b, end) for b in balls]) for end in ("low", "high")))
        return enclosed(self.pair, Intervals(self.pair, region))

    def affine(self, image: int, radius: float) -> tuple[Enclosed, int]:
        """T15 for one ball, and how many symbols there were in all forms."""
        budget = Budget(SYMBOLS)
        domain = Affine(self.pair, self.ball(image, radius), budget, self.norms)
        return enclosed(self.pair, domain), min(budget.used, budget.most)

    def survives(self, images: list[int], radii: list[float], method: str) -> list[bool]:
        if method == "intervals":
            return self.intervals(images, radii).survives(self.classes[images]).tolist()
        classes = self.classes[images].split(1)
        several = zip(images, radii, classes, strict=True)
        return [self.affine(i, radius)[0].survives(c).item() for i, radius, c in several]

    def observed(self, image: int, radius: float) -> float:
        """The largest error that corners of the ball and an ascent in signs find."""
        ball = self.ball(image, radius)
        generator = torch.Generator().manual_seed(SEED)
        share = torch.rand(CORNERS, *ball.low.shape[1:], generator=generator).round().double()
        tried = torch.cat([ball.center, ball.low + share * (ball.high - ball.low)])
        tried, best = tried.clamp(ball.low, ball.high), 0.0
        for step in range(STEPS + 1):
            tried.requires_grad_()
            errors = (self.original(tried) - self.rounded(tried)).abs().amax(1)
            best = max(best, errors.max().item())
            (slopes,) = torch.autograd.grad(errors.sum(), tried)
            far = slopes.sign() * (ball.high - ball.low) / (1 + step)
            tried = (tried.detach() + far).clamp(ball.low, ball.high)
        return best

    def row(self, question: str, method: str, image: int, radius: float, **found) -> Row:
        nothing = dict.fromkeys(("bound", "observed"), math.nan)
        about = {key: value for key, value in versions().items() if key != "python"}
        if "bound" in found:
            found["bound"] *= 1 + 6e-6  # six digits are stored
        plain = {"bits": self.bits, "right": self.right[image], "symbols": 0, **nothing}
        return Row(
            question=question, network=self.name, method=method, image=image, radius=radius,
            sha256=self.sha256[:12], **{**plain, **found}, **about,
        )  # fmt: skip


def largest_radii(subject: Subject, images: list[int], method: str, least: Least) -> list[Row]:
    """By bisection, all images at once: what survives within a ball does so within a smaller one.

    Args:
        subject: network and images.
        images: their numbers.
        method: ``intervals`` or ``affine``.
        least: for an image the place of a radius within which it is known to survive, or -1.
    """
    start = time.perf_counter()
    low = {i: least(i) for i in images}
    high = {i: min(low[i] + STEP, len(RADII)) if low[i] >= 0 else len(RADII) for i in images}
    while open_ := [i for i in images if high[i] - low[i] > 1]:
        middle = {i: _between(low[i], high[i]) for i in open_}
        found = subject.survives(open_, [RADII[middle[i]] for i in open_], method)
        for i, yes in zip(open_, found, strict=True):
            (low if yes else high)[i] = middle[i]
    seconds = round((time.perf_counter() - start) / len(images), 3)
    return [
        subject.row(
            LARGEST, method, i, RADII[low[i]] if low[i] >= 0 else math.nan,
            survives=low[i] >= 0, seconds=seconds,
        )
        for i in images
    ]  # fmt: skip


def _between(low: int, high: int) -> int:
    """In the middle; the smallest radius comes first, since around some images nothing survives."""
    return 0 if (low, high) == (-1, len(RADII)) else (low + high) // 2


def intervals(subject: Subject, images: list[int], radius: float) -> list[Row]:
    """What T10 says in balls of one radius."""
    start = time.perf_counter()
    found = subject.intervals(images, [radius] * len(images))
    survives = found.survives(subject.classes[images]).tolist()
    seconds = round((time.perf_counter() - start) / len(images), 3)
    return [
        subject.row(HERE, "intervals", i, radius, survives=yes, bound=bound, seconds=seconds)
        for i, yes, bound in zip(images, survives, found.bound.tolist(), strict=True)
    ]


def affine(subject: Subject, image: int, radius: float) -> list[Row]:
    """What T15 says in a ball, and the largest error found there."""
    start = time.perf_counter()
    found, symbols = subject.affine(image, radius)
    seconds = round(time.perf_counter() - start, 2)
    row = subject.row(
        HERE, "affine", image, radius, survives=found.survives(subject.classes[[image]]).item(),
        bound=found.bound.item(), observed=subject.observed(image, radius), symbols=symbols,
        seconds=seconds,
    )  # fmt: skip
    return [row]


def ellipsoids(subject: Subject, images: list[int], radius: float) -> list[Row]:
    """T14 from each image as the center, with diagonals that were found once for all."""
    start = time.perf_counter()
    found = qn.certify(
        subject.original, subject.rounded, center=subject.images[images], radius=radius,
        within=WITHIN, method="ellipsoids", seconds=0 if subject.diagonals else DESCENT,
        diagonals=subject.diagonals,
    )  # fmt: skip
    subject.diagonals = found.diagonals
    seconds = round((time.perf_counter() - start) / len(images), 2)
    return [
        subject.row(
            HERE, "ellipsoids", image, radius, survives=False, bound=float(bound.max()),
            seconds=seconds,
        )
        for image, bound in zip(images, found.bound, strict=True)
    ]  # fmt: skip


# ---------------------------------------------------------------- the table


class Table(Rows):
    """`data/around_an_image.csv`."""

    file, row, csv = FILE, Row, Rows.csv | {"float_format": "%.6g"}

    def key(self, row: Row) -> tuple:
        radius = None if row.question == LARGEST else row.radius
        return row.question, row.network, row.bits, row.method, row.image, radius

    def missing(self, question: str, name: str, bits: int, method: str, images, radius=None):
        """Images of which there is no such row."""
        keys = ((question, name, bits, method, image, radius) for image in images)
        return [key[4] for key in keys if key not in self.kept]

    def place(self, name: str, bits: int, image: int) -> int:
        """Where the largest radius of T10 stands among those tried; -1 where there is none."""
        row = self.kept.get((LARGEST, name, bits, "intervals", image, None))
        if row is None or not row.survives:
            return -1
        return RADII.index(row.radius)


def tasks(table: Table, names: list[str], folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """What is being done, and its rows; what the chapter needs most comes first."""
    subject = cache(lambda name, bits=8: Subject(name, bits, folder))
    small = [name for name in names if name.startswith(PLAIN)]
    yield from _largest(table, subject, product((8, UNROUNDED, 4), small))
    yield from _largest(table, subject, product((8,), names))
    deep = [STORED] if STORED in names else []
    for name in deep:
        yield from _bounds(table, subject(name), OF_T15[:1])
        for radius in CURVE:
            if images := table.missing(HERE, name, 8, "intervals", range(IMAGES_OF_T14), radius):
                yield f"{name}, T10 at {radius:g}", intervals(subject(name), images, radius)
    for image, name in product(range(IMAGES_OF_T15), small):
        if table.missing(LARGEST, name, 8, "affine", [image]):
            place = partial(table.place, name, 8)
            yield f"{name}, T15", largest_radii(subject(name), [image], "affine", place)
        for radius in CURVE_OF_T15 if (image, name) == (0, PLAIN) else []:
            if table.missing(HERE, PLAIN, 8, "affine", [0], radius):
                yield f"{PLAIN}, T15 at {radius:g}", affine(subject(PLAIN), 0, radius)
    for name in deep:
        yield from _of_ellipsoids(table, subject(name))
        yield from _bounds(table, subject(name), OF_T15)
    yield from _largest(table, subject, product((UNROUNDED, 4), names))


def _largest(table: Table, subject, wanted) -> Iterator[tuple[str, list[Row]]]:
    for bits, name in wanted:
        if images := table.missing(LARGEST, name, bits, "intervals", range(IMAGES)):
            rows = largest_radii(subject(name, bits), images, "intervals", lambda i: -1)
            yield f"{name}, {bits} bits", rows


def _bounds(table: Table, subject: Subject, wanted) -> Iterator[tuple[str, list[Row]]]:
    for image, radius in wanted:
        if table.missing(HERE, subject.name, 8, "affine", [image], radius):
            yield f"{subject.name}, T15 at {radius:g}", affine(subject, image, radius)


def _of_ellipsoids(table: Table, subject: Subject) -> Iterator[tuple[str, list[Row]]]:
    for radius in RADII_OF_T14:
        images = range(IMAGES_OF_T14)
        if images := table.missing(HERE, subject.name, 8, "ellipsoids", images, radius):
            yield f"{subject.name}, T14 at {radius:g}", ellipsoids(subject, images, radius)


def main(arguments: list[str] | None = None) -> None:
    """Train, and measure; rows are stored as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)} (all)")
    parser.add_argument("--again", action="store_true", help="replace the rows that are there")
    parser.add_argument("--retrain", action="store_true", help="and the weights, first of all")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    names = options.networks or list(NETWORKS)
    table = Table(options.data, again=options.again or options.retrain)
    with one_thread(), tqdm(unit=" tasks") as bar:
        train(options.data, names, again=options.retrain)
        for what, rows in tasks(table, names, options.data):
            bar.set_description(what)
            table.add(rows)
            bar.update()
    table.finish(names)


if __name__ == "__main__":
    main()
