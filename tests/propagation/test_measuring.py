"""Measured profiles: numbers of dense matrices, networks that do not match, and bad input."""

import copy
import itertools
import random

import pytest
import torch
from torch import Tensor, nn

import qnotes as qn
from tests.random_networks import Net


def dense_matrix(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """The matrix of a layer without its bias, by pushing unit vectors through it."""
    size = torch.Size(shape[1:]).numel()
    units = torch.eye(size, dtype=torch.float64).view(size, *shape[1:])
    bias = layer(torch.zeros(shape, dtype=torch.float64)).detach()
    return (layer(units) - bias).detach().flatten(1).T


def changed_copy(network: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    changed = copy.deepcopy(network)
    for parameter in changed.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return changed


def measured(layer: nn.Module, shape: tuple[int, ...]) -> tuple[qn.Layer, Tensor, Tensor]:
    """The profile of one layer and a changed one, and both dense matrices."""
    ours = qn.fold(nn.Sequential(layer).eval())
    theirs = changed_copy(ours)
    (only,) = qn.profile(ours, theirs, input_shape=shape).layers
    return (
        only,
        dense_matrix(ours.get_submodule("0"), shape),
        dense_matrix(theirs.get_submodule("0"), shape),
    )


def norm(matrix: Tensor) -> float:
    return matrix.abs().sum(1).max().item()


SEEN = list(itertools.product([1, 2], [0, 1], [1, 2], [1, 2, 4], [2, 3]))


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups", "kernel"), SEEN)
def test_convolution_that_sees_its_kernel_equals_its_dense_matrix(
    stride, padding, dilation, groups, kernel
):
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 4, kernel, stride, padding, dilation=dilation, groups=groups)
    layer, ours, theirs = measured(convolution, (1, 4, 7, 7))
    assert layer.norm == pytest.approx(max(norm(ours), norm(theirs)), rel=1e-12)
    assert layer.gap_norm == pytest.approx(norm(ours - theirs), rel=1e-12)
    assert layer.gap == pytest.approx((ours - theirs).abs().max().item(), rel=1e-12)
    assert layer.fan_in == int((ours != 0).sum(1).max()) == kernel**2 * 4 // groups
    assert (layer.width, layer.reads) == (len(ours), 4 * 7 * 7)


@pytest.mark.parametrize("seed", range(25))
def test_convolution_on_a_small_image_is_bounded(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    side = rng.randint(1, 3)
    convolution = nn.Conv2d(
        2, 2, 3, padding=2, dilation=rng.randint(1, 2), groups=rng.randint(1, 2)
    )
    layer, ours, theirs = measured(convolution, (1, 2, side, side))
    assert layer.norm >= max(norm(ours), norm(theirs)) * (1 - 1e-12)
    assert layer.gap_norm >= norm(ours - theirs) * (1 - 1e-12)
    assert layer.fan_in >= int((ours != 0).sum(1).max())
    assert layer.reads >= int((ours != 0).sum(1).max())


@pytest.mark.parametrize("make", [nn.Conv1d, nn.Conv3d])
def test_other_dimensions(make):
    shape = (1, 2, *[4] * (1 if make is nn.Conv1d else 3))
    layer, ours, theirs = measured(make(2, 3, 2), shape)
    assert layer.norm == pytest.approx(max(norm(ours), norm(theirs)), rel=1e-12)
    assert layer.fan_in == int((ours != 0).sum(1).max())


def test_every_number_of_a_dense_layer():
    ours = nn.Sequential(nn.Linear(3, 2)).eval().double()
    ours[0].weight.data.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.25, 3.0]]))
    ours[0].bias.data.copy_(torch.tensor([-4.0, 0.5]))
    theirs = copy.deepcopy(ours)
    theirs[0].weight.data[1, 0] = -1.0
    theirs[0].bias.data[1] = 0.75
    (layer,) = qn.profile(ours, theirs, input_shape=(1, 3)).layers
    expected = {
        "fan_in": 3,
        "reads": 3,
        "row": 3,
        "width": 2,
        "norm": 4.25,
        "joint_norm": 7.5,
        "gap": 1.0,
        "gap_norm": 1.0,
        "bias_norm": 4.0,
        "bias_gap": 0.25,
        "peak": 4.0,
    }
    for name, value in expected.items():
        assert getattr(layer, name) == pytest.approx(value, rel=1e-14), name
        assert getattr(layer, name) >= value, name  # rounded up, never down


def test_numbers_are_rounded_up():
    """1 + 2^-53 is no float: a sum in float64 loses it, the norm must not."""
    layer = nn.Linear(3, 1, bias=False).double()
    layer.weight.data.copy_(torch.tensor([[1.0, 2.0**-53, 2.0**-53]]))
    network = nn.Sequential(layer).eval()
    (measured_layer,) = qn.profile(network, network, input_shape=(1, 3)).layers
    assert measured_layer.norm > 1


def test_many_rows_are_read_in_blocks():
    torch.manual_seed(0)
    layer = nn.Linear(3000, 100, bias=False)  # more than one block
    ours = nn.Sequential(layer).eval()
    theirs = changed_copy(ours)
    (only,) = qn.profile(ours, theirs, input_shape=(1, 3000)).layers
    gap = ours[0].weight.detach().double() - theirs[0].weight.detach().double()
    assert only.gap_norm == pytest.approx(norm(gap), rel=1e-11)


def test_a_layer_used_twice_counts_twice():
    layer = nn.Linear(3, 3)
    network = nn.Sequential(layer, nn.ReLU(), layer).eval()
    assert [x.name for x in qn.profile(network, network, input_shape=(1, 3)).layers] == ["0", "0"]


def test_rows_of_a_join_are_summed_row_by_row():
    network = Net(lambda s, x: s.a(x) + s.b(x), a=nn.Linear(1, 2), b=nn.Linear(1, 2)).eval()
    for name, rows in (("a", [[5.0], [0.0]]), ("b", [[0.0], [3.0]])):
        getattr(network, name).weight.data.copy_(torch.tensor(rows))
        getattr(network, name).bias.data.copy_(torch.tensor(rows)[:, 0])
    (layer,) = qn.profile(network, network, input_shape=(1, 1)).layers
    assert layer.norm == pytest.approx(5)
    assert layer.joint_norm == pytest.approx(10)
    assert layer.fan_in == 2


def test_provenance_travels():
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    profile = qn.profile(network, network, input_shape=(1, 2), provenance={"seed": 3})
    assert profile.provenance == {"seed": 3}


# -- networks that do not match --------------------------------------------------------------------


def small(*, last: nn.Module | None = None, act: type = nn.ReLU, pool=None) -> nn.Module:
    pool = pool or nn.AvgPool2d(2)
    layers = [nn.Conv2d(1, 2, 3), act(), pool, nn.Flatten(), last or nn.Linear(8, 3)]
    return nn.Sequential(*layers).eval()


def training_dropout(network: nn.Module) -> nn.Module:
    network[1].train()
    return network


def hooked(network: nn.Module) -> nn.Module:
    network[0].register_forward_hook(lambda *given: None)
    return network


def narrowed(network: nn.Module) -> nn.Module:
    network[4].weight = nn.Parameter(torch.ones(1, 8))  # broadcasts against (3, 8)
    return network


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (small(last=nn.Linear(8, 4)), r"^4: has shape of weight=\(3, 8\), .*here and .*\(4, 8\)"),
        (small(act=nn.ReLU6), r"^1: is ReLU\(\) here and ReLU6\(\) in the quantized network"),
        (small(pool=nn.MaxPool2d(2)), r"^2: is AvgPool2d.*MaxPool2d"),
        (
            small(pool=nn.AvgPool2d(2, count_include_pad=False)),
            r"^2: has count_include_pad=True here and count_include_pad=False in the quantized",
        ),
        (small(pool=nn.AvgPool2d(2, ceil_mode=True)), r"^2: has ceil_mode=False here"),
        (hooked(small()), r"^quantized: 0: Conv2d with hooks"),
        (narrowed(small()), r"^4: has shape of weight=\(3, 8\) here and .*\(1, 8\)"),
        (nn.Sequential(*small()[:4]).eval(), r"^the quantized network does not match: _4 has op"),
        (nn.Sequential(*small(), nn.ReLU()).eval(), r"^the quantized network does not match"),
        (small().train(), "training mode"),
        ("a string", "expected a torch.nn.Module; got str"),
    ],
)
def test_networks_that_do_not_match(other, message):
    with pytest.raises(qn.QnotesError, match=message):
        qn.profile(small(), other, input_shape=(1, 1, 6, 6))


def wrong_bias(network: nn.Module) -> nn.Module:
    network[4].bias = nn.Parameter(torch.ones(1))  # broadcasts to three
    return network


def test_a_bias_of_another_shape_is_refused_also_where_the_reference_has_none():
    ours = small(last=nn.Linear(8, 3, bias=False))
    with pytest.raises(qn.QnotesError, match=r"^4: has shape of bias=\(3,\) here and .*\(1,\)"):
        qn.profile(ours, wrong_bias(small()), input_shape=(1, 1, 6, 6))


@pytest.mark.parametrize("side", [0, 1])
def test_a_missing_bias_is_a_zero_bias(side):
    torch.manual_seed(0)
    network = small().double()
    without, zero = (copy.deepcopy(network) for _ in range(2))
    for layer in (without[0], without[4]):
        layer.bias = None
    for layer in (zero[0], zero[4]):
        layer.bias.data.zero_()
    found, expected = (
        qn.profile(*((network, other) if side else (other, network)), input_shape=(1, 1, 6, 6))
        for other in (without, zero)
    )
    assert found == expected
    assert all(layer.bias_gap > 0 for layer in (found.layers[0], found.layers[-1]))


def test_dropout_in_training_mode_in_the_quantized_network():
    ours = small(act=nn.Dropout)
    with pytest.raises(qn.QnotesError, match=r"^quantized: 1: is in training mode"):
        qn.profile(ours, training_dropout(copy.deepcopy(ours)), input_shape=(1, 1, 6, 6))


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["weight", "bias"])
@pytest.mark.parametrize("side", [0, 1])
def test_weights_that_are_not_finite_name_the_layer(value, kind, side):
    pair = [small(), small()]
    getattr(pair[side][4], kind).data.view(-1)[0] = value
    of = "quantized: " * side
    message = rf"^{of}4: 1 of \d+ values of its {kind} are NaN or inf"
    with pytest.raises(qn.QnotesError, match=message):
        qn.profile(*pair, input_shape=(1, 1, 6, 6))


def test_row_sums_that_overflow():
    network = small().double()
    network[4].weight.data.fill_(1.7e308)
    with pytest.raises(qn.QnotesError, match=r"^4: a row sum of its weights is too large"):
        qn.profile(network, network, input_shape=(1, 1, 6, 6))


@pytest.mark.parametrize("radius", [0, -1, 0.0, float("nan"), float("inf"), -float("inf")])
def test_radius(radius):
    network = small()
    with pytest.raises(qn.QnotesError, match="radius must be a positive finite number; got"):
        qn.profile(network, network, input_shape=(1, 1, 6, 6), radius=radius)


def test_a_network_without_weights():
    network = nn.Sequential(nn.ReLU(), nn.Flatten()).eval()
    with pytest.raises(qn.QnotesError, match="no layer with weights, so nothing is quantized"):
        qn.profile(network, network, input_shape=(1, 1, 6, 6))


@pytest.mark.parametrize("function", [qn.fold, qn.quantize])
@pytest.mark.parametrize("given", [None, "resnet20", {"a": 1}, torch.ones(3), nn.ReLU])
def test_what_is_not_a_module(function, given):
    with pytest.raises(qn.QnotesError, match=r"expected a torch\.nn\.Module; got \w+"):
        function(given)
