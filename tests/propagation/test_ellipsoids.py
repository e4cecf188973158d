"""T14: against matrices, the truth on tiny networks, and with broken verifications."""

import copy
import math
import operator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qnotes as qn
from qnotes.errors import NotVerified, UnsupportedOperation
from qnotes.propagation import certifying, ellipsoids
from qnotes.propagation import joint as joints
from qnotes.propagation.ellipsoids import (
    Diagonals,
    Ellipsoids,
    Needs,
    at_center,
    gradient_memory,
    needed_memory,
    tori,
)
from qnotes.propagation.joint import Joint, Member, verified_inverse
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.regions import checked_region
from qnotes.propagation.walk import walk
from tests.random_networks import ARCHITECTURES, Net, Residual, drawn

pytestmark = pytest.mark.medium

OPTIONS = {"method": "ellipsoids", "seconds": 0}


def random_joint(nodes: str, *, sides=(), channels=2, seed=0) -> Joint:
    """A joint ellipsoid of values on one torus, of a random matrix at each frequency."""
    generator = torch.Generator().manual_seed(seed)
    size = 2 * channels * len(nodes)
    members = {node: Member(tuple(sides), channels) for node in nodes}
    count = len(Joint(tuple(sides), members, torch.empty(0), True).frequencies)
    root = torch.randn(count, size, size, generator=generator, dtype=torch.float64)
    return Joint(tuple(sides), members, (root @ root.mT).to(torch.complex128), True)


def points(joint: Joint, count: int = 2000, seed: int = 1) -> torch.Tensor:
    """On the surface of an ellipsoid of one matrix, (points, rows)."""
    root = torch.linalg.cholesky(joint.matrix[0].real)
    generator = torch.Generator().manual_seed(seed)
    ball = torch.randn(count, len(root), generator=generator, dtype=torch.float64)
    return ball / ball.norm(dim=1, keepdim=True) @ root.T


def inside(joint: Joint, vectors: torch.Tensor) -> torch.Tensor:
    """x* Q^-1 x of each, which must not exceed 1."""
    return (vectors * torch.linalg.solve(joint.matrix[0].real, vectors.T).T).sum(1)


@pytest.mark.parametrize("seed", range(8))
def test_activations_stay_in_the_joint_ellipsoid(seed):
    """T14 (c, d), for the points of the ellipsoid and many slopes."""
    joint = random_joint("xz", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    diagonal = joint.matrix.real.sum() * torch.rand(2, 2, generator=generator).double().add(0.6)
    for factor in (1.0, 0.3, 0.1):
        found = joint.activated("y", "z", ["x"], factor * diagonal)
        if found is None:
            continue
        x = points(joint)
        slopes = torch.rand(len(x), 4, generator=generator).double().round(decimals=0)
        slopes[::2] = torch.rand(len(x[::2]), 4, generator=generator).double()
        both = torch.cat([x[:, :4], slopes * x[:, 4:]], 1)
        assert inside(found, both).max() <= 1
        assert inside(found, both).max() > 0.02


def test_a_diagonal_that_is_too_small_is_refused():
    joint = random_joint("xz")
    top = torch.linalg.eigvalsh(joint.block("z"))[0, -1].item()
    assert joint.activated("y", "z", ["x"], torch.full((2, 2), 0.51 * top).double()) is not None
    assert joint.activated("y", "z", ["x"], torch.full((2, 2), 0.49 * top).double()) is None


def test_a_wrong_inverse_is_refused_or_made_up_for(monkeypatch):
    gap = 2 * torch.eye(3, dtype=torch.complex128)[None]
    off = torch.zeros(1).double()
    right = torch.cholesky_inverse
    assert verified_inverse(gap, off)[0].real == pytest.approx(np.eye(3) / 2, abs=1e-12)
    monkeypatch.setattr(torch, "cholesky_inverse", lambda factor: 0.9 * right(factor))
    above = verified_inverse(gap, off)[0] - torch.eye(3) / 2
    assert torch.linalg.eigvalsh(above).min() >= 0  # still above the exact one
    monkeypatch.setattr(torch, "cholesky_inverse", lambda factor: 0.5 * right(factor))
    assert verified_inverse(gap, off) is None


def test_a_definiteness_that_is_not_verified_is_refused(monkeypatch):
    joint = random_joint("xz")
    diagonal = torch.full((2, 2), 1e3).double() * joint.matrix.real.abs().max()
    assert joint.activated("y", "z", ["x"], diagonal) is not None
    monkeypatch.setattr(joints, "verified_definite", lambda matrices, margin: False)
    assert joint.activated("y", "z", ["x"], diagonal) is None
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).double().eval()
    with pytest.raises(qn.QnotesError, match="could be verified"):
        qn.certify(network, network, input_shape=(1, 2), **OPTIONS)


@pytest.mark.parametrize("seed", range(4))
def test_linear_maps_and_known_vectors(seed):
    """T14 (a) and (b)."""
    joint = random_joint("x", seed=seed)
    matrix = torch.randn(1, 4, 4, dtype=torch.float64)
    made = joint.mapped(
        "y", Member((), 2), ["x"], ["x"], [matrix.to(torch.complex128)], [matrix.abs()], 1
    )
    x = points(joint)
    mapped = torch.cat([x, x @ matrix[0].T], 1)
    regular = made.matrix[0].real + 1e-9 * torch.eye(8)  # it has rank 4
    assert (mapped * torch.linalg.solve(regular, mapped.T).T).sum(1).max() <= 1 + 1e-6
    vector = torch.tensor([[0.0, 0.0, 1.0, -2.0]]).to(torch.complex128)
    moved = joint.plus("x", vector, torch.tensor(0.5).double()).blurred("x", 1e-6, 1e-3)
    assert inside(moved, x + vector.real).max() <= 1
    assert inside(moved, x + 1.001 * vector.real).max() <= 1.01


def test_a_coarser_torus_says_the_same():
    """Regrouping frequencies moves no number: peaks and lengths at fine resolution stay."""
    torch.manual_seed(0)
    joint = random_joint("xy", sides=(4, 6), channels=1)
    coarse = joint.coarser((2, 2))
    assert coarse.matrix.shape == (4, 24, 24)
    own = torch.linalg.eigvalsh(joint.matrix).max()
    assert torch.linalg.eigvalsh(coarse.matrix).max() == pytest.approx(own.item())
    energy = [
        (j.matrix.diagonal(dim1=1, dim2=2).real.sum(1) * j.multiplicity).sum().item()
        for j in (joint, coarse)
    ]
    assert energy[0] == pytest.approx(energy[1])


# ---------------------------------------------------------------- exact truth on tiny networks


def patterns_truth(network: nn.Module, changed: nn.Module, side: int = 41) -> float:
    """The largest |S - S'| over [-1, 1]², on a fine grid: it is piecewise linear."""
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    with torch.no_grad():
        inputs = torch.cartesian_prod(axis, axis)
        return (network(inputs) - changed(inputs)).abs().max().item()


def tiny(seed: int, *, skip: bool) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    body = Residual(body, nn.Identity(), nn.ReLU()) if skip else body
    network = nn.Sequential(body, nn.Linear(2, 1)).double().eval()
    changed = copy.deepcopy(network)
    for parameter in changed.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return network, changed


@pytest.mark.parametrize("skip", [False, True])
def test_near_the_truth_on_tiny_networks(skip):
    ratios = []
    for seed in range(12):
        network, changed = tiny(seed, skip=skip)
        found = qn.certify(network, changed, input_shape=(1, 2), method="ellipsoids", seconds=0.5)
        ratios.append(found.bound.max() / patterns_truth(network, changed))
    assert min(ratios) >= 1
    assert np.median(ratios) < 6


def test_a_skip_and_its_branch_cancel():
    """y = x - x/2: the triangle inequality says 3/2, the truth is 1/2."""
    branch = nn.Conv2d(1, 1, 1, bias=False)
    network = nn.Sequential(Residual(branch, nn.Identity(), nn.Identity())).double().eval()
    changed = copy.deepcopy(network)
    branch.weight.data.fill_(-0.5)
    changed[0].body.weight.data.fill_(-0.5)
    region = checked_region((1, 1, 3, 3), 1.0, None, None)
    pair = checked_pair(network, changed, input_shape=(1, 1, 3, 3), radius=1.0)
    domain = Ellipsoids(pair, region, at_center(pair, region), Diagonals())
    with torch.no_grad():
        for visit in walk(pair.operations, domain):
            _, node = visit.result, visit.operation.node
            moved = domain.joints[node].peaks(node)[0]
    assert moved.item() == pytest.approx(1.5, rel=1e-4)  # √9 · 1/2: the box in a ball


def test_a_convolution_of_size_1_that_pads_reads_zeros():
    """On the torus, what a convolution leaves beside its image would cancel the other branch."""
    network = Net(
        lambda s, x: s.padded(s.one(x)) + s.other(x),
        one=nn.Conv1d(1, 1, 2, bias=False),
        padded=nn.Conv1d(1, 1, 1, padding=1, bias=False),
        other=nn.Conv1d(1, 1, 2, padding=1, bias=False),
    ).double().eval()  # fmt: skip
    changed = copy.deepcopy(network)
    for net, weight in ((network, 1.0), (changed, 0.9)):
        for layer, sign in ((net.one, 1), (net.padded, 1 / weight), (net.other, -1)):
            layer.weight.data.fill_(sign * weight)
    x = torch.ones(1, 1, 2, dtype=torch.float64)
    error = (network(x) - changed(x)).abs().max().item()  # of the other branch, at the border
    assert error == pytest.approx(0.1)
    found = qn.certify(network, changed, input_shape=(1, 1, 2), **OPTIONS).bound
    assert error <= found.max() < 0.5


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_of_all_axes(axes):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1]
    torch.manual_seed(0)
    network = nn.Sequential(
        conv(1, 2, 3, padding=1, stride=2), nn.ReLU(), conv(2, 2, 2, dilation=1), pool(2, stride=1),
        nn.Flatten(), nn.Linear(2 * 2**axes, 2),
    ).double().eval()  # fmt: skip
    shape = (1, 1, *[7] * axes)
    changed = copy.deepcopy(network)
    for parameter in changed.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    found = qn.certify(network, changed, input_shape=shape, **OPTIONS).bound
    inputs = qn.random_inputs(shape, count=64, radius=1.0, seed=0).sign()
    with torch.no_grad():
        errors = (network(inputs) - changed(inputs)).abs().amax(0).numpy()
    assert (errors <= found).all()
    assert (found < 1e3 * errors).all()


def test_sides_are_divided_by_strides():
    network = nn.Sequential(
        nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 3, stride=3, padding=1)
    ).double().eval()  # fmt: skip
    pair = checked_pair(network, network, input_shape=(1, 1, 12, 12), radius=1.0)
    sides = list(tori(pair).values())
    assert sides[0][0] >= 13 and sides[0][0] == 2 * sides[1][0] == 6 * sides[2][0]


def test_images_made_smaller_in_different_ways_are_refused_by_name():
    network = Net(
        lambda s, x: s.a(x) + s.b(x),
        a=nn.Conv2d(1, 1, 1, stride=2),
        b=nn.Conv2d(1, 1, 2),
    ).double().eval()  # fmt: skip
    with pytest.raises(UnsupportedOperation, match=r"add: .*ellipsoids"):
        qn.certify(network, network, input_shape=(1, 1, 3, 3), **OPTIONS)
    assert qn.certify(network, network, input_shape=(1, 1, 3, 3)).bound.max() == 0


def test_more_seconds_are_never_worse_than_none():
    network, changed = tiny(3, skip=True)
    options = {"input_shape": (1, 2), "method": "ellipsoids"}
    bounds = [qn.certify(network, changed, **options, seconds=s).largest for s in (0, 0.5)]
    assert bounds[1] <= bounds[0] + 1e-9


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.Identity()])
def test_dropout_between_flattening_and_a_layer_changes_nothing(pool):
    """MobileNetV2 has one; what was flattened keeps the torus of its image."""
    torch.manual_seed(0)
    head = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU6(), pool, nn.Flatten()]
    last = nn.Linear(4 if isinstance(pool, nn.AdaptiveAvgPool2d) else 36, 3)
    found = []
    for middle in ([], [nn.Dropout()]):
        network = nn.Sequential(*head, *middle, last).double().eval()
        quantized = qn.quantize(network, bits=5).model
        found.append(qn.certify(network, quantized, input_shape=(1, 2, 3, 3), **OPTIONS))
    assert found[1].log10 == pytest.approx(found[0].log10, abs=1e-9)
    inputs = qn.random_inputs((1, 2, 3, 3), count=256)
    errors = qn.output_errors(network, quantized, inputs)
    assert errors.max().log10() <= found[1].largest


def through(forward, **modules) -> nn.Module:
    return Net(forward, **modules).eval()


AFTER = {
    "flatten": lambda: [nn.Flatten()],
    "dropout": lambda: [nn.Flatten(), nn.Dropout(), nn.Linear(27, 2)],
    "relu": lambda: [nn.Flatten(), nn.ReLU(), nn.Linear(27, 2)],
    "mean": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    "mean, kernel": lambda: [nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 2, 3, padding=1)],
    "mean, padding": lambda: [
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.ZeroPad2d((2, 1, 0, 1)), nn.Conv2d(3, 2, (2, 3))
    ],
    "sum": lambda: [
        through(
            lambda net, x: torch.flatten(net.layer(x), 1) + torch.flatten(x, 1),
            layer=nn.Conv2d(3, 3, 3, padding=1),
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("after", AFTER)
def test_flattened_images_and_means_go_on(after):
    """What follows a flatten or a global mean reads values that have a torus of their own."""
    torch.manual_seed(0)
    shape, network = (1, 2, 5, 5), nn.Sequential(nn.Conv2d(2, 3, 3), *AFTER[after]())
    folded = qn.fold(network.eval(), input_shape=shape)
    changed = qn.quantize(folded, bits=3).model
    found = qn.certify(folded, changed, input_shape=shape, **OPTIONS)
    inputs = torch.rand(4000, *shape[1:], dtype=torch.float64) * 2 - 1
    inputs[::2] = inputs[::2].sign()
    with torch.no_grad():
        errors = (folded(inputs) - changed(inputs)).abs().amax(0).numpy()
    assert (errors <= found.bound).all()
    assert found.bound.max() < 60 * errors.max()


@pytest.mark.parametrize(
    "network",
    [
        through(  # (2, 4) and (4, 2) have as many positions
            lambda net, x: torch.flatten(net.a(x), 1) + torch.flatten(net.b(x), 1),
            a=nn.Conv2d(1, 1, (3, 1)), b=nn.Conv2d(1, 1, (1, 3)),
        ),
        through(
            lambda net, x: torch.flatten(x, 1) + net.b(torch.flatten(x, 1)), b=nn.Linear(16, 16)
        ),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.MaxPool1d(2), nn.Linear(3, 2)),
        through(  # a mean over rows leaves an image of one axis
            lambda net, x: torch.cat([net.a(x.mean(2)), x.mean(2)], 1),
            a=nn.Conv1d(1, 1, 3, padding=1),
        ),
    ],
    ids=["sides", "vector", "pool over channels", "mean over rows"],
)  # fmt: skip
def test_what_has_no_torus_in_common_has_no_rule(network):
    folded = qn.fold(network.eval(), input_shape=(1, 1, 4, 4))
    quantized = qn.quantize(folded, bits=4).model
    with pytest.raises(UnsupportedOperation, match=r"(?i)ellipsoids ha|no rule in"):
        qn.certify(folded, quantized, input_shape=(1, 1, 4, 4), **OPTIONS)
    assert np.isfinite(qn.certify(folded, quantized, input_shape=(1, 1, 4, 4), seconds=0).largest)


@pytest.mark.parametrize("radius", [1e155, 1e300])
def test_squares_too_large_for_float64_are_left_to_the_others(radius):
    """Not NaN, nor an error of a library: T14 says why, and the best goes on without it."""
    folded = qn.fold(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval())
    pair = (folded, qn.quantize(folded, bits=4).model)
    with pytest.raises(NotVerified, match="too large for float64"):
        qn.certify(*pair, input_shape=(1, 3), radius=radius, **OPTIONS)
    options = {"input_shape": (1, 3), "radius": radius}
    best = qn.certify(*pair, seconds=0, **options).largest
    assert best <= qn.certify(*pair, method="channels", **options).largest


def test_matrices_that_no_memory_holds_are_refused_before_they_are_made():
    """A real network on real images: T14 says what it would need, and the best names it."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 96, 1), nn.ReLU(), nn.Conv2d(96, 96, 1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)).eval()
    pair, shape = (qn.fold(network), qn.quantize(qn.fold(network), bits=4).model), (1, 1, 128, 128)
    with pytest.raises(NotVerified, match=r"^2: ellipsoids need about 20.4 GB here"):
        qn.certify(*pair, input_shape=shape, method="ellipsoids")
    best = qn.certify(*pair, input_shape=shape)
    assert "memory=8e+09" in best.left_out["ellipsoids"] and np.isfinite(best.largest)


def needs_and_matrices(network, shape):
    """What is foretold of each operation's joint matrix, and what it has."""
    pair = checked_pair(network, network, input_shape=shape, radius=1.0)
    region = checked_region(shape, 1.0, None, None)
    domain = Ellipsoids(pair, region, at_center(pair, region), Diagonals())
    for visit, own in zip(
        walk(pair.operations, domain), walk(pair.operations, Needs(pair)), strict=True
    ):
        foretold, _ = own.result, visit.result
        joint = domain.joints[visit.operation.node]
        parts = [joint.matrix] if isinstance(joint, Joint) else [joint.own, joint.factor]
        found = sum(part[0].numel() for part in parts) * (math.prod(joint.sides) // 2 + 1)
        yield visit.operation.name, foretold, found


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_is_needed_is_known_before(kind):
    """Nothing alive is forgotten; where two ellipsoids become one, what is read is counted too."""
    for seed in range(6):
        network, _, shape, _ = drawn(kind, seed, "certify ")
        with torch.no_grad():
            names, foretold, found = zip(*needs_and_matrices(network, shape), strict=True)
        assert all(map(operator.ge, foretold, found)), (seed, names)
        assert max(foretold) <= 9 * max(found), seed


@pytest.mark.parametrize("kind", ["convolutional", "residual"])
def test_a_few_frequencies_at_a_time_say_the_same(kind, monkeypatch):
    for seed in range(6):
        network, changed, shape, radius = drawn(kind, seed, "parts ")
        options = {"input_shape": shape, "radius": radius, **OPTIONS}
        whole = qn.certify(network, changed, **options)
        monkeypatch.setattr(joints, "PART", 1)
        parts = qn.certify(network, changed, **options)
        monkeypatch.undo()
        assert parts.bound == pytest.approx(whole.bound, rel=1e-9)


def test_memory_is_kept(monkeypatch):
    """Less of it, and T14 finds no diagonals; still less, and it has no bound; T15 goes on."""
    descents = []
    monkeypatch.setattr(certifying, "_descend", lambda *given: descents.append(given))
    torch.manual_seed(0)
    middle = [layer for _ in range(8) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(nn.Conv2d(1, 3, 1), *middle, nn.Conv2d(3, 1, 3)).eval()
    networks = (network, qn.quantize(network, bits=3).model)
    pair = checked_pair(*networks, input_shape=(1, 1, 6, 6), radius=0.3)
    least = max(needed for _, needed in needed_memory(pair))
    most = gradient_memory(pair, certifying.SECOND)
    assert least < most
    options = {"center": torch.zeros(1, 1, 6, 6), "radius": 0.3, "seconds": 0.1}
    assert "ellipsoids" in qn.certify(*networks, **options, memory=most).said and descents
    descents.clear()
    assert "ellipsoids" in qn.certify(*networks, **options, memory=least).said and not descents
    none = qn.certify(*networks, **options, memory=least - 1)
    assert "ellipsoids" in none.left_out and "affine" in none.said
    with pytest.raises(qn.QnotesError, match="memory must be a positive number of bytes"):
        qn.certify(*networks, **options, memory=0)


@pytest.mark.parametrize("seconds", [0, 0.5])
@pytest.mark.parametrize(
    "network",
    [
        through(  # as in ResNets, one ReLU serves values of 5 and of 2 channels
            lambda net, x: net.relu(net.last(net.relu(net.first(x))) + x),
            relu=nn.ReLU(), first=nn.Conv2d(2, 5, 1), last=nn.Conv2d(5, 2, 1),
        ),
        through(  # layers on images of several sizes
            lambda net, x: net.a(net.b(net.a(x) + x)) + net.b(net.a(net.a(x) + x)),
            a=nn.Conv2d(2, 2, 3, padding=1), b=nn.Conv2d(2, 2, 3, stride=2, padding=1),
        ),
    ],
    ids=["activation", "layers"],
)  # fmt: skip
def test_a_module_may_be_called_at_several_nodes(network, seconds):
    folded = qn.fold(network, input_shape=(1, 2, 4, 4))
    changed = qn.quantize(folded, bits=3).model
    options = {**OPTIONS, "seconds": seconds}
    found = qn.certify(folded, changed, input_shape=(1, 2, 4, 4), **options)
    inputs = torch.rand(2000, 2, 4, 4, dtype=torch.float64) * 2 - 1
    inputs[::2] = inputs[::2].sign()
    with torch.no_grad():
        errors = (folded(inputs) - changed(inputs)).abs().amax(0).numpy()
    assert (errors <= found.bound).all()


@pytest.mark.parametrize("network", [[nn.Linear(2, 3, bias=False)], [nn.Linear(2, 3)]])
def test_a_network_without_free_numbers_needs_no_time(network):
    """Layers without activations: there may be nothing that a gradient could move."""
    folded = qn.fold(nn.Sequential(*network, nn.Linear(3, 2, bias=False)).eval())
    changed = qn.quantize(folded, bits=3).model
    options = {"input_shape": (1, 2), "method": "ellipsoids"}
    found = qn.certify(folded, changed, seconds=0.2, **options)
    assert found.largest <= qn.certify(folded, changed, seconds=0, **options).largest + 1e-12


class Projected(nn.Module):
    """A residual block whose skip is projected, after a block whose skip is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.same = nn.Conv2d(2, 2, 3, padding=1)
        self.body = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        self.last = nn.Conv2d(3, 3, 3, padding=1)
        self.skip = nn.Conv2d(2, 3, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        h = torch.relu(h + self.same(h))
        return self.last(torch.relu(self.body(h))) + self.skip(h)


def test_a_projection_comes_at_once(monkeypatch):
    """It reads what the branch reads, which can be forgotten then; the bound is about the same."""
    torch.manual_seed(0)
    network = Projected().double().eval()
    networks, shape = (network, qn.quantize(network, bits=3).model), (1, 1, 6, 6)
    pair = checked_pair(*networks, input_shape=shape, radius=1.0)
    named = [operation.name for operation in ellipsoids.thrifty(pair).operations]
    assert named.index("skip") == named.index("body") + 1
    assert sorted(named) == sorted(operation.name for operation in pair.operations)
    assert named.index("same") == named.index("first") + 2  # an addition reads it again, last
    found = qn.certify(*networks, input_shape=shape, **OPTIONS)
    monkeypatch.setattr(certifying, "thrifty", lambda pair: pair)
    assert found.log10 == pytest.approx(
        qn.certify(*networks, input_shape=shape, **OPTIONS).log10, abs=1e-3
    )
