"""The search for the input with the largest error: a lower bound for E."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from qnotes.errors import QnotesError, check_whole, real
from qnotes.networks.probing import plain
from qnotes.networks.tracing import check_module
from qnotes.observation.domain import Domain, make_domain
from qnotes.observation.measured import BATCH
from qnotes.observation.pair import Pair, chosen_device
from qnotes.observation.rounding import error_inward

#: First step of the ascent from the starts, after a hop, and of the last one in float64, in parts
#: of the way from the middle of the domain to its side: the last can reach any corner at once.
FIRST, AFTER_HOP, LAST = 0.25, 0.05, 2.0
#: How many plain inputs are tried, from the lowest to the highest; each with noise, too.
LEVELS, NOISE = 65, 0.1
#: Kinds of starts that are random inputs.
RANDOM = ("uniform", "corner", "patches")
#: How many output coordinates, those with the largest errors, get corners of their own.
OUTPUTS = 32
#: A round: how many inputs are kept, how many copies hop from each, and how far at first.
KEPT, COPIES, HOP = 4, 3, 0.05
#: After so many rounds from which no input was kept, the search ends.
PATIENCE = 2
#: Parts of the seconds after which the starts, the first ascent, the rounds and all must end.
SHARES = (0.25, 0.55, 0.9, 1.0)
#: Numbers in a batch of inputs, at most: 3 images of 224², so that gradients fit into memory and a
#: batch takes seconds.
NUMBERS = 1 << 19
#: Below so many weights times inputs a network is small. Batches cost nearly as much as one input:
#: more inputs go on, and not two that are close to each other. Float32 would save nothing.
SMALL, WIDTH, APART = 1 << 22, 4, 0.1
#: For others float32 leads the way, if it moves the error of a random input by at most this part.
AGREEMENT = 0.01


@dataclass(frozen=True)
class Effort:
    """What a search cost, and why it ended.

    Attributes:
        evaluations: inputs at which the two networks were run, forward only.
        gradients: inputs at which they were run forward and backward.
        seconds: of the clock.
        stopped: ``steps`` if all were made, ``no gain`` if rounds gained nothing, ``seconds`` if
            time was up.
    """

    evaluations: int
    gradients: int
    seconds: float
    stopped: str


@dataclass(frozen=True)
class Observation:
    """The worst input that a search found.

    Attributes:
        error: largest distance of the outputs, in the maximum norm, less `rounding`; a lower bound
            for E.
        rounding: what float64 may have added to that distance.
        proven: whether that is proven, by a bound that runs along with the two networks. In deep
            networks such a bound says too little, and `rounding` is an estimate: 64 times 2⁻²⁹ of
            what float32 adds, or what all operations add to their own results, if that is more.
        sampled: the same for the random inputs alone, before the ascent.
        input: the input that reaches `error`, of shape (1, ...), float64, on the CPU.
        start: where the ascent to it began: ``uniform``, ``corner``, ``patches`` or
            ``linear corner``; ``plain -1`` to ``plain 1`` for an input of one value, from the
            lowest to the highest; ``noisy -1`` to ``noisy 1`` for one with noise; ``image 0`` for
            the first image.
        history: largest error of the random inputs, then of all starts, then after each step; the
            last one is `error`.
        effort: what the search cost.
    """

    error: float
    sampled: float
    input: Tensor
    start: str
    history: tuple[float, ...]
    effort: Effort
    rounding: float = 0.0
    proven: bool = False


@torch.inference_mode(False)  # there no gradient leads anywhere, and the search would be a poor one
def observe(
    network: nn.Module,
    quantized: nn.Module,
    *,
    input_shape: tuple[int, ...] | None = None,
    radius: float = 1.0,
    center: Tensor | None = None,
    box: tuple[float, float] | None = None,
    images: Tensor | None = None,
    samples: int = 64,
    starts: int = 16,
    steps: int = 30,
    rounds: int = 6,
    seconds: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Observation:
    """Search for the input with the largest error: a lower bound for E.

    The domain is :math:`[-r, r]^{N_0}` with the radius r, or the ball around `center` in the
    maximum norm.

    1. Starts: random points, plain inputs from the lowest to the highest, the same with noise, the
       given images; and for single outputs the corners that would be the worst if both networks
       were linear.
    2. From the largest errors on: ascent along the sign of the error's gradient, projected onto the
       domain. A step that gains nothing is undone, and the next is half as long. A start without a
       gradient, where units are dead, goes on from a new random point.
    3. Rounds: noise is added to copies of the worst inputs, they ascend again, and the worst of old
       and new are kept, with less noise from round to round. Two rounds from which nothing is kept
       end the search.
    4. The worst inputs ascend once more in float64, and their errors are computed there.

    Large networks run in float32 up to there, if it sees the errors. The result is always an error
    of float64 copies, rounded inward: rounding alone can exceed a bound.

    For one affine layer of at most 32 outputs the result is the largest error there is. Of 99
    random networks with one hidden layer and two or three inputs, whose largest error is known, it
    found 98 up to a thousandth. For deep networks the distance to the largest error is unknown, and
    seeds differ: on ResNet-20 (digits, 8 bits per channel) four seeds gave 3.6 to 3.7; an ascent
    without rounds had given 1.1 to 2.4 with fourteen seeds, at about half the cost.

    Args:
        network: the reference.
        quantized: its quantized copy.
        input_shape: shape of one batch, batch dimension first; not needed with `center`.
        radius: D, or the radius of the ball.
        center: an input of shape (1, ...). The ball around it is not cut to valid pixels, unless
            `box` says which are.
        box: smallest and largest value of a coordinate, as in (-1, 1); none by default.
        images: inputs to start from too, of shape (images, ...); projected onto the domain.
        samples: random inputs: uniform ones, corners, and for images patches of one colour.
        starts: how many inputs, those with the largest errors, go on; four times as many in small
            networks, where they cost little.
        steps: of the ascent from the starts; half as many after a hop and in float64.
        rounds: of hops, at most.
        seconds: time after which the search ends, within about a batch of inputs, with the worst
            found so far; at least one input is tried. Unlimited by default. How far a search with
            such a limit comes, and so its result, depends on the machine.
        seed: of all that is random.
        device: where the copies run; by default on a CUDA device if there is one, else where the
            network is.
        progress: show a bar, with the largest error so far.

    Raises:
        QnotesError: for options that cannot be used, networks in training mode, an input shape
            that a network cannot take, or outputs that are not finite.
    """
    counts = {"samples": samples, "starts": starts, "steps": steps, "rounds": rounds, "seed": seed}
    samples, starts, steps, rounds, seed = (
        check_whole(name, value, 1 if name in ("samples", "starts") else 0)
        for name, value in counts.items()
    )
    _check_seconds(seconds)
    check_module(network)
    check_module(quantized)
    domain = make_domain(input_shape, radius, center, box)
    place = chosen_device(network, device)
    pair = Pair(network, quantized, place)
    half = steps // 2
    with tqdm(desc="observe", unit=" inputs", disable=not progress, leave=False) as bar:
        search = _Search(pair, domain.to(place), seed, seconds, bar)
        ascents = starts * (steps + 1) + (rounds * COPIES + 1) * KEPT * (half + 1)
        bar.total = samples + 2 * LEVELS + 3 * OUTPUTS + search.width * ascents
        with search.until(SHARES[0]):
            search.try_starts(samples, images, keep=starts)
            search.try_linear_corners(keep=starts)
        search.remember()
        with search.until(SHARES[1]):
            search.climb(steps, FIRST)
        with search.until(SHARES[2]):
            search.hop(rounds, half)
        with search.until(SHARES[3]):
            search.finish(half)
        bar.refresh()
        return search.observation()


def _check_seconds(seconds: float | None) -> None:
    if seconds is not None and not (real(seconds) is not None and seconds > 0):
        raise QnotesError(f"seconds must be a positive number or None; got {seconds!r}")


@dataclass
class _Tried:
    """Inputs with their errors, and where each comes from."""

    kinds: list[str]
    inputs: Tensor
    errors: Tensor

    def __add__(self, other: _Tried) -> _Tried:
        inputs = torch.cat([self.inputs, other.inputs])
        return _Tried(self.kinds + other.kinds, inputs, torch.cat([self.errors, other.errors]))

    def chosen(self, places: list[int]) -> _Tried:
        return _Tried([self.kinds[at] for at in places], self.inputs[places], self.errors[places])

    def worst(self, count: int, *, apart: float = 0.0) -> _Tried:
        """The largest errors, of inputs with at least this root mean square distance."""
        ranked = self.errors.argsort(descending=True, stable=True).tolist()
        places: list[int] = []
        for at in ranked if apart else ():
            away = (self.inputs[places] - self.inputs[at]).flatten(1).square().mean(1).sqrt()
            if (away >= apart).all():
                places.append(at)
        return self.chosen((places or ranked)[:count])


class _OutOfTime(Exception):
    """The part of the seconds that a stage has is used up."""


class _Search:
    """The worst inputs so far, and what the search for them has cost.

    Attributes:
        found: the worst inputs so far, their errors in the precision of the search.
        random: the worst random one.
        largest: of all differences so far, for each output.
        history: largest error after each step.
    """

    def __init__(self, pair: Pair, domain: Domain, seed: int, seconds, bar: tqdm) -> None:
        self.exact = self.pair = pair
        self.domain, self.bar = domain, bar
        self.generator = torch.Generator().manual_seed(seed)
        small = pair.size * domain.low.numel() < SMALL
        self.width, self.apart = (WIDTH, APART * _size(domain.reach)) if small else (1, 0.0)
        self.kept, self.may_round = self.width * KEPT, not small
        self.batch = max(1, min(BATCH, NUMBERS // domain.low.numel()))
        self.seconds = math.inf if seconds is None else seconds
        self.began, self.deadline = time.monotonic(), math.inf
        self.evaluations, self.gradients, self.stopped = 0, 0, "steps"
        nothing = torch.empty(0, dtype=torch.float64, device=domain.low.device)
        self.found = self.random = _Tried([], domain.low[:0], nothing)
        self.largest = torch.zeros(1, dtype=torch.float64, device=domain.low.device)
        self.history: list[float] = []

    # What it costs.

    @contextmanager
    def until(self, share: float) -> Iterator[None]:
        """End this stage when the given part of the seconds is over."""
        self.deadline = self.began + share * self.seconds
        try:
            yield
        except _OutOfTime:
            self.stopped = "seconds"

    def _parts(self, inputs: Tensor) -> Iterator[Tensor]:
        """Batches, while there is time; the first batch of all always."""
        for part in inputs.split(self.batch):
            if self.found.kinds and time.monotonic() >= self.deadline:
                raise _OutOfTime
            yield part
            self.bar.update(len(part))
            self.bar.set_postfix(error=f"{self.best:.3g}", refresh=False)

    @torch.no_grad()
    def _differences(self, inputs: Tensor) -> Tensor:
        self.evaluations += len(inputs)
        found = self.pair.differences(inputs)
        return found if self._finite(found) else self._differences(inputs)

    def _gradients(self, inputs: Tensor, outputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.gradients += len(inputs)
        found = self.pair.gradients(inputs, outputs)
        return found if self._finite(found[1]) else self._gradients(inputs, outputs)

    def _finite(self, differences: Tensor) -> bool:
        """False where float32 cannot hold the outputs: from now on, float64 does."""
        if torch.isfinite(differences).all():
            return True
        if self.pair is self.exact:
            raise QnotesError("the outputs are too large for float64 somewhere in the domain")
        self.pair = self.exact
        return False

    @property
    def best(self) -> float:
        """Largest error so far."""
        return max([0.0, *self.found.errors.tolist(), *self.history[-1:]])

    def remember(self) -> None:
        """Add the largest error so far to the history."""
        self.history.append(self.best)

    # Where to start.

    def try_starts(self, samples: int, images: Tensor | None, *, keep: int) -> None:
        """Random inputs, plain ones, those with noise, and images, in random order."""
        drawn = self.domain.random(samples, self.generator)
        one_each = torch.cat([inputs[:1] for inputs in drawn.values()])
        kinds = [kind for kind, inputs in drawn.items() for _ in inputs]
        inputs = list(drawn.values())
        if images is not None:
            inputs.append(self.domain.project(_checked_images(images, one_each).to(one_each)))
            kinds += [f"image {number}" for number in range(len(images))]
        levels = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
        plain = levels.view(-1, *[1] * (one_each.dim() - 1)).expand(-1, *one_each.shape[1:])
        inputs += [self.domain.placed(plain), self.domain.placed(plain + self._noise(plain, NOISE))]
        kinds += [f"{kind} {level:.2g}" for kind in ("plain", "noisy") for level in levels.tolist()]
        self._choose_precision(one_each[:1])
        # A budget that ends here ends with some of each kind; the first input is a random one.
        order = torch.cat([torch.zeros(1, dtype=torch.long), self._shuffled(1, len(kinds))])
        self._try([kinds[index] for index in order.tolist()], torch.cat(inputs)[order], keep)

    def try_linear_corners(self, *, keep: int) -> None:
        """For single outputs the two corners that would be worst if the networks were linear."""
        outputs = self.largest.topk(min(OUTPUTS, len(self.largest))).indices
        worst = self.found.worst(1).inputs
        where = iter(outputs.split(self.batch))
        for part in self._parts(worst.expand(len(outputs), *worst.shape[1:])):
            signs = self._gradients(part, next(where))[0].sign()
            corners = self.domain.placed(torch.cat([signs, -signs]))
            self._try(["linear corner"] * len(corners), corners, keep)

    def _choose_precision(self, inputs: Tensor) -> None:
        if not self.may_round:
            return
        exact, single = self._differences(inputs), self.exact.single()
        with torch.no_grad():
            rounding = (single.differences(inputs) - exact).abs().max()
        if rounding <= AGREEMENT * exact.abs().max():  # False for NaN
            self.pair = single

    def _try(self, kinds: list[str], inputs: Tensor, keep: int) -> None:
        kinds = list(kinds)
        for part in self._parts(inputs):
            differences = self._differences(part).abs()
            tried = _Tried([kinds.pop(0) for _ in part], part, differences.amax(1))
            self.largest = torch.maximum(self.largest, differences.amax(0))
            self.found = (self.found + tried).worst(self.width * keep, apart=self.apart)
            own = [at for at, kind in enumerate(tried.kinds) if kind in RANDOM]
            self.random = (self.random + tried.chosen(own)).worst(1)

    def _shuffled(self, first: int, end: int) -> Tensor:
        return first + torch.randperm(end - first, generator=self.generator)

    def _noise(self, like: Tensor, size: float) -> Tensor:
        noise = torch.randn(like.shape, generator=self.generator, dtype=torch.float64)
        return size * noise.to(like.device)

    # Uphill.

    def climb(self, steps: int, first: float) -> None:
        """A step that gains nothing is undone, and the next is half as long."""
        if not steps:
            return
        at = self.found
        uphill, at.errors = self._uphill(at.inputs)
        length = torch.full_like(at.errors, first)
        for _ in range(steps):
            stuck = (uphill.flatten(1) == 0).all(1)
            step = _each(length, uphill) * self.domain.reach * uphill
            moved = self.domain.project(at.inputs + step)
            fresh = self.domain.uniform(len(moved), self.generator)
            moved = torch.where(_each(stuck, moved), fresh, moved)
            way, errors = self._uphill(moved)
            better = errors > at.errors
            pairs = zip((stuck & better).tolist(), at.kinds, strict=True)
            at.kinds = ["uniform" if new else kind for new, kind in pairs]
            at.inputs = torch.where(_each(better, moved), moved, at.inputs)
            at.errors = torch.where(better, errors, at.errors)
            uphill = torch.where(_each(better, moved), way, uphill)
            length = torch.where(better | stuck, length, length / 2)
            self.remember()

    def _uphill(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of the error's gradient, and the errors."""
        signs, errors = [], []
        for part in self._parts(inputs):
            gradient, differences = self._gradients(part)
            largest = differences.abs().argmax(1, keepdim=True)
            signs.append(gradient.sign() * _each(differences.gather(1, largest).sign(), gradient))
            errors.append(differences.abs().amax(1))
        return torch.cat(signs), torch.cat(errors)

    def hop(self, rounds: int, steps: int) -> None:
        """Noise on copies of the worst inputs, an ascent from there, and the worst of all stay."""
        self.found = self.found.worst(self.kept, apart=self.apart / 100)
        idle = 0
        for number in range(rounds if steps else 0):
            kept = self.found
            copies = kept.chosen(COPIES * list(range(len(kept.kinds))))
            noise = self._noise(copies.inputs, HOP * (1 - number / rounds))
            copies.inputs = self.domain.project(copies.inputs + self.domain.reach * noise)
            copies.errors.fill_(-1)
            self.found = copies
            try:
                self.climb(steps, AFTER_HOP)
            finally:
                self.found = (kept + self.found).worst(self.kept, apart=self.apart / 100)
            idle = idle + 1 if torch.equal(kept.errors, self.found.errors) else 0
            if idle == PATIENCE:
                self.stopped = "no gain"
                return

    def finish(self, steps: int) -> None:
        """The last ascent, in float64."""
        self.pair = self.exact
        self.found = self.found.worst(self.kept)
        self.climb(steps, LAST)

    def observation(self) -> Observation:
        """The worst input and the worst random one, each alone and in float64."""
        self.pair = self.exact
        last = self.found.worst(1 if self.stopped == "seconds" else KEPT) + self.random
        alone = last.inputs.split(1)
        last.errors = torch.cat([self._differences(one).abs().amax(1) for one in alone])
        worst = last.worst(1)
        with torch.no_grad():
            inward = error_inward(self.exact, worst.inputs, worst.errors.item())
        error, rounding, proven = inward
        self.evaluations += not proven  # in float32
        sampled = min(last.errors[-1].item(), error)
        between = [min(max(value, sampled), error) for value in self.history[:-1]]
        spent = time.monotonic() - self.began
        effort = Effort(self.evaluations, self.gradients, spent, self.stopped)
        history = (sampled, *between, error)
        at = worst.inputs.cpu()
        return Observation(error, sampled, at, worst.kinds[0], history, effort, rounding, proven)


def _size(inputs: Tensor) -> float:
    """Root mean square of all coordinates."""
    return inputs.square().mean().sqrt().item()


def _each(values: Tensor, inputs: Tensor) -> Tensor:
    """One value an input, to be combined with all of its coordinates."""
    return values.view(-1, *[1] * (inputs.dim() - 1))


def _checked_images(images: Tensor, one: Tensor) -> Tensor:
    wanted = tuple(one.shape[1:])
    if not isinstance(images, Tensor) or tuple(images.shape[1:]) != wanted or not len(images):
        came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise QnotesError(f"images must be a tensor of shape (images, *{wanted}); got {came}")
    if not torch.isfinite(plain("images", images)).all():
        raise QnotesError("images have values that are NaN or infinite")
    return images.detach()
