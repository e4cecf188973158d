"""Networks that nobody here wrote: each ends in the right value, or in one error that says why.

Each network stands for a class of networks. The right value is compared with what the caller's own
modules compute, in float64.
"""

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from torch import fx, nn

import qnotes as qn
from tests.random_networks import Net

VECTOR, IMAGE = (1, 3), (1, 2, 6, 6)


def linear(width: int = 3) -> nn.Linear:
    return nn.Linear(3, width)


def conv(**options) -> nn.Conv2d:
    return nn.Conv2d(2, 3, 3, **options)


def stirred(norm: nn.Module) -> nn.Module:
    """With statistics as after training."""
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 2)
    return norm


def normed(layer: nn.Module | None = None, norm: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(layer or conv(), norm or stirred(nn.BatchNorm2d(3)), nn.ReLU()).eval()


def with_branch(condition) -> nn.Module:
    return Net(lambda s, x: s.f(x) * 1 if condition(x) else torch.relu(s.f(x)), f=linear())


def inputs(shape, count: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, *shape[1:], generator=generator, dtype=torch.float64) * 2 - 1


# -- the right value -------------------------------------------------------------------------------


def made_in_forward():
    return Net(lambda s, x: nn.ReLU()(s.f(x)), f=linear()), VECTOR


def bare_layer():
    return nn.Linear(3, 2), VECTOR


def short_options():
    return nn.Sequential(nn.Conv2d(2, 3, 3, stride=(2,), padding=(1,), dilation=(1,))), IMAGE


def notes_on_a_layer():
    network = nn.Sequential(conv(), nn.ReLU())
    network[0].note, network[0].qconfig = np.arange(3), object()
    return network, IMAGE


def replaced_weights():
    network = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    network[3].weight = nn.Parameter(torch.randn(5, 48))
    network[3].bias = None
    network[0].weight = nn.Parameter(torch.randn(3, 2, 3, 3))
    return network, IMAGE


def synchronized_norm():
    return nn.SyncBatchNorm.convert_sync_batchnorm(normed()), IMAGE


def layers_in_another_mode():
    network = normed().eval()
    network[0].train()
    network[2].train()
    return network, IMAGE


def keeps_its_values():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.log = linear(), []

        def forward(self, x):
            self.x = self.f(x)
            self.log.append(self.x)
            return torch.relu(self.x)

    return Keeps(), VECTOR


def two_names_for_one_layer():
    layer = conv(padding=1)
    graph = fx.symbolic_trace(
        Net(lambda s, x: s.b(s.a(x)) + s.c(x), a=layer, b=normed()[1], c=conv(padding=1)).eval()
    )
    graph.c = graph.a
    return graph, IMAGE


EXACT = (
    made_in_forward,
    bare_layer,
    short_options,
    notes_on_a_layer,
    replaced_weights,
    synchronized_norm,
    layers_in_another_mode,
    keeps_its_values,
    two_names_for_one_layer,
)


@pytest.mark.parametrize("make", EXACT)
def test_the_right_value(make):
    torch.manual_seed(0)
    network, shape = make()
    if make is not layers_in_another_mode:
        network.eval()
    x = inputs(shape)
    folded = qn.fold(network)
    want = copy.deepcopy(network).double().eval()(x)
    assert (folded(x) - want).abs().max() <= 1e-6 * want.abs().max()
    quantized = qn.quantize(folded, bits=4).model
    error = qn.output_errors(folded, quantized, x).max().item()
    table = qn.bounds(qn.profile(folded, quantized, input_shape=shape))["log10"].dropna()
    assert error > 0 and math.log10(error) <= table.min()


def test_tracing_leaves_no_proxies(tmp_path):
    network, shape = keeps_its_values()
    network.eval()
    before = dict(vars(network))
    qn.fold(network)
    qn.profile(network, network, input_shape=shape)
    assert vars(network) == before and network.log == []
    torch.save(network.state_dict(), tmp_path / "saved")
    copy.deepcopy(network)


# -- refused by name -------------------------------------------------------------------------------


def hidden_method():
    network = normed()
    network[0]._conv_forward = lambda x, w, b: 5 * F.conv2d(x, w, b)
    return network


def hooked():
    network = normed()
    network[0].register_forward_hook(lambda module, read, made: 5 * made)
    return network


def read_by_itself():
    network = normed()
    return Net(lambda s, x: s.b(s.a(x)) + s.a.bias.sum(), a=network[0], b=network[1])


def pruned():
    network = nn.Sequential(conv(), nn.ReLU())
    torch.nn.utils.prune.l1_unstructured(network[0], "weight", 0.5)
    network(torch.zeros(IMAGE))
    return network


def old_weight_norm():
    with pytest.warns(FutureWarning):
        return nn.Sequential(torch.nn.utils.weight_norm(conv()))


def parametrized(how):
    return nn.Sequential(getattr(torch.nn.utils.parametrizations, how)(conv()), nn.ReLU())


def plain_attribute():
    network = nn.Sequential(conv())
    weight = network[0].weight.detach()
    del network[0].weight
    network[0].weight = weight
    return network


def subclass_weights():
    class Packed(torch.Tensor):
        pass

    network = nn.Sequential(linear())
    packed = torch.randn(3, 3).as_subclass(Packed)
    network[0].weight = nn.Parameter(packed, requires_grad=False)
    return network


def edited_graph():
    graph = fx.symbolic_trace(nn.Sequential(conv(), nn.ReLU()).eval())
    for node in graph.graph.nodes:
        if node.target == "1":
            node.replace_all_uses_with(node.args[0])
    return graph


def own_call():
    class Loud(nn.Sequential):
        def __call__(self, x):
            return 3 * super().__call__(x)

    return Loud(linear())


def changed_ends():
    network = nn.Sequential(conv(), nn.ReLU6())
    network[1].max_val = 3.0
    return network


def changed_padding():
    network = nn.Sequential(nn.ZeroPad2d(1), conv())
    network[0].value = 2.0
    return network


def without_variance():
    network = normed()
    network[1].running_var = None
    return network


def partly_training(kind):
    network = nn.Sequential(conv(), kind).eval()
    network[1].train()
    return network


def asserts(s, x):
    assert isinstance(x, torch.Tensor)
    return s.f(x)


def makes_a_layer(s, x):
    return nn.Linear(3, 2)(s.f(x))


def reads_a_value(s, x):
    return s.f(x) if x.sum() > 0 else x


def as_array(s, x):
    return s.f(torch.from_numpy(np.asarray(x)))


def quantized_dynamically():
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(linear()).eval())


def quantization_aware():
    network = nn.Sequential(linear(), nn.ReLU()).train()
    network.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    return torch.ao.quantization.prepare_qat(network)


REFUSED = {
    "method hidden": (hidden_method, "0: has hooks or a forward of its own"),
    "hook before a norm": (hooked, "0: has hooks or a forward of its own.*remove them"),
    "bias read by itself": (read_by_itself, "a: the network also reads a.bias by itself"),
    "pruned": (pruned, "0: BasePruningMethod computes.*prune.remove"),
    "weight norm": (lambda: parametrized("weight_norm"), "0: .*'weight'.*remove_parametrizations"),
    "spectral norm": (lambda: parametrized("spectral_norm"), "0: .*remove_parametrizations"),
    "old weight norm": (old_weight_norm, "0: WeightNorm computes.*remove_weight_norm"),
    "weight no parameter": (plain_attribute, r"0: its weight is no parameter.*nn\.Parameter"),
    "weights of a subclass": (subclass_weights, "0: its weight is a Packed"),
    "meta": (lambda: nn.Sequential(nn.Linear(3, 3, device="meta")), "0: its weight is on the meta"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(2, 3)), "0: its weight has no shape yet.*run"),
    "whole numbers": (
        lambda: nn.Sequential(linear().requires_grad_(False).to(torch.float8_e4m3fn)),
        "0: its weight is torch.float8_e4m3fn",
    ),
    "edited graph": (edited_graph, r"edited.*\.recompile\(\)"),
    "own call": (own_call, "Loud has hooks or a forward of its own"),
    "no variance": (without_variance, "1: this batch norm keeps no running statistics"),
    "norm in training": (
        lambda: partly_training(nn.BatchNorm2d(3)),
        r"1: is in training mode.*eval",
    ),
    "dropout in training": (lambda: partly_training(nn.Dropout()), r"1: is in training mode"),
    "assertion": (
        lambda: Net(asserts, f=linear()),
        "asserts something.*Take that out.*from_export",
    ),
    "layer made in forward": (lambda: Net(makes_a_layer, f=linear()), "Make them in __init__"),
    "value read": (lambda: Net(reads_a_value, f=linear()), "values or shape.*Take that out"),
    "array": (lambda: Net(as_array, f=linear()), "cannot be traced"),
    "isinstance": (lambda: with_branch(lambda x: isinstance(x, fx.Proxy)), "than its trace"),
    "gradients": (lambda: with_branch(lambda x: torch.is_grad_enabled()), "than its trace"),
    "jit": (
        lambda: torch.jit.trace(nn.Sequential(linear()).eval(), torch.zeros(VECTOR)),
        "compiled by torch.jit.*pass the torch.nn.Module",
    ),
    "compiled": (lambda: torch.compile(nn.Sequential(linear())), r"pass its \._orig_mod"),
    "data parallel": (lambda: nn.DataParallel(nn.Sequential(linear())), r"pass its \.module"),
    "module of a program": (
        lambda: torch.export.export(
            nn.Sequential(linear()).eval(), (torch.zeros(VECTOR),)
        ).module(),
        "pass the program itself to qnotes.from_export",
    ),
    "no module": (lambda: 5, "expected a torch.nn.Module; got int"),
    "a word for a name": (
        lambda: nn.Sequential(OrderedDict({"class": linear()})),
        "class has 'class' in its name, a word of Python's own; rename it",
    ),
}


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_fold(name):
    make, message = REFUSED[name]
    torch.manual_seed(0)  # with weights by chance two branches can agree on what is tried
    network = make()
    if isinstance(network, nn.Module) and "training" not in name and "program" not in name:
        network.eval()
    with pytest.raises(qn.QnotesError, match=message):
        qn.fold(network)


PROFILED = {
    "ends of ReLU6": (changed_ends, "1: ReLU6 with the ends 0.0 and 3.0"),
    "value of zero padding": (changed_padding, "0: padding with value=2.0"),
    "empty layer": (
        lambda: nn.Sequential(nn.Linear(3, 0)),
        r"0: its weight has the shape \(0, 3\)",
    ),
    "dynamic layer": (quantized_dynamically, "0: torch.ao.*dynamic.*Linear is not covered"),
    "QAT layer": (quantization_aware, r"0: torch\.ao.*qat.*Linear is not covered"),
    "bias that broadcasts": (lambda: with_bias(1), "0: its options say weights of shape"),
    "dictionary": (lambda: Net(lambda s, x: {"y": s.f(x)}, f=linear()), "returns several values"),
}


def with_bias(size: int) -> nn.Module:
    network = nn.Sequential(linear())
    network[0].bias = nn.Parameter(torch.zeros(size))
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROFILED)
def test_refused_by_quantize_and_profile(name):
    make, message = PROFILED[name]
    network = make().eval()
    for call in (qn.quantize, lambda net: qn.profile(net, net, input_shape=VECTOR)):
        with pytest.raises(qn.QnotesError, match=message):
            call(network)


def test_a_global_hook():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda m, x, y: 2 * y)
    try:
        with pytest.raises(qn.QnotesError, match="global forward hook"):
            qn.fold(nn.Sequential(linear()).eval())
    finally:
        handle.remove()


def test_a_norm_after_a_linear_layer_normalizes_the_only_dimension():
    """With more than two dimensions, the norm's dimension 1 is not what the layer makes."""
    network = nn.Sequential(nn.Linear(4, 4), stirred(nn.BatchNorm1d(4))).double().eval()
    folded = qn.fold(network)
    two, three = inputs((1, 4)), inputs((1, 4, 4))
    assert (folded(two) - network(two)).abs().max() <= 1e-9
    with pytest.raises(RuntimeError):  # the network takes them, and computes something else
        folded(three)
    with pytest.raises(qn.QnotesError, match="Linear expects an input of shape"):
        qn.profile(folded, folded, input_shape=(1, 4, 4))
    program = torch.export.export(network, (three,))
    with pytest.raises(qn.UnsupportedOperation, match="normalizes dimension 1 of three"):
        qn.from_export(program)


def test_a_program_without_statistics():
    network = nn.Sequential(conv(), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    program = torch.export.export(network, (torch.zeros(2, *IMAGE[1:]),))
    with pytest.raises(qn.UnsupportedOperation, match="keeps no running statistics"):
        qn.from_export(program)


def test_graphs_are_compared_by_place():
    """Both have a node called `one`, at different places."""

    def graph(names):
        found = fx.Graph()
        x = found.placeholder("x")
        made = [found.call_module(layer, (x,)) for layer in "ab"]
        for node, name in zip(made, names, strict=True):
            node.name = name
        by_name = {node.name: node for node in made}
        relu = found.call_function(torch.relu, (by_name["one"],))
        found.output(found.call_function(torch.add, (relu, by_name["two"])))
        return fx.GraphModule({"a": layers["a"], "b": layers["b"]}, found).eval()

    layers = {"a": linear(), "b": linear()}
    first, second = graph(["one", "two"]), graph(["two", "one"])
    with pytest.raises(qn.QnotesError, match="does not match"):
        qn.profile(first, second, input_shape=VECTOR)


# -- precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("options", [{}, {"symmetric": False}, {"granularity": "tensor"}])
def test_narrow_weights_are_rounded_as_their_float64_copy(dtype, bits, options):
    torch.manual_seed(0)
    network = nn.Sequential(linear(8), nn.ReLU(), nn.Linear(8, 2)).eval().to(dtype)
    network[0].weight.data[0, 0] = 4.0
    wide = copy.deepcopy(network).double()
    for scheme in (options, options | {"bias_bits": bits}):
        ours, theirs = (qn.quantize(net, bits=bits, **scheme) for net in (network, wide))
        for name, layer in ours.layers.items():
            assert torch.equal(layer.codes, theirs.layers[name].codes)
            assert torch.equal(layer.weight, theirs.layers[name].weight)
            assert layer.qmin <= layer.codes.min() and layer.codes.max() <= layer.qmax
        x = inputs(VECTOR)
        assert torch.equal(qn.outputs(ours.model, x), qn.outputs(theirs.model, x))


# -- evaluation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda net, x: qn.outputs(net, x),
        lambda net, x: qn.accuracy(net, x, torch.zeros(len(x), dtype=torch.long)),
        lambda net, x: qn.output_errors(net, net, x),
        lambda net, x: qn.observe(net, net, input_shape=IMAGE, samples=2, steps=0),
        lambda net, x: qn.tolerance(net, net, x.repeat(300, 1, 1, 1)),
    ],
)
def test_evaluation_refuses_and_leaves_a_part_in_training_mode(call):
    network = normed().eval()
    network[1].train()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(qn.QnotesError, match=r"1: is in training mode; call \.eval\(\)"):
        call(network, inputs(IMAGE, 2))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_evaluation_writes_to_a_copy():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = linear()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count += 1
            self.last = x
            return self.f(x)

    network = Counts().eval()
    qn.outputs(network, inputs(VECTOR))
    qn.observe(network, network, input_shape=VECTOR, samples=2, steps=0)
    assert network.count == 0 and not hasattr(network, "last")


def test_outputs_of_any_kind():
    x = inputs(VECTOR)
    without = nn.Sequential(nn.ReLU()).eval()
    assert torch.equal(qn.outputs(without, x), x.relu().float())
    vector = Net(lambda s, x: s.f(x)[:, 0], f=linear()).eval()
    assert qn.output_errors(vector, vector, x).shape == (len(x),)
    assert qn.observe(vector, vector, input_shape=VECTOR, samples=2, steps=1).error == 0
    for made, words in (
        (lambda s, x: {"y": s.f(x)}, "returns dict; expected one tensor"),
        (lambda s, x: s.f(x).sum(), r"returns a tensor of shape \(\) for"),
        (lambda s, x: s.f(x.reshape(2, 3, -1)), "cannot take inputs of shape"),
    ):
        network = Net(made, f=linear()).eval()
        for call in (
            lambda net: qn.outputs(net, x),
            lambda net: qn.output_errors(net, net, x),
            lambda net: qn.observe(net, net, input_shape=VECTOR, samples=2, steps=0),
        ):
            with pytest.raises(qn.QnotesError, match=words):
                call(network)
    with pytest.raises(qn.QnotesError, match="a score for each class"):
        qn.accuracy(vector, x, torch.zeros(len(x), dtype=torch.long))


def test_a_quantized_where_its_model_is_wanted():
    network = qn.fold(nn.Sequential(linear()).eval())
    quantized = qn.quantize(network, bits=8)
    for call in (
        lambda: qn.observe(network, quantized, input_shape=VECTOR),
        lambda: qn.profile(network, quantized, input_shape=VECTOR),
        lambda: qn.output_errors(network, quantized, inputs(VECTOR)),
    ):
        with pytest.raises(qn.QnotesError, match=r"got Quantized; pass its \.model"):
            call()


# -- options and files -----------------------------------------------------------------------------


def test_a_tied_bias_is_folded_under_nobody():
    torch.manual_seed(0)
    network = nn.Sequential(linear(), stirred(nn.BatchNorm1d(3)), linear()).double().eval()
    network[0].bias = network[2].bias
    x = inputs(VECTOR)
    assert (qn.fold(network)(x) - network(x)).abs().max() <= 1e-9


def test_numbers_of_numpy(tmp_path):
    network = qn.fold(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval())
    given = {"granularity": "group", "group_size": np.int64(2), "seed": np.int32(3)}
    ours = qn.quantize(network, bits=np.int64(8), **given)
    theirs = qn.quantize(network, bits=8, granularity="group", group_size=2, seed=3)
    assert ours.scheme == theirs.scheme
    qn.save_quantized(ours, tmp_path / "saved")
    shape = tuple(np.array([1, 4]))
    profile = qn.profile(network, ours.model, input_shape=shape, radius=np.float32(0.5))
    assert profile.from_json(profile.to_json()).radius == 0.5
    seen = qn.observe(network, ours.model, input_shape=shape, samples=np.int64(2), steps=np.int8(1))
    assert seen.error >= 0


@pytest.mark.parametrize("radius", [10**400, math.inf, math.nan, True, "1", None, 1j])
def test_radii_that_are_none(radius):
    network = qn.fold(nn.Sequential(linear()).eval())
    for call in (qn.profile, qn.observe):
        with pytest.raises(qn.QnotesError, match="radius must be a positive finite number; got"):
            call(network, network, input_shape=VECTOR, radius=radius)


def test_a_radius_near_the_end_of_floats():
    network = qn.fold(nn.Sequential(linear()).eval())
    other = qn.quantize(network, bits=4).model
    table = qn.bounds(qn.profile(network, other, input_shape=VECTOR, radius=1e308))
    assert 290 < table["log10"].dropna().min() < 320
    seen = qn.observe(network, other, input_shape=VECTOR, radius=1e307, samples=2, steps=1)
    assert 0 < math.log10(seen.error) < table["log10"].dropna().min()


def test_whole_radii_that_no_float_holds():
    """A bound is about the larger box, a search about the smaller."""
    assert qn.profile(NETWORK, NETWORK, input_shape=VECTOR, radius=2**53 + 1).radius > 2**53 + 1
    low = qn.random_inputs(VECTOR, count=8, radius=2**53 + 1).abs().max()
    assert low <= 2**53


NETWORK = nn.Sequential(nn.Linear(3, 2)).eval()


def test_two_layers_that_share_a_bias_are_saved(tmp_path):
    network = nn.Sequential(linear(), nn.ReLU(), linear()).eval()
    network[2].bias = network[0].bias
    quantized = qn.quantize(network, bits=8)
    qn.save_quantized(quantized, tmp_path / "saved")
    loaded = qn.load_quantized(tmp_path / "saved", network)
    x = inputs(VECTOR)
    assert torch.equal(qn.outputs(loaded.model, x), qn.outputs(quantized.model, x))


def test_finetune_takes_images_of_any_precision():
    network = qn.fold(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval())
    images, labels = torch.rand(64, 1, 4, 4), torch.arange(64) % 2
    ours, theirs = (
        qn.finetune(network, given, labels.to(kind), bits=8, epochs=1)
        for given, kind in ((images, torch.int64), (images.double(), torch.int32))
    )
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    with pytest.raises(qn.QnotesError, match="with a label each"):
        qn.finetune(network, images, labels[:3], bits=8)
