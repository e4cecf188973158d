"""The walk: each domain on each structure, against what torch computes where nothing is lost.

With positive weights and inputs no summand cancels another. Where all positions of an image look
alike too, T8 is the truth; where all channels do, T2 is.
"""

import copy
import gc
import math
import random
import weakref
from fractions import Fraction

import pytest
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

import qnotes as qn
from qnotes.networks.operations import AFFINE, INPUT, KINDS, OUTPUT, SUM, Operation, operations
from qnotes.networks.tracing import trace
from qnotes.propagation.chain import chain
from qnotes.propagation.channels import Channels, vector_bound
from qnotes.propagation.norms import Norms, relu6_bounds
from qnotes.propagation.pair import checked_pair, matched
from qnotes.propagation.shapes import Shapes, shapes_of
from qnotes.propagation.values import Values, watched
from qnotes.propagation.walk import Bounds, Domain, ErrorDomain, propagate, walk
from tests.random_networks import Net, Residual
from tests.random_profiles import random_profile
from tests.sizes import read_sizes

IMAGE = (1, 2, 6, 6)


def conv(channels: int, out: int, kernel: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, **options)


def plain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def twice(s, x):
    return s.a(torch.relu(s.a(x)))


def added_to_itself(s, x):
    y = torch.relu(s.a(x))
    y = y + s.a(y)
    return y + y


#: Each structure: a network, and the names of the layers of its chain.
STRUCTURES = {
    "chain": (
        lambda: plain(conv(2, 3, 2), nn.ReLU(), conv(3, 2, 3), nn.Dropout(), conv(2, 2)),
        ["0", "2", "4"],
    ),
    "skip": (
        lambda: plain(
            Residual(plain(conv(2, 3), nn.ReLU(), conv(3, 2)), nn.Identity(), nn.ReLU()),
            conv(2, 3, 2),
        ),
        ["0.body.0", "0.body.2", "1"],
    ),
    "projection": (
        lambda: Residual(plain(conv(2, 3, 2), nn.ReLU(), conv(3, 4, 2)), conv(2, 4, 3), nn.ReLU()),
        ["body.0", "body.2 + skip"],
    ),
    "pools": (
        lambda: plain(
            conv(2, 3), nn.MaxPool2d(2), conv(3, 2), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(1)
        ),
        ["0", "2"],
    ),
    "flatten": (
        lambda: plain(conv(2, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2)),
        ["0", "3"],
    ),
    "relu6": (
        lambda: plain(conv(2, 3), nn.ReLU6(), conv(3, 2, 2), nn.ReLU6(), conv(2, 3)),
        ["0", "2", "4"],
    ),
    "depthwise": (
        lambda: plain(conv(2, 4, 2, groups=2), nn.ReLU(), conv(4, 8, 3, groups=4), conv(8, 2)),
        ["0", "2", "3"],
    ),
    "shared": (lambda: Net(twice, a=conv(2, 2)), ["a", "a"]),
    "sum": (lambda: Net(added_to_itself, a=conv(2, 2)), ["a", "a + a"]),
}


def built(structure: str, *, alike: bool = False) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Positive weights, those of a layer all alike or not, and a copy that is 3 % larger."""
    torch.manual_seed(0)
    network = STRUCTURES[structure][0]().double().eval()
    for parameter in network.parameters():
        parameter.data.abs_()
        if alike:
            parameter.data.fill_(parameter.data.mean())
    larger = copy.deepcopy(network)
    for parameter in larger.parameters():
        parameter.data.mul_(1.03)
    return trace(network), trace(larger)


def truth(pair: tuple[nn.Module, nn.Module], radius: float) -> torch.Tensor:
    """The error at the corner where all inputs are the radius, a number for each output channel."""
    corner = torch.full(IMAGE, radius, dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = (network(corner) for network in pair)
    return (theirs - ours)[0].flatten(1).amax(1) if ours.dim() > 2 else (theirs - ours)[0]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_channels(structure):
    pair = built(structure)
    found = vector_bound(*pair, input_shape=IMAGE, radius=0.5)
    assert 10**found == pytest.approx(truth(pair, 0.5), rel=1e-11)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_norms(structure):
    pair = built(structure, alike=True)
    found = relu6_bounds(*pair, input_shape=IMAGE, radius=0.5)
    seen = read_sizes(*pair, torch.full(IMAGE, 0.5))
    assert list(found["name"]) == list(seen["name"])
    assert found["s"].tolist() == pytest.approx(seen["s"].tolist(), rel=1e-11)
    # T2 carries an error on with the larger of the two norms, which is 3 % larger here.
    for column, most in (("s", 1.0), ("e", 1.03**4)):
        assert (found[column] >= seen[column] * (1 - 1e-14)).all()
        assert (found[column] <= seen[column] * most * (1 + 1e-11)).all()


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("domain", [Channels, Norms])
def test_every_bound_lies_above_what_is_computed(structure, domain):
    """Value by value, signs and all, for both networks and their difference."""
    pair = built(structure)
    for index, network in enumerate(pair):
        torch.manual_seed(index)
        for parameter in network.parameters():
            parameter.data.mul_(20 * torch.randn_like(parameter))
    inputs = qn.random_inputs(IMAGE, count=8, radius=0.5, seed=0)
    for caps in (False, True):
        checked = checked_pair(*pair, input_shape=IMAGE, radius=0.5)
        bounds = walk(checked.operations, domain(checked, cap_sizes=caps, cap_errors=caps))
        values = walk(checked.operations, Values(inputs, pair=True))
        for bound, value in zip(bounds, values, strict=True):
            ours, theirs = (s.flatten(2).movedim(1, -1) if s.dim() > 2 else s for s in value.result)
            assert (theirs.abs() <= bound.result.size.exp() * (1 + 1e-12)).all()
            assert ((ours - theirs).abs() <= bound.result.error.exp() + 1e-12).all()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_shapes(structure):
    network, _ = built(structure)
    ShapeProp(network).propagate(torch.zeros(IMAGE, dtype=torch.float64))
    for node, shape in shapes_of(operations(network), IMAGE).items():
        assert shape == tuple(node.meta["tensor_meta"].shape)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_chains(structure):
    network, _ = built(structure)
    assert [link.name for link in chain(network, IMAGE).links] == STRUCTURES[structure][1]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_values(structure):
    """What fx's own interpreter computes, node by node, in one network and in two."""
    ours, theirs = built(structure)
    inputs = qn.random_inputs(IMAGE, count=3, seed=0)
    expected = [_recorded(network, inputs) for network in (ours, theirs)]
    for visit in watched(ours, inputs, theirs):
        for value, recorded in zip(visit.result, expected, strict=True):
            assert torch.equal(value, recorded[visit.operation.node.name])
    for visit in watched(ours, inputs):
        (value,) = visit.result
        assert torch.equal(value, expected[0][visit.operation.node.name])


def _recorded(network: fx.GraphModule, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    seen = {}

    class Recorder(fx.Interpreter):
        def run_node(self, node):
            seen[node.name] = super().run_node(node)
            return seen[node.name]

    with torch.no_grad():
        Recorder(network).run(inputs)
    return seen


# -- T1 --------------------------------------------------------------------------------------------


class OnProfile(ErrorDomain):
    """T2 on a profile: the layers are all that it knows, and fractions make no rounding errors."""

    def __init__(self, profile: qn.Profile) -> None:
        self.radius, self.layers = Fraction(profile.radius), iter(profile.layers)

    def input(self, operation):
        return Bounds(self.radius, Fraction(0))

    def products(self, operation, read):
        self.layer = next(self.layers)
        norm = Fraction(self.layer.norm)
        return norm * read.size, norm * read.error, Fraction(self.layer.gap_norm) * read.size

    def biases(self, operation):
        return Fraction(self.layer.bias_norm), Fraction(self.layer.bias_gap)

    def added(self, first, second):
        return first + second


@pytest.mark.parametrize("seed", range(20))
def test_t1_on_a_profile_is_the_theorem(seed):
    rng = random.Random(seed)
    profile = random_profile(rng, depth=rng.randint(1, 12), biases=rng.random() < 0.7)
    layers = [nn.Identity() for _ in profile.layers]
    graph = trace(nn.Sequential(*layers).eval())
    kinds = {"placeholder": INPUT, "call_module": AFFINE, "output": OUTPUT}
    steps = [
        Operation(node, kinds[node.op], None, tuple(node.all_input_nodes))
        for node in graph.graph.nodes
    ]
    error = propagate(steps, OnProfile(profile)).error
    (theorem,) = (theorem for theorem in qn.theorems() if theorem.key == "T2")
    found = theorem.evaluate(profile)
    exact = math.log10(error.numerator) - math.log10(error.denominator) if error else -math.inf
    assert found == pytest.approx(exact, abs=1e-9)


# -- the walk itself -------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", STRUCTURES)
def test_each_operation_once_and_each_value_until_its_last_use(structure):
    network, _ = built(structure)
    steps, alive = operations(network), set()

    class Names(Domain):
        def apply(self, operation, reads):
            assert all(read in alive for read in reads)
            alive.add(operation.node)
            return operation.node

        def forget(self, node):
            alive.remove(node)

    visited = [visit.operation for visit in walk(steps, Names())]
    assert visited == steps and not alive


@pytest.mark.medium
def test_tensors_are_freed():
    network = trace(plain(*[conv(2, 2) for _ in range(4)]).eval())
    made = []
    for visit in watched(network, torch.ones(IMAGE)):
        made.append(weakref.ref(visit.result[0]))
        del visit
        gc.collect()
        assert sum(one() is not None for one in made[:-2]) == 0


def test_whoever_changes_a_layer_at_its_visit_changes_what_follows():
    network, _ = built("chain")
    for visit in watched(network, torch.ones(IMAGE, dtype=torch.float64)):
        if visit.operation.name == "2":
            visit.operation.module.weight.data.zero_()
            visit.operation.module.bias.data.fill_(7.0)
        if visit.operation.name == "4":
            assert (visit.reads[0][0] == 7.0).all()


def test_a_result_may_be_set():
    network, _ = built("chain")
    shape = None
    for visit in walk(operations(network), Shapes(IMAGE)):
        if visit.operation.kind == INPUT:
            visit.result = (5, 2, 9, 9)
        shape = visit.result
    assert shape == (5, 2, 6, 6)


def test_an_operation_without_a_rule_is_refused():
    class Nothing(Domain):
        def input(self, operation):
            return None

    with pytest.raises(qn.UnsupportedOperation, match=r"^0: Nothing has no rule for Conv2d"):
        propagate(operations(trace(nn.Sequential(conv(2, 2)).eval())), Nothing())


@pytest.mark.parametrize("domain", [Channels, Norms, Shapes, Values])
def test_every_domain_has_a_rule_for_each_kind(domain):
    for kind in {INPUT, OUTPUT, SUM, *KINDS.values()}:
        assert callable(getattr(domain, kind))


def test_networks_side_by_side_must_match():
    ours, _ = built("chain")
    theirs, _ = built("relu6")
    with pytest.raises(qn.QnotesError, match=r"does not match|here and"):
        matched(ours, theirs)


def test_nothing_is_changed():
    pair = built("skip")
    before = [p.clone() for network in pair for p in network.parameters()]
    inputs = torch.ones(IMAGE, dtype=torch.float64)
    for visit in watched(pair[0], inputs, pair[1]):
        assert visit.result is not None
    vector_bound(*pair, input_shape=IMAGE)
    after = [p for network in pair for p in network.parameters()]
    assert all(map(torch.equal, before, after)) and (inputs == 1).all()
