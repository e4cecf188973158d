"""Networks as chains: the explicit matrices (h, x) ↦ (W h, x) against what a profile says."""

import pytest
import torch
from torch import Tensor, fx, nn

import qnotes as qn
from qnotes.networks._torchvision import torchvision
from qnotes.networks.tracing import trace
from qnotes.propagation.chain import chain
from tests.random_networks import Net, Residual

STEP = 0.01


def conv(channels: int, out: int, kernel: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False, **options)


def matrix(linear, sizes: list[tuple[int, ...]]) -> Tensor:
    """The matrix of a linear map on one or several tensors, by pushing unit vectors through it."""
    lengths = [torch.Size(size).numel() for size in sizes]
    columns = []
    for unit in torch.eye(sum(lengths), dtype=torch.float64):
        parts = [part.view(1, *size) for part, size in zip(unit.split(lengths), sizes, strict=True)]
        results = linear(*parts)
        results = results if isinstance(results, tuple) else (results,)
        columns.append(torch.cat([result.detach().flatten() for result in results]))
    return torch.stack(columns, 1)


def norm(weights: Tensor) -> float:
    return weights.abs().sum(1).max().item()


# -- explicit chains: a network, and for each layer the linear map and the shapes that it reads ----

IMAGE = (2, 4, 4)


def identity_block():
    net = Residual(nn.Sequential(conv(2, 3, 3), nn.ReLU(), conv(3, 2, 3)), nn.Identity(), nn.ReLU())

    def layers(n):
        first, second = n.get_submodule("body.0"), n.get_submodule("body.2")
        yield lambda x: (first(x), x), [IMAGE]
        yield lambda h, x: second(h) + x, [(3, 4, 4), IMAGE]

    return net, layers, [2 * 9, 3 * 9]


def one_layer_block():
    net = Residual(conv(2, 2, 3), nn.Identity(), nn.ReLU())

    def layers(n):
        yield lambda x: n.get_submodule("body")(x) + x, [IMAGE]

    return net, layers, [2 * 9]


def projection_block():
    body = nn.Sequential(conv(2, 3, 3, stride=2), nn.ReLU(), conv(3, 4, 1))
    net = Residual(body, conv(2, 4, 1, stride=2), nn.ReLU())

    def layers(n):
        first, second = n.get_submodule("body.0"), n.get_submodule("body.2")
        yield lambda x: (first(x), x), [IMAGE]
        yield lambda h, x: second(h) + n.get_submodule("skip")(x), [(3, 2, 2), IMAGE]

    return net, layers, [2 * 9, 3 + 2]


def inverted_block():
    body = nn.Sequential(conv(2, 4), nn.ReLU6(), conv(4, 4, 3, groups=4), nn.ReLU6(), conv(4, 2))
    net = Residual(body, nn.Identity(), nn.Identity())

    def layers(n):
        one, two, three = (n.get_submodule(f"body.{i}") for i in (0, 2, 4))
        yield lambda x: (one(x), x), [IMAGE]
        yield lambda h, x: (two(h), x), [(4, 4, 4), IMAGE]
        yield lambda h, x: three(h) + x, [(4, 4, 4), IMAGE]

    return net, layers, [2, 9, 4]


def preactivation_block():
    """The skip carries x, the body reads relu(x): both stand in the state."""
    net = nn.Sequential(
        conv(2, 2), Residual(nn.Sequential(nn.ReLU(), conv(2, 2, 3)), nn.Identity(), nn.Identity())
    )

    def layers(n):
        yield lambda x: (n.get_submodule("0")(x),) * 2, [IMAGE]
        yield lambda h, x: n.get_submodule("1.body.1")(h) + x, [IMAGE, IMAGE]

    return net, layers, [2, 2 * 9]


def nested_block():
    inner = Residual(conv(2, 2, 3), nn.Identity(), nn.ReLU())
    net = Residual(nn.Sequential(inner, conv(2, 2)), nn.Identity(), nn.ReLU())

    def layers(n):
        yield lambda x: (n.get_submodule("body.0.body")(x) + x, x), [IMAGE]
        yield lambda h, x: n.get_submodule("body.1")(h) + x, [IMAGE, IMAGE]

    return net, layers, [2 * 9, 2]


def skip_over_pooling():
    net = Residual(
        nn.Sequential(conv(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), conv(3, 2)),
        nn.AvgPool2d(2),
        nn.Identity(),
    )

    def layers(n):
        # Pooling is part of the layer before: the state holds what is read later.
        yield lambda x: (n.get_submodule("body.0")(x), x), [IMAGE]
        yield lambda h, x: n.get_submodule("body.3")(h) + x, [(3, 2, 2), (2, 2, 2)]

    return net, layers, [2 * 9, 3]


CHAINS = (
    identity_block,
    one_layer_block,
    projection_block,
    inverted_block,
    preactivation_block,
    nested_block,
    skip_over_pooling,
)


@pytest.mark.parametrize("make", CHAINS)
def test_profile_of_a_block_is_that_of_its_matrices(make):
    torch.manual_seed(1)
    net, layers, fan_ins = make()
    ours = qn.fold(net.eval())
    theirs = qn.quantize(ours, bits=3).model
    profile = qn.profile(ours, theirs, input_shape=(1, *IMAGE))
    pairs = list(zip(layers(ours), layers(theirs), strict=True))
    assert [layer.fan_in for layer in profile.layers] == fan_ins
    assert profile.depth == len(pairs)
    for layer, ((linear, sizes), (changed, _)) in zip(profile.layers, pairs, strict=True):
        first, second = matrix(linear, sizes), matrix(changed, sizes)
        assert layer.norm == pytest.approx(max(norm(first), norm(second)), rel=1e-12)
        assert layer.joint_norm == layer.norm
        assert layer.gap_norm == pytest.approx(norm(first - second), rel=1e-12)
        assert layer.gap == pytest.approx((first - second).abs().max().item(), rel=1e-12)
        assert int((first - second != 0).sum(1).max()) <= layer.fan_in


@pytest.mark.parametrize("make", [make for make in CHAINS if make is not skip_over_pooling])
def test_width_is_the_length_of_the_state(make):
    net, layers, _ = make()
    ours = qn.fold(net.eval())
    profile = qn.profile(ours, ours, input_shape=(1, *IMAGE))
    for layer, (linear, sizes) in zip(profile.layers, layers(ours), strict=True):
        rows, columns = matrix(linear, sizes).shape
        assert layer.width == rows
        assert layer.row <= columns + 2 * 4 * 4 * (make is one_layer_block)


def test_input_width():
    net, _, _ = identity_block()
    ours = qn.fold(net.eval())
    assert qn.profile(ours, ours, input_shape=(1, *IMAGE)).input_width == 2 * 4 * 4


def test_names_and_kinds():
    net, _, _ = projection_block()
    ours = qn.fold(nn.Sequential(net, nn.Flatten(), nn.Linear(16, 2)).eval())
    layers = qn.profile(ours, ours, input_shape=(1, *IMAGE)).layers
    assert [layer.name for layer in layers] == ["0.body.0", "0.body.2 + 0.skip", "2"]
    assert [layer.kind for layer in layers] == ["convolution", "convolution", "dense"]


def test_a_sum_without_weights_is_a_layer_of_its_own():
    net = Net(
        lambda s, x: s.relu(s.relu(s.a(x)) + s.relu(s.b(x))),
        a=nn.Linear(2, 2),
        b=nn.Linear(2, 2),
        relu=nn.ReLU(),
    )
    ours = qn.fold(net.eval())
    layers = qn.profile(ours, ours, input_shape=(1, 2)).layers
    assert [layer.kind for layer in layers] == ["dense", "sum"]
    assert layers[0].name == "a, b"  # side by side
    assert (layers[-1].fan_in, layers[-1].gap, layers[-1].gap_norm) == (0, 0, 0)
    assert layers[-1].norm == pytest.approx(2)


def test_a_sum_of_a_value_with_itself_doubles():
    net = Net(lambda s, x: s.a(x) + s.a(x), a=nn.Linear(2, 2, bias=False))
    twice = Net(lambda s, x: (lambda y: y + y)(s.a(x)), a=net.a)
    relu = Net(lambda s, x: (lambda y: y + y)(torch.relu(s.a(x))), a=net.a)
    single = net.a.weight.abs().sum(1).max().item()
    for network in (net, twice, relu):
        ours = qn.fold(network.eval())
        layers = qn.profile(ours, ours, input_shape=(1, 2)).layers
        product = torch.tensor([layer.norm for layer in layers]).prod().item()
        assert product == pytest.approx(2 * single)


def test_what_is_computed_and_never_read_does_no_harm():
    def forward(s, x):
        s.b(x)
        s.c(s.a(x))
        return s.a(torch.relu(x))

    net = Net(forward, a=nn.Linear(2, 2), b=nn.Linear(2, 5), c=nn.Linear(2, 7))
    ours = qn.fold(net.eval())
    assert qn.profile(ours, ours, input_shape=(1, 2)).layers[-1].name == "a"


# -- architectures ---------------------------------------------------------------------------------


def skeleton(name: str) -> fx.GraphModule:
    """The graph of a torchvision network without values, its batch norms taken out."""
    with torch.device("meta"):
        graph = fx.symbolic_trace(getattr(torchvision.models, name)().eval())
    for node in list(graph.graph.nodes):
        if isinstance(dict(graph.named_modules()).get(str(node.target)), nn.BatchNorm2d):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    return graph


@pytest.mark.parametrize(
    ("name", "depth", "widest"),
    [
        ("resnet18", 18, 200704),
        ("resnet34", 34, 200704),
        ("resnet50", 50, 802816),
        ("resnet101", 101, 802816),
        ("resnet152", 152, 802816),
        ("mobilenet_v2", 53, 96 * 112 * 112),
    ],
)
def test_nominal_depth_and_largest_map(name, depth, widest):
    links = chain(skeleton(name), (1, 3, 224, 224)).links
    assert len(links) == depth
    sources = [term.source for link in links for term in link.terms if term.module]
    assert max(source.size for source in sources) == widest


def test_joining_layers_of_resnet18():
    links = chain(skeleton("resnet18"), (1, 3, 224, 224)).links
    joined = [link.name for link in links if len(link.terms) == 2]
    assert len(joined) == 8
    assert joined[2] == "layer2.0.conv2 + layer2.0.downsample.0"
    assert not links[0].carries and links[1].carries and not links[2].carries


def test_widths_of_resnet18():
    links = chain(skeleton("resnet18"), (1, 3, 224, 224))
    assert links.input_width == 3 * 224 * 224
    image = 64 * 56 * 56
    assert [link.width for link in links.links[:3]] == [image, 2 * image, image]
    assert links.links[-1].width == 1000


@pytest.mark.parametrize("nothing", [nn.Identity(), nn.Dropout(0.5)], ids=["identity", "dropout"])
def test_an_identity_before_a_sum_is_no_layer(nothing):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)
            self.nothing = nothing

        def forward(self, x):
            return self.nothing(self.conv(x)) + self.nothing(x)

    found = chain(trace(Block().eval()), (1, 2, 4, 4))
    (link,) = found.links
    assert [term.target for term in link.terms] == ["conv", None]
    assert found.input_width == link.terms[1].source.size == 32
    assert not link.carries
