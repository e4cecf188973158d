"""The search for the input with the largest error: a lower bound for E."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from qnotes.errors import QnotesError
from qnotes.observation.domain import Domain, make_domain
from qnotes.observation.measured import BATCH

#: First step of the ascent, in parts of the way from the middle of the domain to its side.
FIRST = 0.25
#: How many output coordinates, those with the largest errors, get a corner of their own.
OUTPUTS = 32


@dataclass(frozen=True)
class Observation:
    """The worst input that a search found.

    Attributes:
        error: largest distance of the outputs, in the maximum norm; a lower bound for E.
        sampled: the same for the random inputs alone, before the ascent.
        input: the input that reaches `error`, of shape (1, ...), float64, on the CPU.
        start: where the ascent to it began: ``uniform``, ``corner``, ``patches`` or
            ``linear corner``; ``plain -1``, ``plain 0``, ``plain 1`` for the lowest, the middle and
            the highest input; ``image 0`` for the first image.
        history: largest error of the random inputs, then of all starts, then after each step.
    """

    error: float
    sampled: float
    input: Tensor
    start: str
    history: tuple[float, ...]


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
    starts: int = 8,
    steps: int = 40,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Observation:
    """Search for the input with the largest error: a lower bound for E.

    The domain is [-radius, radius]^N_0, or the ball around `center` in the maximum norm. Random
    points are tried first, then the lowest, middle and highest input and the given images; and for
    single outputs the corner that would be the worst if both networks were linear. From the largest
    errors of each kind on: ascent along the sign of the error's gradient, projected onto the
    domain; a step that gains nothing is undone, and the next is half as long. A start without a
    gradient, where units are dead, goes on from a new random point.

    On each of the digits networks, at 4 and at 8 bits, the error found is at least 1.5 times the
    largest of the random inputs, and mostly three times; for one affine layer of at most 32 outputs
    it is the largest there is.

    Networks run as copies in float64: in float32, rounding alone can exceed a bound.

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
        starts: how many inputs go on, the worst of each kind.
        steps: of the ascent.
        seed: of the random inputs.
        device: where the copies run; by default on a CUDA device if there is one, else where the
            network is.
        progress: show a bar.

    Raises:
        QnotesError: for options that cannot be used, networks in training mode, an input shape
            that a network cannot take, or outputs that are not finite.
    """
    for name, value in {"samples": samples, "starts": starts, "steps": steps, "seed": seed}.items():
        least = 0 if name in ("steps", "seed") else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise QnotesError(f"{name} must be a whole number, {least} or larger; got {value!r}")
    domain = make_domain(input_shape, radius, center, box)
    place = _device(network, device)
    search = _Search(_difference(network, quantized, place), domain.to(place), samples, seed)
    search.add_given_inputs(images)
    search.add_linear_corners(starts)
    search.begin(starts)
    for _ in tqdm(range(steps), desc="observe", disable=not progress, leave=False):
        search.step()
    return search.observation()


def _device(network: nn.Module, device: str | torch.device | None) -> torch.device:
    if device is None:
        own = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        return torch.device("cuda") if torch.cuda.is_available() else own
    try:
        place = torch.device(device)
        torch.zeros(1, dtype=torch.float64, device=place)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise QnotesError(f"device={device!r} cannot compute in float64 here: {error}") from error
    return place


def _difference(
    network: nn.Module, quantized: nn.Module, place: torch.device
) -> Callable[[Tensor], Tensor]:
    """The difference of the two outputs as a function of inputs, a row an input."""
    for name, net in (("network", network), ("quantized network", quantized)):
        if net.training:
            raise QnotesError(f"the {name} is in training mode; call .eval() on it first")
    ours, theirs = (
        copy.deepcopy(net).to(place, torch.float64).requires_grad_(False)
        for net in (network, quantized)
    )

    def difference(inputs: Tensor) -> Tensor:
        try:
            # Copies, since a network may overwrite its input.
            mine, its = ours(inputs.clone()), theirs(inputs.clone())
        except RuntimeError as error:
            raise QnotesError(
                f"a network cannot take inputs of shape {tuple(inputs.shape)}: {error}"
            ) from error
        if mine.shape != its.shape or len(mine) != len(inputs):
            raise QnotesError(
                f"outputs of shapes {tuple(mine.shape)} and {tuple(its.shape)} for "
                f"{len(inputs)} inputs; expected equal ones, a row an input"
            )
        found = (mine - its).flatten(1)
        if not torch.isfinite(found).all():
            raise QnotesError("the outputs are too large for float64 somewhere in the domain")
        return found

    return difference


class _Search:
    """Inputs that were tried, the worst so far, and the ascent from several of them at once.

    Attributes:
        kinds: where each input comes from.
        inputs: of shape (inputs, ...).
        differences: of the outputs, a row an input.
        history: largest error after each round.
    """

    def __init__(self, difference, domain: Domain, samples: int, seed: int) -> None:
        self.difference: Callable[[Tensor], Tensor] = difference
        self.domain = domain
        self.generator = torch.Generator().manual_seed(seed)
        drawn = domain.random(samples, self.generator)
        self.kinds = [kind for kind, inputs in drawn.items() for _ in inputs]
        self.inputs = torch.cat(list(drawn.values()))
        self.differences = self._measured(self.inputs)
        self.history: list[float] = []
        self._remember()

    @property
    def errors(self) -> Tensor:
        return self.differences.abs().amax(1)

    def observation(self) -> Observation:
        sampled, *_, error = self.history
        return Observation(error, sampled, self.worst.cpu(), self.start, tuple(self.history))

    def _remember(self) -> None:
        at = int(self.errors.argmax())
        error = self.errors[at].item()
        if not self.history or error > self.history[-1]:
            self.start, self.worst = self.kinds[at], self.inputs[at : at + 1].clone()
        self.history.append(max([error, *self.history[-1:]]))

    # Where to start.

    def add_given_inputs(self, images: Tensor | None) -> None:
        """The lowest, the middle and the highest input, and images."""
        low, high = self.domain.low, self.domain.high
        inputs = [low, self.domain.placed(torch.zeros_like(low)), high]
        kinds = ["plain -1", "plain 0", "plain 1"]
        if images is not None:
            inputs.append(self.domain.project(_checked_images(images, low).to(low)))
            kinds += [f"image {number}" for number in range(len(images))]
        self._add(kinds, torch.cat(inputs))

    def add_linear_corners(self, batch: int) -> None:
        """For single outputs the two corners that would be worst if the networks were linear."""
        largest = self.differences.abs().amax(0)
        outputs = largest.topk(min(OUTPUTS, len(largest))).indices
        worst = self.inputs[self.errors.argmax()]
        gradients = [
            self._gradient(worst.expand(len(part), *worst.shape), part)[0]
            for part in outputs.split(batch)
        ]
        signs = torch.cat(gradients).sign()
        corners = self.domain.placed(torch.cat([signs, -signs]))
        self._add(["linear corner"] * len(corners), corners)

    def _add(self, kinds: list[str], inputs: Tensor) -> None:
        self.kinds += kinds
        self.inputs = torch.cat([self.inputs, inputs])
        self.differences = torch.cat([self.differences, self._measured(inputs)])

    @torch.no_grad()
    def _measured(self, inputs: Tensor) -> Tensor:
        return torch.cat([self.difference(part) for part in inputs.split(BATCH)])

    # Uphill.

    def begin(self, starts: int) -> None:
        """Go on with the worst input of each kind, the second of each kind, and so on."""
        seen: Counter[str] = Counter()
        ranked = []
        for place, index in enumerate(self.errors.argsort(descending=True).tolist()):
            kind = self.kinds[index].rstrip("-0123456789")
            ranked.append((seen[kind], place, index))
            seen[kind] += 1
        chosen = [index for *_, index in sorted(ranked)[:starts]]
        self.kinds = [self.kinds[index] for index in chosen]
        self.inputs, self.differences = self.inputs[chosen], self.differences[chosen]
        self.uphill = _uphill(*self._gradient(self.inputs))
        self.length = torch.full_like(self.errors, FIRST)
        self._remember()

    def step(self) -> None:
        """A step that gains nothing is undone, and the next is half as long."""
        stuck = (self.uphill.flatten(1) == 0).all(1)
        inputs = self.inputs + self._each(self.length) * self.domain.reach * self.uphill
        fresh = self.domain.uniform(len(inputs), self.generator)
        inputs = torch.where(self._each(stuck), fresh, self.domain.project(inputs))
        gradient, differences = self._gradient(inputs)
        better = differences.abs().amax(1) > self.errors
        pairs = zip((stuck & better).tolist(), self.kinds, strict=True)
        self.kinds = ["uniform" if new else kind for new, kind in pairs]
        self.inputs = torch.where(self._each(better), inputs, self.inputs)
        self.differences = torch.where(better[:, None], differences, self.differences)
        self.uphill = torch.where(self._each(better), _uphill(gradient, differences), self.uphill)
        self.length = torch.where(better | stuck, self.length, self.length / 2)
        self._remember()

    def _each(self, values: Tensor) -> Tensor:
        """One value an input, to be combined with all of its coordinates."""
        return values.view(-1, *[1] * (self.domain.low.dim() - 1))

    def _gradient(self, inputs: Tensor, outputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gradient of one output's difference for each input, and all differences.

        One output, by default the one that differs most: where two differ alike, the gradient of
        their maximum may cancel out.
        """
        inputs = inputs.clone().requires_grad_()
        with torch.enable_grad():
            differences = self.difference(inputs)
            outputs = differences.abs().argmax(1) if outputs is None else outputs
            chosen = differences.gather(1, outputs[:, None])
            if not chosen.requires_grad:  # the outputs do not depend on the input
                return torch.zeros_like(inputs), differences
            (gradient,) = torch.autograd.grad(chosen.sum(), inputs)
            return gradient, differences.detach()


def _uphill(gradient: Tensor, differences: Tensor) -> Tensor:
    """Signs of the error's gradient, from the gradient of the output that differs most."""
    side = differences.gather(1, differences.abs().argmax(1, keepdim=True)).sign()
    return gradient.sign() * side.view(-1, *[1] * (gradient.dim() - 1))


def _checked_images(images: Tensor, one: Tensor) -> Tensor:
    wanted = tuple(one.shape[1:])
    if not isinstance(images, Tensor) or tuple(images.shape[1:]) != wanted or not len(images):
        came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise QnotesError(f"images must be a tensor of shape (images, *{wanted}); got {came}")
    if not torch.isfinite(images).all():
        raise QnotesError("images have values that are NaN or infinite")
    return images.detach()
