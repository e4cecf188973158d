"""Folding a batch norm changes weights, not the function; what cannot be folded is refused."""

import math

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.quantization.channels import is_channelwise
from tests.random_networks import Net, Residual, hard_inputs, largest_error


def stir(network: nn.Module, seed: int) -> nn.Module:
    """Random weights and running statistics, as after training."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 2)
    return network.double().eval()


def plain():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (3, 2, 6, 6)


def without_bias():
    return nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, eps=0.1)), (3, 2, 6, 6)


def depthwise():
    convolution = nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(4), nn.ReLU6()), (3, 4, 6, 6)


def not_affine():
    return nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4, affine=False)), (
        3,
        2,
        6,
        6,
    )


def dense():
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)), (3, 3)


def dense_not_affine():
    layers = nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 2)
    return nn.Sequential(*layers), (3, 3)


def one_dimension():
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)), (3, 2, 6)


def three_dimensions():
    return nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)), (2, 2, 4, 4, 4)


def block():
    body = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)
    )
    body.append(nn.BatchNorm2d(2))
    skip = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    return nn.Sequential(Residual(body, skip, nn.ReLU(inplace=True)), nn.Conv2d(2, 2, 1)), (
        3,
        2,
        5,
        5,
    )


def two_norms_in_a_row():
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.BatchNorm2d(2)), (3, 1, 4, 4)


def instances():
    """With running statistics, instance norms are batch norms at inference."""
    options = {"affine": True, "track_running_stats": True}
    first = nn.InstanceNorm2d(3, track_running_stats=True)
    layers = first, nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, eps=0.1, **options), nn.ReLU()
    return nn.Sequential(*layers), (3, 3, 6, 6)


FOLDABLE = (
    instances,
    plain,
    without_bias,
    depthwise,
    not_affine,
    dense,
    dense_not_affine,
    one_dimension,
    three_dimensions,
    block,
    two_norms_in_a_row,
)


@pytest.mark.parametrize("make", FOLDABLE)
@pytest.mark.parametrize("seed", range(3))
def test_same_function(make, seed):
    network, shape = make()
    stir(network, seed)
    folded = qn.fold(network)
    x = torch.randn(shape, dtype=torch.float64)
    before, after = network(x), folded(x)
    assert (before - after).abs().max() <= 1e-9 * before.abs().max()
    kinds = {type(module) for module in folded.modules()}
    assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d}


def test_instance_norms_without_statistics_stay_what_they_are():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4)).eval()
    with pytest.raises(qn.UnsupportedOperation, match=r"1: InstanceNorm2d is not.*by the spread"):
        qn.profile(qn.fold(network), network, input_shape=(1, 2, 6, 6))
    known = nn.Sequential(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True))
    with pytest.raises(qn.UnsupportedOperation, match=r"1: InstanceNorm2d is not.*Fold it"):
        qn.profile(known.eval(), known, input_shape=(1, 2, 6, 6))


def test_float64_and_the_names_of_the_layers():
    folded = qn.fold(stir(block()[0], 0).float())
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.float64}
    assert {"0.body.0", "0.body.3", "0.skip.0", "1"} <= dict(folded.named_modules()).keys()


def test_folding_twice_changes_nothing():
    once = qn.fold(stir(plain()[0], 0))
    twice = qn.fold(once)
    for name, value in once.state_dict().items():
        assert torch.equal(value, twice.state_dict()[name])


SHARED_CONV = nn.Conv2d(2, 2, 1)
SHARED_NORM = nn.BatchNorm2d(2)
#: A network, the shape of an input, and the norms that become layers of their own.
PLACED = [
    (nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)), (3, 2, 5, 5), {"0"}),
    (nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)), (3, 2, 5, 5), {"2"}),
    (nn.Sequential(nn.Conv3d(2, 2, 1), nn.ReLU(), nn.BatchNorm3d(2)), (3, 2, 3, 3, 3), {"2"}),
    (nn.Sequential(nn.Conv1d(2, 2, 1), nn.ReLU(), nn.BatchNorm1d(2)), (3, 2, 5), {"2"}),
    (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3, affine=False)), (3, 4), {"2"}),
    (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 2)), (3, 2, 2, 2), {"1"}),
    (nn.Sequential(SHARED_CONV, nn.BatchNorm2d(2), SHARED_CONV), (3, 2, 5, 5), {"1"}),
    (
        nn.Sequential(nn.Conv2d(2, 2, 1), SHARED_NORM, nn.Conv2d(2, 2, 1), SHARED_NORM),
        (3, 2, 5, 5),
        {"1"},
    ),
    (
        Net(
            lambda s, x: (lambda y: s.norm(y) + y)(s.conv(x)),
            conv=nn.Conv2d(2, 2, 1),
            norm=nn.BatchNorm2d(2),
        ),
        (3, 2, 5, 5),
        {"norm"},
    ),
    (
        Net(
            lambda s, x: s.norm(torch.cat([s.a(x), s.b(x)], 1)),
            a=nn.Conv2d(2, 1, 1),
            b=nn.Conv2d(2, 2, 1),
            norm=nn.BatchNorm2d(3),
        ),
        (3, 2, 5, 5),
        {"norm"},
    ),
    *(
        (
            Net(forward, conv=nn.Conv2d(2, 3, 3), norm=nn.BatchNorm1d(3), last=nn.Linear(3, 2)),
            (3, 2, 6, 6),
            {"norm"},
        )
        for forward in (
            lambda s, x: s.last(s.norm(s.conv(x).mean((2, 3)))),
            lambda s, x: s.last(s.norm(torch.relu(s.conv(x)).mean([-1, -2]).relu())),
            lambda s, x: s.norm(s.conv(x).mean(3)).mean(2),
            lambda s, x: s.norm(s.conv(x).view(-1, 3, 16)).mean(2),
        )
    ),
]


@pytest.mark.parametrize(("network", "shape", "names"), PLACED)
def test_norms_that_follow_no_layer_of_their_own_become_layers(network, shape, names):
    network = stir(network, 0).double().eval()
    folded, x = qn.fold(network), torch.randn(shape, dtype=torch.float64)
    assert torch.allclose(network(x), folded(x), rtol=1e-12)
    modules = dict(folded.named_modules(remove_duplicate=False))
    assert all(is_channelwise(modules[name]) for name in names)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in modules.values())
    quantized = qn.quantize(folded, bits=3, granularity="tensor")
    kept = qn.quantize(folded, bits=3, granularity="tensor", channelwise="keep")
    assert set(quantized.layers) - set(kept.layers) == names
    for which in (quantized.model, kept.model):
        profile = qn.profile(folded, which, input_shape=shape, radius=2.0)
        bound = qn.bounds(profile)["log10"].min()
        assert math.log10(largest_error(folded, which, hard_inputs(shape, 2.0))) <= bound


def test_a_norm_of_nobody_knows_what():
    with pytest.raises(qn.UnsupportedOperation, match="0: whether this BatchNorm1d reads a vector"):
        qn.fold(nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()).eval())


@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 5)])
def test_a_shape_says_what_a_first_norm_reads(shape):
    network = stir(nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()), 0)
    folded = qn.fold(network, input_shape=shape)
    x = torch.randn(3, *shape[1:], dtype=torch.float64)
    assert torch.allclose(network(x), folded(x), rtol=1e-12)
    assert type(folded.get_submodule("0")) is (nn.Linear if len(shape) == 2 else nn.Conv1d)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
            r"^1: this batch norm keeps no running statistics",
        ),
    ],
)
def test_what_cannot_be_folded(network, message):
    with pytest.raises(qn.UnsupportedOperation, match=message):
        qn.fold(network.eval())


def test_training_mode():
    network, _ = plain()
    with pytest.raises(qn.QnotesError, match=r"training mode.*\.eval\(\)"):
        qn.fold(network.train())
    network.eval()[1].train()
    with pytest.raises(qn.QnotesError, match=r"^1: is in training mode.*\.eval\(\)"):
        qn.fold(network)


def test_a_norm_with_hooks():
    network, _ = plain()
    network.eval()[1].register_forward_hook(lambda module, inputs, output: 5 * output)
    with pytest.raises(qn.UnsupportedOperation, match=r"^1: has hooks"):
        qn.fold(network)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["weight", "bias", "running_mean", "running_var"])
def test_norms_that_are_not_finite(kind, value):
    network, _ = plain()
    getattr(network.eval()[1], kind).data[2] = value
    what = {"running_mean": "running mean", "running_var": "running variance"}.get(kind, kind)
    with pytest.raises(qn.QnotesError, match=f"^1: 1 of 4 values of its {what} are NaN or inf"):
        qn.fold(network)


def test_a_negative_variance():
    network, _ = plain()
    network.eval()[1].running_var[0] = -1
    with pytest.raises(qn.QnotesError, match=r"^1: its running variance is negative"):
        qn.fold(network)


def test_layers_that_are_not_finite():
    network, _ = dense()
    network.eval()[3].weight.data[0, 0] = float("nan")
    with pytest.raises(qn.QnotesError, match=r"^3: 1 of 10 values of its weight are NaN"):
        qn.fold(network)


@pytest.mark.filterwarnings("ignore:Complex modules")
def test_complex_weights_are_refused():
    """Float64 would keep their real part alone, and a bound would be about another network."""
    network = nn.Sequential(nn.Linear(2, 2).to(torch.complex64)).eval()
    for call in (qn.fold, qn.quantize):
        with pytest.raises(qn.UnsupportedOperation, match="complex weights"):
            call(network)


def test_trying_shapes_prints_nothing(capfd):
    """Without a shape some are tried; a graph that cannot take one says so on its own."""
    network = Net(
        lambda net, x: net.norm(net.one(x) + net.other(x)),
        one=nn.Conv2d(1, 1, 3, stride=2), other=nn.Conv2d(1, 1, 5), norm=nn.BatchNorm2d(1),
    )  # fmt: skip
    qn.fold(network.eval())
    assert capfd.readouterr() == ("", "")
