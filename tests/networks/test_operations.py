"""The table of covered operations: what is covered, and what is refused by name."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import qnotes as qn
from qnotes.propagation.channels import vector_bound
from tests.random_networks import Net

IMAGE = (1, 2, 6, 6)


def accepted(network: nn.Module, shape=IMAGE) -> qn.Profile:
    return qn.profile(network.eval(), network, input_shape=shape)


def on_conv(function) -> Net:
    """A network that applies a function to the output of a convolution."""
    return Net(lambda s, x: function(s.conv(x)), conv=nn.Conv2d(2, 2, 1))


# -- covered ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "width"),
    [
        (F.relu, 72),
        (torch.relu, 72),
        (F.relu6, 72),
        (lambda x: F.relu(x, inplace=True), 72),
        (lambda x: x.relu(), 72),
        (lambda x: F.max_pool2d(x, 2), 18),
        (lambda x: F.max_pool2d(x, 3, stride=1, padding=1), 72),
        (lambda x: F.max_pool2d(x, 4, 3, 0, 1, True), 8),
        (lambda x: F.avg_pool2d(x, 2), 18),
        (lambda x: F.avg_pool2d(x, kernel_size=3, stride=1), 32),
        (lambda x: F.adaptive_avg_pool2d(x, (1, 1)), 2),
        (lambda x: torch.flatten(x, 1), 72),
        (lambda x: torch.flatten(input=x, start_dim=1), 72),
        (lambda x: x.flatten(1), 72),
        (lambda x: x.flatten(start_dim=1), 72),
        (lambda x: F.pad(x, (0, 1, 2, 0)), 112),
        (lambda x: F.pad(x, (1, 1)), 96),
        (lambda x: F.pad(input=x, pad=[1, 1, 1, 1], mode="constant", value=0), 128),
        (lambda x: F.pad(x, (-1, -1)), 48),
        (lambda x: F.pad(x, (0, 0, 0, 0, -1, 0)), 36),
        (lambda x: F.adaptive_max_pool2d(x, 2), 8),
        (lambda x: F.adaptive_max_pool2d(x, output_size=(1, None)), 12),
        (lambda x: x + torch.relu(x), 72),
        (lambda x: torch.add(x, torch.relu(x)), 72),
        (torch.sigmoid, 72),
        (lambda x: x.sigmoid(), 72),
        (lambda x: x.tanh(), 72),
        (F.gelu, 72),
        (lambda x: F.gelu(x, approximate="tanh"), 72),
        (lambda x: F.leaky_relu(x, 0.2), 72),
        (lambda x: F.elu(x, alpha=2.0), 72),
        (lambda x: F.hardtanh(x, -2.0, 3.0), 72),
        (F.hardswish, 72),
        (F.hardsigmoid, 72),
        (lambda x: F.silu(x, inplace=True), 72),
        (lambda x: torch.cat([x, x], 1), 144),
        (lambda x: torch.cat([x, torch.relu(x)], dim=-3), 144),
        (lambda x: x.permute(0, 2, 3, 1), 72),
        (lambda x: x.transpose(2, 3), 72),
        (lambda x: x.view(x.size(0), -1), 72),
        (lambda x: x.reshape(x.shape[0], 2, 36), 72),
        (lambda x: x.unsqueeze(1), 72),
        (lambda x: x.add(torch.relu(x)), 72),
        (lambda x: x.mean((2, 3)), 2),
        (lambda x: torch.mean(x, dim=(-1, -2), keepdim=True), 2),
        (lambda x: x.mean(axis=(2, 3), keepdims=True), 2),
        (lambda x: x.mean(3), 12),
        (lambda x: x[:, :1], 36),
        (lambda x: x[:, :, 1:3], 24),
        (lambda x: x.chunk(2, 1)[1], 36),
        (lambda x: torch.split(x, 1, dim=1)[0], 36),
        (lambda x: F.dropout(x, training=False), 72),
    ],
)
def test_functions_are_covered(function, width):
    assert accepted(on_conv(function)).layers[-1].width == width


@pytest.mark.parametrize("size", [1, 2, 3])
def test_dimensions(size):
    shape = (1, 2, *[4] * size)
    network = nn.Sequential(
        getattr(nn, f"Conv{size}d")(2, 3, 2, padding="same"),
        nn.ReLU(),
        getattr(nn, f"MaxPool{size}d")(2),
    )
    (layer,) = accepted(network, shape).layers
    assert (layer.fan_in, layer.width) == (2 * 2**size, 3 * 2**size)


def padded(before: nn.Module, padding, **options) -> nn.Sequential:
    torch.manual_seed(0)
    width = 27 if options else 108
    layers = [nn.Conv2d(2, 2, 1), nn.ReLU(), before, nn.Conv2d(2, 3, 3, padding=padding, **options)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(width, 2)).eval()


@pytest.mark.parametrize("options", [{}, {"stride": 2}])
def test_zeros_before_a_convolution_are_its_padding(options):
    networks = padded(nn.ZeroPad2d(1), 0, **options), padded(nn.Identity(), 1, **options)
    image = torch.randn(3, *IMAGE[1:])
    assert torch.equal(*(network(image) for network in networks))
    measured, rounded, equal = [], [], []
    for network in networks:
        folded = qn.fold(network)
        quantized = qn.quantize(folded, bits=4).model
        profile = qn.profile(folded, quantized, input_shape=IMAGE)
        measured.append([replace(layer, name="") for layer in profile.layers])
        rounded.append(vector_bound(folded, quantized, input_shape=IMAGE).tolist())
        equal.append(qn.equalize(folded, method="path").model(image.double()))
    assert measured[0] == measured[1] and rounded[0] == rounded[1]
    assert torch.allclose(*equal, rtol=1e-12)
    assert torch.allclose(equal[0].float(), networks[0](image), atol=1e-6)


@pytest.mark.parametrize("method", ["norms", "channels", "intervals", "affine"])
def test_padding_that_cuts_is_a_slice(method):
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2)
    cut = nn.Sequential(layers[0], nn.ZeroPad2d((-1, 0, 0, -2)), *layers[1:]).eval()
    sliced = Net(lambda s, x: s.b(torch.relu(s.a(x)[:, :, :-2, 1:])), a=layers[0], b=layers[2])
    ours, theirs = qn.fold(cut), qn.fold(sliced.eval())
    shape = (1, 2, 6, 6)
    pairs = [(net, qn.quantize(net, bits=4).model) for net in (ours, theirs)]
    options = {"input_shape": shape, "method": method, "seconds": 0}
    found = [qn.certify(*pair, **options).log10 for pair in pairs]
    assert np.allclose(*found, rtol=1e-12)
    errors = qn.output_errors(*pairs[0], qn.random_inputs(shape, count=8))
    assert errors.max() > 0 and math.log10(errors.max()) <= found[0].max()
    measured = [qn.profile(*pair, input_shape=shape).layers for pair in pairs]
    unnamed = [[replace(layer, name="") for layer in layers] for layers in measured]
    assert unnamed[0] == unnamed[1]


def test_one_sided_zeros_are_bounded():
    """The error found is below every bound, and T8 is reached by positive weights and inputs."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2, 2, 3, stride=2), nn.ReLU())
    for parameter in network.parameters():
        parameter.data.abs_()
    folded = qn.fold(network.eval())
    quantized = qn.quantize(folded, bits=3, rounding="floor").model
    found = qn.observe(folded, quantized, input_shape=IMAGE, steps=5).error
    (bound,) = 10 ** vector_bound(folded, quantized, input_shape=IMAGE).max(keepdims=True)
    assert found == pytest.approx(bound, rel=1e-9) and found <= bound


# -- refused ---------------------------------------------------------------------------------------


def names(error) -> str:
    """The message must list what is covered."""
    message = str(error.value)
    assert "Covered: Linear, Conv1d, Conv2d" in message and "MaxPool2d" in message
    return message


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (nn.Softplus(), "1: Softplus"),
        (nn.Softmax(1), "1: Softmax"),
        (nn.LayerNorm(6), "1: LayerNorm .* divides by the spread .* finite, but .* 1/√ε times"),
        (nn.GroupNorm(1, 2), "1: GroupNorm .* divides by the spread"),
        (nn.LocalResponseNorm(2), "1: LocalResponseNorm .* divides by the size .* no rule for it"),
        (nn.BatchNorm2d(2), r"1: BatchNorm2d is not covered by the theory. Fold it"),
        (nn.ConvTranspose2d(2, 2, 2), "1: ConvTranspose2d"),
        (nn.ConstantPad2d(1, 1.0), "1: ConstantPad2d"),
        (nn.ZeroPad2d((0, -1, 1, 0)), r"1: padding by \(0, -1, 1, 0\), which cuts and pads"),
        (nn.ZeroPad3d(1), r"1: ZeroPad3d of shape .*, which pads channels"),
        (nn.ReflectionPad2d(1), "1: ReflectionPad2d"),
        (nn.Upsample(scale_factor=2), "1: Upsample"),
        (nn.PixelShuffle(1), "1: PixelShuffle"),
        (nn.LPPool2d(2, 2), "1: LPPool2d"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "1: padding_mode='reflect'"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "1: padding_mode='circular'"),
        (nn.AvgPool2d(2, divisor_override=1), "1: average pooling with divisor_override"),
        (nn.MaxPool2d(2, return_indices=True), "1: pooling with return_indices=True"),
        (nn.MaxPool2d(2, padding=1, dilation=7), "1: max pooling where a window sees only padding"),
        (nn.Flatten(0), "1: flatten from 0 to -1"),
        (nn.Flatten(2), "1: flatten from 2 to -1"),
        (nn.AlphaDropout(), "1: AlphaDropout"),
        (type("Conv2d", (nn.Conv2d,), {"__module__": "torch.nn.own"})(2, 2, 1), "1: .*Conv2d"),
    ],
)
def test_modules_are_refused_by_name(module, named):
    with pytest.raises(qn.UnsupportedOperation, match=named) as error:
        accepted(nn.Sequential(nn.Conv2d(2, 2, 1), module))
    names(error)


def test_channels_of_prelu_are_those_of_its_input():
    with pytest.raises(qn.QnotesError, match="1: PReLU expects"):
        accepted(nn.Sequential(nn.Conv2d(2, 2, 1), nn.PReLU(3)))


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (F.softplus, "softplus"),
        (F.softmax, "softmax"),
        (lambda x: F.layer_norm(x, (6,)), "layer_norm .* divides by the spread"),
        (
            lambda x: F.scaled_dot_product_attention(x, x, x),
            "scaled_dot_product_attention .* its slope grows with the size of what it reads, "
            "and over all inputs is not finite",
        ),
        (torch.relu_, "relu_"),
        (lambda x: x.relu_(), "relu_"),
        (lambda x: x.add_(x), "add_"),
        (lambda x: F.pad(x, (1, 1), value=2.0), "pad: padding with mode='constant' and value=2.0"),
        (lambda x: F.pad(x, (1, 1), mode="reflect"), "pad: padding with mode='reflect'"),
        (lambda x: F.pad(x, (1,) * 8), "of more than three axes"),
        (lambda x: x * x, "mul: a product of conv and conv, neither of bounded range"),
        (lambda x: x * torch.relu(x), "neither of bounded range"),
        (lambda x: 2 * x, "mul"),
        (lambda x: x - x, "sub"),
        (lambda x: x / 2, "truediv"),
        (lambda x: x @ x, "matmul"),
        (lambda x: -x, "neg"),
        (lambda x: x + 1.0, "a sum of"),
        (lambda x: 1 + x, "a sum of"),
        (lambda x: torch.add(x, x, alpha=3), "a sum of"),
        (lambda x: torch.cat([x, x], 2), "cat along dimension 2 of .*, not of channels"),
        (lambda x: torch.cat([x, x]), "cat along dimension 0"),
        (lambda x: x.view(1, -1), "view: moving entries .* between the inputs of a batch"),
        (lambda x: x.view(-1, 6), "view: moving entries"),
        (lambda x: x.reshape(1, -1), "reshape: moving entries"),
        (lambda x: x.permute(1, 0, 2, 3), "permute: moving entries"),
        (lambda x: x.transpose(0, 2), "transpose: moving entries"),
        (lambda x: x.mean(1), "the mean over .* which is not over positions"),
        (lambda x: x.mean(), "mean over None"),
        (lambda x: x.mean((0, 2)), "which is not over positions"),
        (lambda x: x.mean((2, -2)), "which is not over positions"),
        (lambda x: x.mean((2, 3), dtype=torch.float32), "mean over"),
        (lambda x: x[:1], "getitem"),
        (lambda x: x[0], "getitem"),
        (lambda x: x[:, 0], "getitem"),
        (lambda x: torch.cat(x.chunk(2, 1), 1), "cat"),
        (lambda x: x.squeeze(), "squeeze"),
        (lambda x: x.expand(2, 2, 6, 6), "expand"),
        (lambda x: F.hardtanh(x, 1.0, 1.0), "Hardtanh with .*greater"),
        (lambda x: F.gelu(x) * x.sum(), "sum"),
        (lambda x: x.flatten(), "flatten from 0 to -1"),
        (lambda x: x.flatten(2), "flatten from 2 to -1"),
        (torch.flatten, "flatten from 0 to -1"),
        (lambda x: F.dropout(x, training=True), "dropout"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=1), "divisor_override"),
        (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], "max_pool2d"),
        (lambda x: F.interpolate(x, scale_factor=2), "interpolate"),
        (lambda x: x.detach(), "detach"),
    ],
)
def test_functions_are_refused_by_name(function, named):
    with pytest.raises(qn.UnsupportedOperation, match=named) as error:
        accepted(on_conv(function))
    names(error)


def with_buffer() -> nn.Module:
    network = Net(lambda s, x: s.conv(x) + s.c, conv=nn.Conv2d(2, 2, 1))
    network.register_buffer("c", torch.ones(1, 2, 6, 6))
    return network


def functional_weights() -> nn.Module:
    return Net(lambda s, x: F.conv2d(x, s.conv.weight), conv=nn.Conv2d(2, 2, 1))


def parametrized() -> nn.Module:
    return nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1)))


def hooked(register) -> nn.Module:
    network = nn.Sequential(nn.Conv2d(2, 2, 1))
    getattr(network[0], register)(lambda *given: None)
    return network


def patched() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(2, 2, 1))
    network[0].forward = lambda x: 7 * x
    return network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (with_buffer(), "c: c is not covered"),
        (functional_weights(), "is not covered"),
        (parametrized(), "0: a parametrization computes its 'weight'.*remove_parametrizations"),
        (hooked("register_forward_hook"), "0: Conv2d with hooks"),
        (hooked("register_forward_pre_hook"), "0: Conv2d with hooks"),
        (patched(), "0: Conv2d with hooks or a forward of its own"),
        (Net(lambda s, x: (s.c(x), x), c=nn.Conv2d(2, 2, 1)), "returns several values"),
        (Net(lambda s, x: {"y": s.c(x)}, c=nn.Conv2d(2, 2, 1)), "returns several values"),
        (Net(lambda s, x: s.c(x) if x.sum() > 0 else x, c=nn.Conv2d(2, 2, 1)), "cannot be traced"),
        (Net(lambda s, x: s.c(x) + x.sum(), c=nn.Conv2d(2, 2, 1)), "sum is not covered"),
    ],
)
def test_networks_are_refused(network, message):
    with pytest.raises(qn.UnsupportedOperation, match=message):
        accepted(network)


def test_a_size_that_is_computed_on_the_way_is_no_size_of_a_pool():
    network = on_conv(lambda x: F.avg_pool2d(x, x.size()[3]))
    message = "avg_pool2d: AvgPool2d with kernel_size=getitem.*nn.AdaptiveAvgPool2d"
    with pytest.raises(qn.UnsupportedOperation, match=message):
        accepted(network)


def test_two_inputs():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(qn.UnsupportedOperation, match="takes 2 inputs; one is covered"):
        accepted(Two())


def test_a_sum_that_broadcasts():
    network = Net(
        lambda s, x: s.conv(x) + s.pool(x), conv=nn.Conv2d(2, 2, 1), pool=nn.AdaptiveAvgPool2d(1)
    )
    with pytest.raises(qn.UnsupportedOperation, match=r"add: a sum of shapes .* broadcasts"):
        accepted(network)


def test_dropout_in_training_mode():
    network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Dropout()).eval()
    network[1].train()
    with pytest.raises(qn.QnotesError, match=r"1: is in training mode; call \.eval\(\)"):
        qn.profile(network, network, input_shape=IMAGE)


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_on_the_whole_network(hook):
    """A trace would lose them without a word."""
    network = nn.Sequential(nn.Conv2d(2, 2, 1))
    getattr(network, hook)(lambda *given: None)
    for function in (qn.fold, qn.quantize):
        with pytest.raises(qn.UnsupportedOperation, match="Sequential has hooks"):
            function(network.eval())


# -- values that are overwritten -------------------------------------------------------------------


def overwritten_by_relu(s, x):
    y = s.a(x)
    return s.b(F.relu(y, inplace=True)) + y


def overwritten_by_a_module(s, x):
    y = s.a(x)
    return s.relu(y) + s.b(y)


def overwritten_by_a_sum(s, x):
    y = s.a(x)
    z = y
    z += s.b(y)
    return z + y


def overwritten_through_a_view(s, x):
    y = s.identity(s.a(x))
    z = s.relu(y)
    return s.b(z) + y


def overwritten_input(s, x):
    y = s.relu(x)
    return s.a(y) + s.b(x)


@pytest.mark.parametrize(
    "forward",
    [
        overwritten_by_relu,
        overwritten_by_a_module,
        overwritten_by_a_sum,
        overwritten_through_a_view,
        overwritten_input,
    ],
)
def test_a_value_read_after_it_was_overwritten(forward):
    a, b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    network = Net(forward, a=a, b=b, relu=nn.ReLU(inplace=True), identity=nn.Identity())
    with pytest.raises(qn.UnsupportedOperation, match=r"reads \w+ after \w+ has overwritten it"):
        accepted(network)


def harmless_residual(s, x):
    y = s.b(s.relu(s.a(x)))
    y += x
    return s.relu(y)


def read_before_it_is_overwritten(s, x):
    y = s.a(x)
    z = s.b(y)
    return z + s.relu(y)


@pytest.mark.parametrize("forward", [harmless_residual, read_before_it_is_overwritten])
def test_harmless_overwriting_is_accepted(forward):
    a, b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    assert accepted(Net(forward, a=a, b=b, relu=nn.ReLU(inplace=True))).depth == 2


def test_a_pool_over_the_units_of_a_dense_layer():
    """`MaxPool1d` takes (batch, units) too, and pools the units."""
    layers = [nn.Linear(4, 4), nn.ReLU(), nn.MaxPool1d(2), nn.Linear(2, 2)]
    network = nn.Sequential(*layers).double().eval()
    profile = qn.profile(network, network, input_shape=(1, 4))
    assert [layer.width for layer in profile.layers] == [2, 2]
