"""T14 where values are wide: A + B B* against whole matrices, and against sampled errors."""

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.errors import NotVerified
from qnotes.propagation import ellipsoids, joint
from qnotes.propagation.factored import Factored, factored
from qnotes.propagation.joint import Joint, Member, hermitian
from tests.propagation.test_ellipsoids import needs_and_matrices
from tests.random_networks import Residual, change_weights, draw_weights, hard_inputs

pytestmark = pytest.mark.medium

SIDES = (3, 2)


def complex_normal(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.complex128)


def narrow(seed: int, sides=SIDES) -> Joint:
    """Values x and y of two channels each in one ellipsoid."""
    members = {node: Member(sides, 2) for node in "xy"}
    count = len(Joint(sides, members, torch.empty(0), True).frequencies)
    root = complex_normal(count, 8, 8, seed=seed)
    return Joint(sides, members, root @ root.mH, True)


def both_forms(seed: int, sides=SIDES) -> tuple[Joint, Factored]:
    """With a value z of seven channels, made of y."""
    start, member = narrow(seed, sides), Member(sides, 7)
    matrix = complex_normal(len(start.matrix), 14, 4, seed=seed + 100)
    whole = start.mapped("z", member, ["y"], ["x"], [matrix], [matrix.abs()], 4)
    return whole, factored(start, "z", member, "y", ["x"], matrix, matrix.abs(), 4)


def check_same(whole: Joint, parts: Factored, slack: float = 1e-6) -> None:
    assert list(whole.members) == list(parts.members)
    found = parts.solid().matrix
    roots = whole.matrix.diagonal(dim1=1, dim2=2).real.sqrt()
    off = (found - whole.matrix).abs() / (roots[:, :, None] * roots[:, None])
    assert off.max() < slack
    assert parts.peaks("z") == pytest.approx(whole.peaks("z"), rel=slack)
    assert (parts.lengths("z") >= 0.999999 * exact_lengths(whole)).all()


def exact_lengths(whole: Joint) -> torch.Tensor:
    block = whole.block("z").view(len(whole.matrix), 2, 7, 2, 7)
    return torch.stack([
        torch.linalg.eigvalsh(block[:, part, :, part])[:, -1].max().sqrt() for part in (0, 1)
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_each_step_is_that_of_whole_matrices(seed):
    """A wide layer, a known vector, an activation, a depthwise one, an activation, a narrow one."""
    whole, parts = both_forms(seed)
    check_same(whole, parts)
    vector, share = complex_normal(len(whole.matrix), 14, seed=seed), torch.tensor(0.1).double()
    whole, parts = (j.plus("z", vector, share).blurred("z", 1e-3, 1e-4) for j in (whole, parts))
    check_same(whole, parts)
    for name in "ab":
        shape = whole.numbers("z").amax((0, 1))
        assert parts.top("z", shape).item() == pytest.approx(whole.top("z", shape).item(), rel=1e-6)
        diagonal = shape * whole.top("z", shape) * 0.8
        whole, parts = (j.activated(name, "z", ["x"], diagonal) for j in (whole, parts))
        whole, parts = (j.renamed("z", name) for j in (whole, parts))
        check_same(whole, parts)
        if name == "a":
            blocks = complex_normal(len(whole.matrix), 1, 7, 2, 2, seed=seed + 7)
            matrix = torch.zeros(len(blocks), 2, 7, 2, 7, dtype=torch.complex128)
            for channel in range(7):
                matrix[:, :, channel, :, channel] = blocks[:, 0, channel]
            matrix, member = matrix.view(-1, 14, 14), whole.members["z"]
            whole = whole.mapped("d", member, ["z"], ["x"], [matrix], [matrix.abs()], 9)
            parts = parts.filtered("d", member, "z", ["x"], blocks, blocks.abs(), 9)
            whole, parts = (j.renamed("z", "d") for j in (whole, parts))
            check_same(whole, parts)
    matrix = complex_normal(1, 4, 14, seed=seed + 9)
    maps = ("n", Member(SIDES, 2), ["z"], ["x"], [matrix], [matrix.abs()], 14)
    ends = [j.mapped(*maps).matrix for j in (whole, parts)]
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6 * ends[0].abs().max().item())


def test_a_stride_sums_over_frequencies_that_become_one():
    sides, coarse = (4, 2), (2, 1)
    whole, parts = both_forms(3, sides)
    whole, parts = whole.only(["z"]), parts.only(["z"])
    real = torch.randn(7, 2, 2, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    moved, member = whole.coarser(coarse), Member(coarse, 7)
    # A symbol of real weights: that of -ω is the conjugate of that of ω.
    angles = moved.aliases(sides).double() @ torch.tensor([1.1, 0.3]).double()
    angles = torch.where((moved.aliases(sides) % 2 == 0).all(-1), 0, angles)
    blocks = real.mean((1, 2)) * torch.polar(torch.ones_like(angles), angles)[..., None, None, None]
    matrix = torch.zeros(len(blocks), 2, 7, 4, 2, 7, dtype=torch.complex128)
    for channel in range(7):
        matrix[:, :, channel, :, :, channel] = blocks[:, :, channel].transpose(1, 2)
    matrix = matrix.reshape(len(blocks), 14, -1)
    whole = moved.mapped("d", member, ["z"], [], [matrix], [matrix.abs()], 9)
    parts = parts.filtered("d", member, "z", [], blocks, blocks.abs(), 9)
    check_same(whole.renamed("z", "d"), parts.renamed("z", "d"))


def test_what_is_not_verified_is_refused(monkeypatch):
    whole, parts = both_forms(0)
    shape = whole.numbers("z").amax((0, 1))
    top = whole.top("z", shape)
    assert parts.activated("a", "z", ["x"], 0.51 * top * shape) is not None
    assert parts.activated("a", "z", ["x"], 0.49 * top * shape) is None
    solve = torch.linalg.solve_triangular
    monkeypatch.setattr(torch.linalg, "solve_triangular", lambda *a, **k: 0.9 * solve(*a, **k))
    wrong = parts.activated("a", "z", ["x"], top * shape)  # made up for
    monkeypatch.undo()
    right = parts.activated("a", "z", ["x"], top * shape)
    if wrong is not None:
        assert torch.linalg.eigvalsh(hermitian(wrong.solid().matrix - right.solid().matrix)).min() \
            > -1e-9  # fmt: skip
    monkeypatch.setattr(torch.linalg, "solve_triangular", lambda *a, **k: 0.5 * solve(*a, **k))
    assert parts.activated("a", "z", ["x"], top * shape) is None
    monkeypatch.undo()
    monkeypatch.setattr(joint, "verified_definite", lambda matrices, margin: False)
    assert parts.activated("a", "z", ["x"], top * shape) is None


@pytest.mark.parametrize("wrong", [0.999, 1.001])
def test_a_factor_is_multiplied_out(monkeypatch, wrong):
    """Cholesky's own word is not taken for it, neither at first nor in an activation."""
    start, (_, parts) = narrow(0), both_forms(0)
    shape = parts.numbers("z").amax((0, 1))
    top = parts.top("z", shape)
    decompose = torch.linalg.cholesky_ex

    def off(matrix):
        lower, failed = decompose(matrix)
        return wrong * lower, failed

    monkeypatch.setattr(torch.linalg, "cholesky_ex", off)
    assert parts.activated("a", "z", ["x"], top * shape) is None
    matrix = complex_normal(len(start.matrix), 14, 4, seed=1)
    with pytest.raises(NotVerified, match="could not be factored"):
        factored(start, "z", Member(SIDES, 7), "y", ["x"], matrix, matrix.abs(), 4)


@pytest.mark.parametrize("seed", range(3))
def test_an_activation_of_what_is_read_again(seed):
    """z and σ(z) have A in common, not only B."""
    whole, parts = both_forms(seed)
    shape = whole.numbers("z").amax((0, 1))
    diagonal = shape * whole.top("z", shape)
    whole, parts = (j.activated("a", "z", ["x"], diagonal) for j in (whole, parts))
    whole, parts = (j.renamed("z", "a") for j in (whole, parts))
    assert parts.own.abs().max() > 0.1  # A is not only rounding
    shape = whole.numbers("z").amax((0, 1))
    diagonal = shape * whole.top("z", shape)
    whole, parts = (j.activated("a", "z", ["x", "z"], diagonal) for j in (whole, parts))
    check_same(whole, parts)


def test_rounding_is_made_up_for():
    """What is said with rounding is above what is said without."""
    whole, parts = both_forms(1)
    shape = whole.numbers("z").amax((0, 1))
    diagonal = shape * whole.top("z", shape)
    loose = replace(parts, exact=False).activated("a", "z", ["x"], diagonal)
    tight = parts.activated("a", "z", ["x"], diagonal)
    gap = hermitian(tight.solid().matrix - loose.solid().matrix)
    scale = torch.linalg.eigvalsh(loose.solid().matrix)[:, -1].max()
    assert torch.linalg.eigvalsh(gap).min() > -1e-13 * scale


# ---------------------------------------------------------------- networks


def inverted(rng: random.Random, channels: int, out: int, stride: int, bias: bool) -> nn.Module:
    wide, kernel = channels * rng.choice([3, 6]), rng.choice([3, 3, 5])
    body = nn.Sequential(
        nn.Conv2d(channels, wide, 1, bias=bias), nn.ReLU6(),
        nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=bias), nn.ReLU6(),
        nn.Conv2d(wide, out, 1, bias=bias),
    )  # fmt: skip
    return Residual(body, nn.Identity(), nn.Identity()) if stride == 1 and out == channels else body


def mobile(rng: random.Random, bias: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """A small MobileNetV2: a stem, inverted residuals with and without skips, a wide end."""
    channels = rng.randint(1, 3)
    shape = (1, rng.randint(1, 2), rng.randint(4, 7), rng.randint(4, 7))
    layers = [nn.Conv2d(shape[1], 4 * shape[1], 3, rng.choice([1, 2]), 1, bias=bias), nn.ReLU6()]
    layers += [nn.Conv2d(4 * shape[1], channels, 1, bias=bias)]
    for _ in range(rng.randint(1, 3)):
        out = rng.choice([channels, rng.randint(1, 3)])
        layers.append(inverted(rng, channels, out, rng.choice([1, 1, 2]), bias))
        channels = out
    layers += [nn.Conv2d(channels, 5 * channels, 1, bias=bias), nn.ReLU6()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(5 * channels, 2)]
    return nn.Sequential(*layers), shape


def drawn(seed: int):
    rng = random.Random(f"mobile {seed}")
    torch.manual_seed(seed)
    network, shape = mobile(rng, rng.random() < 0.7)
    network = network.double().eval()
    draw_weights(rng, network)
    return rng, network, change_weights(rng, network), shape


@pytest.mark.parametrize("seed", range(12))
def test_inverted_residuals_stay_below(seed):
    rng, network, changed, shape = drawn(seed)
    radius = rng.choice([0.1, 1.0])
    inputs = hard_inputs(shape, radius, seed)
    center = torch.zeros(1, *shape[1:], dtype=torch.float64)
    region = {"input_shape": shape} if seed % 2 else {"center": center}
    found = qn.certify(
        network, changed, **region, radius=radius, method="ellipsoids", seconds=0.2 * (seed % 3)
    )
    with torch.no_grad():
        errors = (network(inputs) - changed(inputs)).abs().amax(0).numpy()
    assert (errors <= found.bound.reshape(errors.shape) * (1 + 1e-9) + 1e-12).all()


class ReadAgain(nn.Module):
    """A wide value h, and h + σ(h): at x = 1 with ones for weights, twice the width."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(1, 8, 1, bias=False), nn.Conv2d(8, 1, 1, bias=False)
        self.first, self.second = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        h = self.first(self.wide(x))
        return self.narrow(h + self.second(h))


@pytest.mark.parametrize("seconds", [0, 0.3])
@pytest.mark.parametrize("method", ["ellipsoids", "best"])
def test_a_wide_value_that_is_read_again(method, seconds):
    network = ReadAgain().double().eval()
    changed = ReadAgain().double().eval()
    for module, value in ((network, 1.0), (changed, 0.0)):
        module.wide.weight.data.fill_(value)
        module.narrow.weight.data.fill_(1.0)
    shape = (1, 1, 1, 1)
    found = qn.certify(network, changed, input_shape=shape, method=method, seconds=seconds)
    assert found.bound.item() >= 16  # the error at x = 1
    for name, foretold, needed in needs_and_matrices(network, shape):
        assert foretold >= needed, name


@pytest.mark.parametrize("seed", range(4))
def test_both_forms_say_the_same_of_a_network(seed, monkeypatch):
    """With whole matrices, and the same diagonals."""
    _, network, changed, shape = drawn(seed)
    options = {"input_shape": shape, "method": "ellipsoids", "seconds": 0}
    first = qn.certify(network, changed, **options)
    monkeypatch.setattr(ellipsoids, "WIDE", 1e9)
    second = qn.certify(network, changed, **options, diagonals=first.diagonals)
    assert first.log10 == pytest.approx(second.log10, abs=0.2)


def test_far_below_spectral_norms():
    """Six inverted residuals: T14 is decades below T11."""
    torch.manual_seed(0)
    rng = random.Random(0)
    body = [inverted(rng, 3, 3, 1, True) for _ in range(6)]
    network = nn.Sequential(nn.Conv2d(1, 3, 1), *body).double().eval()
    changed = qn.quantize(network, bits=6).model
    said = [
        qn.certify(network, changed, input_shape=(1, 1, 6, 6), method=method, seconds=0).largest
        for method in ("ellipsoids", "euclidean")
    ]
    assert said[0] < said[1] - 1


@pytest.mark.parametrize("seed", range(6))
def test_what_is_needed_is_known_before(seed):
    _, network, _, shape = drawn(seed)
    with torch.no_grad():
        for name, foretold, found in needs_and_matrices(network, shape):
            assert foretold >= found, name
