"""Exported programs become the networks that they came from; whatever else is refused by name."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import qnotes as qn
from qnotes.networks.architectures import seeded
from qnotes.networks.exported import exported_input_shape, from_export
from tests.random_networks import ARCHITECTURES, Net

IMAGE = (2, 2, 6, 6)


def exported(network: nn.Module, shape=IMAGE, *, free_batch: bool = False):
    free = ({0: torch.export.Dim("batch", max=64)},) if free_batch else None
    inputs = (torch.ones(shape, dtype=next(network.parameters()).dtype),)
    return torch.export.export(network, inputs, dynamic_shapes=free)


def conv(**options) -> nn.Conv2d:
    return nn.Conv2d(2, 2, 3, padding=1, **options)


def same(network: nn.Module, other: nn.Module, shape=IMAGE, count: int = 5) -> bool:
    x = qn.random_inputs(shape, count=count).to(next(network.parameters()).dtype)
    with torch.no_grad():
        return torch.equal(network(x.clone()), other(x.clone()))


@pytest.mark.medium
@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_x0_25"])
def test_named_networks_have_the_profile_that_they_had(name, tmp_path):
    """After a round trip through a file: the same names, the same numbers, the same function."""
    network = qn.load(name)
    torch.export.save(exported(network, (2, 1, 32, 32)), tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2")
    again = from_export(program)
    assert exported_input_shape(program) == (1, 1, 32, 32)
    assert same(network, again, (1, 1, 32, 32), count=3)
    ours, theirs = (qn.fold(net) for net in (network, again))
    profiles = [
        qn.profile(net, qn.quantize(net, bits=4).model, input_shape=(1, 1, 32, 32))
        for net in (ours, theirs)
    ]
    assert profiles[0] == profiles[1]


@pytest.mark.medium
@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("seed", range(3))
def test_random_networks(family, seed):
    with seeded(seed):
        network, shape = ARCHITECTURES[family](random.Random(seed), True)
        network = network.double().eval()
        again = from_export(exported(network, (2, *shape[1:])))
    assert same(network, again, shape)
    qn.quantize(qn.fold(again))


def viewed(s, x):
    return s.b(s.a(x).view(x.size(0), -1))


def functions(s, x):
    x = F.avg_pool2d(F.relu6(s.a(x)), 3, 1, 1, count_include_pad=False)
    x = F.max_pool2d(F.hardtanh(x, 0.0, 6.0), 2)
    return F.adaptive_avg_pool2d(F.dropout2d(x, training=s.training), 2)


def twice(s, x):
    return s.a(torch.relu(s.a(x)))


def in_place(s, x):
    y = s.a(x)
    y += s.b(y)
    return F.relu(y, inplace=True)


def shuffled(s, x):
    one, other = s.a(x).split([1, 1], 1)
    x = torch.cat([other, x[:, :, :], one], 1)
    x = x.view(x.shape[0], 2, 2, *x.shape[2:]).transpose(1, 2).contiguous()
    return s.b(torch.cat(x.reshape(x.shape[0], 4, *x.shape[3:]).chunk(2, 1), 1)[:, 1:3, :, :-1])


def gated(s, x):
    x = s.a(x)
    return F.hardsigmoid(s.b(x.mean((2, 3), keepdim=True))) * torch.tanh(x)


SLOPED = nn.Sequential(
    conv(), nn.SiLU(inplace=True), nn.LeakyReLU(0.2), nn.PReLU(2), nn.ELU(2.0), nn.GELU("tanh"),
    nn.Hardtanh(-1.0, 2.0), nn.Hardswish(), nn.Sigmoid(),
)  # fmt: skip


class OwnWeight(nn.Module):
    """Its weight belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(3, 2, 2, 2))

    def forward(self, x):
        return F.conv2d(x, self.kernel, stride=2)


def covered() -> dict[str, nn.Module]:
    with seeded(0):
        tied = nn.Sequential(conv(), nn.ReLU(), conv())
        tied[2].weight = tied[0].weight
        plain_norm = nn.Sequential(conv(bias=False), nn.BatchNorm2d(2, affine=False, eps=0.3))
        plain_norm[1].running_mean.normal_()
        return {
            "view": Net(viewed, a=conv(), b=nn.Linear(72, 3)),
            "shuffle": Net(shuffled, a=conv(), b=conv()),
            "gate": Net(gated, a=conv(), b=nn.Conv2d(2, 2, 1)),
            "slopes": SLOPED,
            "instances": nn.Sequential(conv(), nn.InstanceNorm2d(2, track_running_stats=True)),
            "functions": Net(functions, a=conv()),
            "one layer twice": Net(twice, a=conv()),
            "in place": Net(in_place, a=conv(), b=conv()),
            "own weight": OwnWeight(),
            "tied": tied,
            "norm without weights": plain_norm,
            "groups and dilation": nn.Sequential(nn.Conv2d(2, 4, 3, dilation=2, groups=2)),
            "padding in words": nn.Sequential(nn.Conv2d(2, 3, 3, padding="same")),
            "zero padding": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2, 2, 3, 2)),
            "zero padding by a function": Net(lambda s, x: F.pad(s.a(x), (1, 0)), a=conv()),
            "padding that cuts": Net(lambda s, x: F.pad(s.a(x), (-1, 0, 0, -2)), a=conv()),
            "adaptive maximum": nn.Sequential(conv(), nn.AdaptiveMaxPool2d((3, None)), conv()),
            "adaptive maximum by a function": Net(
                lambda s, x: F.adaptive_max_pool1d(s.a(x).flatten(2), 4), a=conv()
            ),
            "dropout": nn.Sequential(conv(), nn.Dropout(0.5), nn.Dropout2d(0.5)),
            "ceil mode": nn.Sequential(conv(), nn.MaxPool2d(4, stride=3, ceil_mode=True)),
        }


@pytest.mark.parametrize("free_batch", [False, True])
@pytest.mark.parametrize("name", covered())
def test_covered_programs(name, free_batch):
    network = covered()[name].double().eval()
    program = exported(network, free_batch=free_batch)
    again = from_export(program)
    assert same(network, again)
    assert exported_input_shape(program) == (1, *IMAGE[1:])
    assert not any(module.training for module in again.modules())


def test_a_layer_that_is_called_twice_is_one_layer():
    again = from_export(exported(Net(twice, a=conv()).eval()))
    assert [name for name, _ in again.named_parameters()] == ["a.weight", "a.bias"]
    assert set(qn.quantize(qn.fold(again)).layers) == {"a"}


def test_one_weight_with_other_options_is_another_layer():
    def strided(s, x):
        return s.a(x) + F.conv2d(x, s.a.weight, padding=1)

    again = from_export(exported(Net(strided, a=conv()).eval()))
    assert set(qn.quantize(qn.fold(again)).layers) == {"a", "a_"}


def test_the_program_is_not_changed():
    network = nn.Sequential(conv(), nn.BatchNorm2d(2)).eval()
    program = exported(network)
    kept = {name: value.clone() for name, value in program.state_dict.items()}
    again = from_export(program)
    for parameter in again.parameters():
        parameter.data.zero_()
    again.get_submodule("1").running_mean.fill_(7)
    assert all(torch.equal(value, kept[name]) for name, value in program.state_dict.items())


def test_norms_and_convolutions_of_other_dimensions():
    for sizes, layer, norm in (
        ((5,), nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)),
        ((3, 4, 3), nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)),
    ):
        network = nn.Sequential(layer, norm).eval()
        assert same(network, from_export(exported(network, (2, 2, *sizes))), (2, 2, *sizes))
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    assert same(network, from_export(exported(network, (2, 4))), (2, 4))


def shifted(s, x):
    return s.a(x) + 1


def doubled(s, x):
    return torch.add(s.a(x), x, alpha=2)


def selu(s, x):
    return F.selu(s.a(x))


def scaled(s, x):
    return s.a(x) * 2


def scaled_weight(s, x):
    return F.conv2d(x, 2 * s.a.weight)


def reshaped(s, x):
    return s.a(x).view(-1, 6)


def two_outputs(s, x):
    return s.a(x), x


def half_of_the_batch(s, x):
    return s.a(x)[:1]


def overwriting_the_input(s, x):
    x += 1
    return s.a(x)


def places(s, x):
    return F.adaptive_max_pool2d(s.a(x), 2, return_indices=True)[1].float()


REFUSED = {
    "places": (places, "getitem.*reading the places that .* returns"),
    "constant": (shifted, "add.*a sum of .*two tensors|is not covered"),
    "weighted sum": (doubled, "add: a sum with alpha=2 is not covered"),
    "selu": (selu, "selu: aten.selu.default is not covered in an exported program"),
    "times a number": (scaled, r"mul: aten.mul.Tensor of \(conv2d, 2\) is not covered"),
    "computed weight": (scaled_weight, "mul"),
    "view across the batch": (reshaped, r"view: aten.view.default from .* is not covered"),
    "two outputs": (two_outputs, "the exported program has 2 outputs; one tensor is covered"),
    "part of a batch": (half_of_the_batch, "slice_1: aten.slice.Tensor of the batch is not"),
    "input overwritten": (overwriting_the_input, "is not covered|changes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_programs(name):
    forward, message = REFUSED[name]
    program = exported(Net(forward, a=conv()).eval())
    with pytest.raises(qn.UnsupportedOperation, match=message):
        from_export(program)


def test_training_mode_is_refused():
    for layers in ([conv(), nn.BatchNorm2d(2)], [conv(), nn.Dropout()]):
        program = exported(nn.Sequential(*layers).train())
        with pytest.raises(qn.QnotesError):
            from_export(program)


@pytest.mark.medium
def test_decomposed_programs_are_refused():
    program = exported(nn.Sequential(conv()).eval()).run_decompositions()
    with pytest.raises(qn.UnsupportedOperation, match=r"aten.convolution.*do not decompose"):
        from_export(program)


def test_two_inputs_are_refused():
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + y

    program = torch.export.export(Sum(), (torch.ones(2, 2), torch.ones(2, 2)))
    with pytest.raises(qn.UnsupportedOperation, match="has 2 inputs; one tensor is covered"):
        from_export(program)


def test_something_else():
    with pytest.raises(qn.QnotesError, match=r"expected a torch.export program; got Linear"):
        from_export(nn.Linear(2, 2))
