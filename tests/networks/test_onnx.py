"""ONNX files become networks that compute the same; whatever else is refused by name."""

import math
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import qnotes as qn
from qnotes.errors import QnotesError, UnsupportedOperation
from qnotes.networks import onnx_files
from qnotes.networks._torchvision import torchvision
from qnotes.networks.architectures import seeded
from qnotes.networks.weights import calibrate
from tests.onnx_writing import model, node, numbers, reference, written

IMAGE = (1, 2, 9, 8)
W, B = numbers(4, 2, 3, 3), numbers(4, seed=1)
CONV = {"w": W, "b": B}
INTS = {
    "zero": np.float32(0), "six": np.float32(6), "one": np.float32(1), "two": np.int64([2]),
    "axes": np.int64([2, 3]), "flat": np.int64([0, -1]), "inner": np.int64([0, 2, 1, 9, 8]),
    "back": np.int64([0, 2, 9, 8]),
}  # fmt: skip


def branch(kind, *reads, **options):
    """A graph inside of a node."""
    made = helper.make_tensor_value_info("made", TensorProto.FLOAT, None)
    inner = helper.make_node(kind, list(reads), ["made"], **options)
    return helper.make_graph([inner], "branch", [], [made])


def conv(inputs="x w b", output="y", **options):
    return node("Conv", inputs, output, **options)


def pool(kind, **options):
    return node(kind, "x", kernel_shape=[3, 3], **options)


#: Name: the nodes, their constants, and the version of ONNX's operations, if it matters.
FILES = {
    "conv": ([conv()], CONV),
    "one-sided": ([conv(pads=[0, 0, 1, 1], strides=[2, 2])], CONV),
    "one-sided before": ([conv(pads=[2, 1, 0, 1])], CONV),
    "same": ([conv(auto_pad="SAME_UPPER", strides=[2, 2])], CONV),
    "same lower": ([conv(auto_pad="SAME_LOWER", strides=[2, 2])], CONV),
    "valid, dilated": ([conv(auto_pad="VALID", dilations=[2, 2])], CONV),
    "grouped": ([conv(group=2)], {"w": numbers(4, 1, 3, 3), "b": B}),
    "conv and sum": ([conv("x w", "a"), node("Add", "a c")], {"w": W, "c": B.reshape(1, 4, 1, 1)}),
    "conv of a sum": ([node("Add", "x c", "a"), conv("a w b")], CONV | {"c": numbers(2, 1, 1)}),
    "scaled": ([node("Mul", "x c", "a"), conv("a w b")], CONV | {"c": np.float32(0.5)}),
    "divided": ([conv("x w b", "a"), node("Div", "a c")], CONV | {"c": np.float32(3)}),
    "number minus": ([conv("x w b", "a"), node("Sub", "c a")], CONV | {"c": np.float32(3)}),
    "norm": (
        [conv("x w b", "a"), node("BatchNormalization", "a s t m v", epsilon=0.01)],
        CONV | {"s": B, "t": B, "m": numbers(4, seed=2), "v": np.abs(numbers(4, seed=3))},
    ),
    "relu": ([conv("x w b", "a"), node("Relu", "a")], CONV),
    "relu6": ([conv("x w b", "a"), node("Clip", "a zero six")], CONV),
    "relu6, old": ([conv("x w b", "a"), node("Clip", "a", min=0.0, max=6.0)], CONV, 10),
    "relu as clip": ([conv("x w b", "a"), node("Clip", "a zero")], CONV),
    "clip": ([conv("x w b", "a"), node("Clip", "a zero one")], CONV),
    "leaky": ([conv("x w b", "a"), node("LeakyRelu", "a", alpha=0.2)], CONV),
    "prelu": ([conv("x w b", "a"), node("PRelu", "a c")], CONV | {"c": numbers(4, 1, 1)}),
    "elu": ([conv("x w b", "a"), node("Elu", "a")], CONV),
    "gelu": ([conv("x w b", "a"), node("Gelu", "a")], CONV),
    "hardswish": ([conv("x w b", "a"), node("HardSwish", "a")], CONV),
    "silu": ([conv("x w b", "a"), node("Sigmoid", "a", "g"), node("Mul", "g a")], CONV),
    "max pool": ([pool("MaxPool", strides=[2, 2], pads=[0, 0, 1, 1])], {}),
    "max pool before": ([pool("MaxPool", strides=[2, 2], pads=[1, 1, 0, 0])], {}),
    "max pool, up": ([pool("MaxPool", strides=[2, 2], ceil_mode=1)], {}),
    "max pool, same": ([pool("MaxPool", strides=[2, 2], auto_pad="SAME_UPPER")], {}),
    "average": ([pool("AveragePool", strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "average, counted": (
        [pool("AveragePool", strides=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1)], {},
    ),
    "average, counted, up": (
        [pool("AveragePool", strides=[2, 2], pads=[1, 0, 0, 0], count_include_pad=1, ceil_mode=1)],
        {},
    ),
    "average, one-sided": ([pool("AveragePool", strides=[2, 2], pads=[0, 0, 1, 1])], {}),
    "global": ([node("GlobalAveragePool", "x")], {}),
    "global maximum": ([node("GlobalMaxPool", "x")], {}),
    "mean": ([node("ReduceMean", "x axes", keepdims=0)], {}),
    "mean, old": ([node("ReduceMean", "x", axes=[2, 3])], {}, 13),
    "pad": (
        [node("Pad", "x p zero", "a"), conv("a w b")], CONV | {"p": np.int64([0, 0, 0, 1] * 2)},
    ),
    "pad of axes": ([node("Pad", "x p  axes")], {"p": np.int64([0, 1, 1, 0])}),
    "pad, old": ([node("Pad", "x", pads=[0, 0, 0, 0, 0, 0, 1, 2])], {}, 10),
    "channels last": (
        [
            conv("x w b", "a"), node("Transpose", "a", "l", perm=[0, 2, 3, 1]),
            node("Mul", "l b", "m"), node("Add", "m k", "s"), node("Relu", "s"),
        ],
        CONV | {"k": numbers(1, 1, 1, 4)},
    ),
    "dropout": ([node("Dropout", "x", "a"), node("Identity", "a")], {}),
    "concatenation": (
        [conv("x w b", "a"), conv("x w b", "c"), node("Concat", "a c", axis=-3)], CONV,
    ),
    "sums": ([conv("x w b", "a"), node("Relu", "a", "c"), node("Sum", "a c a")], CONV),
    "gate": (
        [
            node("GlobalAveragePool", "x", "a"), node("Conv", "a u", "c"),
            node("Sigmoid", "c", "g"), node("Mul", "x g"),
        ],
        {"u": numbers(2, 2, 1, 1)},
    ),
    "shuffle": (
        [
            conv("x w b", "a", pads=[1] * 4), node("Reshape", "a inner", "c"),
            node("Transpose", "c", "d", perm=[0, 2, 1, 3, 4]), node("Reshape", "d four"),
        ],
        CONV | {"inner": np.int64([0, 2, 2, 9, 8]), "four": np.int64([1, 4, 9, 8])},
    ),
    "split": ([conv("x w b", "a"), node("Split", "a", "c d", axis=1, num_outputs=2),
               node("Concat", "d c", axis=1)], CONV),
    "slice": ([conv("x w b", "a"), node("Slice", "a one_ three one_")],
              CONV | {"one_": np.int64([1]), "three": np.int64([3])}),
    "slice of all": ([node("Slice", "x from_ to_ axes_"), ],
                     {"from_": np.int64([0, 1]), "to_": np.int64([2**31 - 1, 5]),
                      "axes_": np.int64([0, 2])}),
    "no clip": ([conv("x w b", "a"), node("Clip", "a least most")],
                CONV | {"least": np.float32(-np.inf), "most": np.finfo(np.float32).max}),
    "plus 0": ([conv("x w b", "a"), node("Add", "a c")], CONV | {"c": np.float32(0)}),
    "branch on a constant": (
        [helper.make_node("If", ["c"], ["t"], then_branch=branch("Constant", value_float=2.0),
                          else_branch=branch("Constant", value_float=3.0)), node("Mul", "x t")],
        {"c": np.array(True)},
    ),
}  # fmt: skip
LINEAR = {"w": numbers(6, 3), "c": numbers(3, seed=1)}
#: The same for vectors.
VECTORS = {
    "gemm": ([node("Gemm", "x w c", alpha=0.5, beta=2.0)], LINEAR),
    "gemm, transposed": ([node("Gemm", "x w", transB=1)], {"w": numbers(3, 6)}),
    "gemm, one bias": ([node("Gemm", "x w c")], {"w": numbers(6, 3), "c": np.float32(2)}),
    "matmul": ([node("MatMul", "x w")], LINEAR),
    "matmul and sum": ([node("MatMul", "x w", "a"), node("Add", "c a")], LINEAR),
    "matmul, sum, norm": (
        [
            node("MatMul", "x w", "a"), node("Add", "a c", "b"),
            node("BatchNormalization", "b c c c v"),
        ],
        LINEAR | {"v": np.float32([1, 2, 3])},
    ),
    "a matmul that is read twice": (
        [node("MatMul", "x w", "a"), node("Add", "a c", "b"), node("Sum", "a b")], LINEAR,
    ),
    "constant node": (
        [
            node("Constant", "", "k", value=numpy_helper.from_array(numbers(3))),
            node("MatMul", "x w", "a"), node("Add", "a k"),
        ],
        LINEAR,
    ),
}  # fmt: skip
ALL = {**{k: (v, IMAGE) for k, v in FILES.items()}, **{k: (v, (1, 6)) for k, v in VECTORS.items()}}


def of(tmp_path, name):
    (nodes, constants, *opset), shape = ALL[name]
    used = {read for one in nodes for read in one.input}
    constants = {k: v for k, v in (INTS | constants).items() if k in used}
    path = tmp_path / "network.onnx"
    return written(path, nodes, shape, constants, opset=(opset or [21])[0]), shape


def inputs(shape, seed=5, size=3.0):
    return (np.random.default_rng(seed).uniform(-size, size, shape)).astype("float32")


@pytest.mark.parametrize("name", ALL)
def test_a_network_computes_what_its_file_computes(tmp_path, name):
    """Also where the probe that `from_onnx` itself runs did not look."""
    path, shape = of(tmp_path, name)
    network = qn.from_onnx(path)
    assert not network.training
    for seed in range(3):
        x = inputs(shape, seed)
        expected, found = reference(path, x), network(torch.from_numpy(x))
        assert found.shape == expected.shape
        assert np.allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


CUTS = {
    "image": ([0, 0, -2, 0, 0, 0, 0, -1], lambda x: x[:, :, 2:, :-1]),
    "channels": ([0, -1, 0, 0, 0, 0, -1, 0], lambda x: x[:, 1:, :-1]),
    "cut, then padded": (
        [0, 0, -1, 2, 0, 0, 1, -1],
        lambda x: np.pad(x[:, :, 1:, :-1], ((0, 0), (0, 0), (0, 1), (2, 0))),
    ),
}


@pytest.mark.parametrize("opset", [2, 13])
@pytest.mark.parametrize("name", CUTS)
def test_negative_pads_cut(tmp_path, name, opset):
    """ONNX's own implementation stops there, so numpy says what is right."""
    pads, cut = CUTS[name]
    x, path = inputs(IMAGE), tmp_path / "network.onnx"
    if opset == 2:
        written(path, [node("Pad", "x", pads=pads)], IMAGE, opset=opset)
    else:
        written(path, [node("Pad", "x p")], IMAGE, {"p": np.int64(pads)}, opset=opset)
    network = qn.from_onnx(path)
    assert np.array_equal(network(torch.from_numpy(x)).numpy(), cut(x))


@pytest.mark.parametrize(("mode", "given"), [("constant", 0.5), ("reflect", 0), ("edge", 0)])
def test_a_constant_that_is_padded(tmp_path, mode, given):
    """It is computed while the file is read, whatever the mode."""
    values = {"w": W, "p": np.int64([0, 0, 2, 1, 0, 0, 0, 2]), "v": np.float32(given)}
    nodes = [node("Pad", "w p v", "k", mode=mode), node("Conv", "x k")]
    network = qn.from_onnx(written(tmp_path / "n.onnx", nodes, IMAGE, values))
    options = {"constant_values": given} if mode == "constant" else {}
    padded = np.pad(W, ((0, 0), (0, 0), (2, 0), (1, 2)), mode, **options)
    x = torch.from_numpy(inputs(IMAGE))
    expected = torch.nn.functional.conv2d(x, torch.from_numpy(padded))
    assert torch.allclose(network(x), expected, atol=1e-5)


ROOT, HALF = np.float32(math.sqrt(2)), np.float32(0.5)
GELU = {"r": ROOT, "i": np.float32(1) / ROOT, "h": HALF, "one": np.float32(1), "t": np.float32(2)}
INSIDE = [node("Div", "a r", "d"), node("Erf", "d", "e"), node("Add", "e one", "p")]
GELUS = {
    "as torch writes it": [*INSIDE, node("Mul", "a p", "m"), node("Mul", "m h")],
    "half first": [*INSIDE, node("Mul", "h a", "m"), node("Mul", "m p")],
    "half last but one": [*INSIDE, node("Mul", "p h", "m"), node("Mul", "m a")],
    "two halves": [*INSIDE, node("Mul", "a p", "m"), node("Div", "m t")],
    "inverse root": [
        node("Mul", "i a", "d"), node("Erf", "d", "e"), node("Add", "one e", "p"),
        node("Mul", "p a", "m"), node("Mul", "h m"),
    ],
    "constants as nodes": [
        node("Constant", "", "k", value_float=float(ROOT)), node("Div", "a k", "d"),
        node("Erf", "d", "e"), node("Add", "e one", "p"), node("Mul", "a p", "m"),
        node("Mul", "m h"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GELUS)
def test_gelu_written_with_erf(tmp_path, name):
    constants = CONV | {k: v for k, v in GELU.items() if _is_read(k, GELUS[name])}
    path = written(tmp_path / "n.onnx", [conv("x w b", "a"), *GELUS[name]], IMAGE, constants)
    network, x = qn.from_onnx(path), inputs(IMAGE)
    assert [type(module) for module in network.children()] == [torch.nn.Conv2d, torch.nn.GELU]
    assert np.allclose(network(torch.from_numpy(x)).numpy(), reference(path, x), atol=1e-5)


def _is_read(name, nodes):
    return any(name in one.input for one in nodes)


NO_GELUS = {
    "another root": [
        node("Div", "a t", "d"), *INSIDE[1:], node("Mul", "a p", "m"), node("Mul", "m h"),
    ],
    "no half": [*INSIDE, node("Mul", "a p")],
    "twice": [*INSIDE, node("Mul", "a p", "m"), node("Mul", "m a", "n"), node("Mul", "n h")],
    "minus": [*INSIDE[:2], node("Sub", "e one", "p"), node("Mul", "a p", "m"), node("Mul", "m h")],
    "a product with another": [*INSIDE, node("Mul", "d p", "m"), node("Mul", "m h")],
    "read twice": [
        *INSIDE, node("Mul", "a p", "m"), node("Mul", "m h", "n"), node("Sum", "n p"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NO_GELUS)
def test_what_only_looks_like_gelu(tmp_path, name):
    constants = CONV | {k: v for k, v in GELU.items() if _is_read(k, NO_GELUS[name])}
    path = written(tmp_path / "n.onnx", [conv("x w b", "a"), *NO_GELUS[name]], IMAGE, constants)
    with pytest.raises(UnsupportedOperation, match="node_e: Erf is not covered"):
        qn.from_onnx(path)


def has_weights(name):
    return bool({"Conv", "Gemm", "MatMul"} & {one.op_type for one in ALL[name][0][0]})


@pytest.mark.parametrize("name", list(filter(has_weights, ALL)))
def test_it_is_bounded(tmp_path, name):
    """Fold, quantize and T8 take it, and the error of random corners lies below."""
    path, shape = of(tmp_path, name)
    network = qn.from_onnx(path)
    folded = qn.fold(network, input_shape=shape)
    quantized = qn.quantize(folded, bits=3).model
    x = torch.from_numpy(inputs((32, *shape[1:]), size=1.0)).double().sign()
    assert torch.allclose(folded(x), network.double()(x), atol=1e-4)
    errors = (folded(x) - quantized(x)).abs().amax(0)
    certificate = qn.certify(folded, quantized, input_shape=shape, method="channels")
    assert errors.max().item() > 0
    assert errors.max().item() <= max(np.ravel(certificate.bound)) * (1 + 1e-9)


@pytest.mark.parametrize("opset", [9, 13])
def test_old_norms_are_norms_at_inference(tmp_path, opset):
    """ONNX's own implementation takes those of versions 9 to 13 for training (onnx, PR 8442)."""
    (nodes, constants), shape = ALL["norm"]
    found = [
        qn.from_onnx(written(tmp_path / "n.onnx", nodes, shape, constants, opset=version))
        for version in (opset, 21)
    ]
    x = torch.from_numpy(inputs(shape))
    assert torch.equal(*(network(x) for network in found))


def chained(tmp_path):
    """Channels last, one-sided padding, a skip, a pool, a view, MatMul and Add; free batch."""
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w b", "a", pads=[0, 0, 1, 1], strides=[2, 2]),
        node("Relu", "a", "r"),
        node("Conv", "r v", "d", auto_pad="SAME_UPPER"),
        node("Add", "d r", "s"),
        node("Relu", "s", "u"),
        node("MaxPool", "u", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Shape", "p", "sizes"),
        node("Gather", "sizes zero", "batch", axis=0),
        node("Concat", "batch minus", "shape", axis=0),
        node("Reshape", "p shape", "f"),
        node("MatMul", "f m", "g"),
        node("Add", "g c", "y"),
        node("Softmax", "y", "z"),
    ]
    constants = {
        "w": numbers(4, 2, 3, 3), "b": numbers(4), "v": numbers(4, 4, 3, 3), "m": numbers(16, 3),
        "c": numbers(3), "zero": np.int64([0]), "minus": np.int64([-1]),
    }  # fmt: skip
    shape = ("batch", 8, 8, 2)
    return written(tmp_path / "chain.onnx", nodes, shape, constants, outputs=("z",))


def test_the_profile_is_that_of_the_same_network_in_torch(tmp_path):
    """Built by hand, channels first; only the rearrangement of the input is missing there."""
    path = chained(tmp_path)
    nn = torch.nn
    weights = {k: torch.from_numpy(numbers(*s)) for k, s in
               {"w": (4, 2, 3, 3), "b": (4,), "v": (4, 4, 3, 3), "m": (16, 3), "c": (3,)}.items()}

    class Ours(nn.Module):
        def __init__(self):
            super().__init__()
            self.pad, self.first = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2, 4, 3, 2)
            self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
            self.pool, self.last = nn.MaxPool2d(3, 2, ceil_mode=True), nn.Linear(16, 3)
            with torch.no_grad():
                self.first.weight.copy_(weights["w"]), self.first.bias.copy_(weights["b"])
                self.second.weight.copy_(weights["v"])
                self.last.weight.copy_(weights["m"].T), self.last.bias.copy_(weights["c"])

        def forward(self, x):
            x = self.first(self.pad(x)).relu()
            x = (self.second(x) + x).relu()
            return self.last(self.pool(x).flatten(1))

    theirs = qn.fold(qn.from_onnx(path, output="y"))
    ours = qn.fold(Ours().eval())
    x = torch.from_numpy(inputs((3, 2, 8, 8))).double()
    assert torch.allclose(theirs(x.permute(0, 2, 3, 1)), ours(x), atol=1e-12)
    profiles = [
        qn.profile(net, qn.quantize(net, bits=4).model, input_shape=shape, radius=2.0)
        for net, shape in ((theirs, (1, 8, 8, 2)), (ours, (1, 2, 8, 8)))
    ]
    assert [profile.depth for profile in profiles] == [3, 3]
    for mine, its in zip(*(profile.layers for profile in profiles), strict=True):
        assert math.isclose(mine.norm, its.norm) and math.isclose(mine.gap_norm, its.gap_norm)
        assert (mine.fan_in, mine.width, mine.reads) == (its.fan_in, its.width, its.reads)
    logs = [qn.bounds(profile)["log10"] for profile in profiles]
    assert np.allclose(*logs, equal_nan=True)


def test_layers_are_called_after_their_weights_or_their_nodes(tmp_path):
    nodes = [node("Conv", "x a.conv.weight", "u"), node("Conv", "u other", "y/z:0")]
    weights = {"a.conv.weight": numbers(2, 2, 3, 3), "other": numbers(2, 2, 3, 3)}
    path = written(tmp_path / "n.onnx", nodes, IMAGE, weights, outputs=("y/z:0",))
    folded = qn.fold(qn.from_onnx(path))
    assert set(qn.quantize(folded, bits=8).layers) == {"a.conv", "node_y_z_0"}


def test_layers_may_be_called_as_anything_is(tmp_path):
    """As methods of torch's modules, inside one another, or by the same name twice."""
    stems = ["graph", "a.forward", "a.b", "a.b.c", "0", "a_b", "é", "class"]
    weights = {f"{stem}.weight": numbers(2, 2, 1, 1, seed=i) for i, stem in enumerate(stems)}
    values = ["x", *"stuvrwz", "y"]
    nodes = [
        node("Conv", f"{before} {weight}", after)
        for before, weight, after in zip(values, weights, values[1:], strict=False)
    ]
    path = written(tmp_path / "n.onnx", nodes, IMAGE, weights)
    network, x = qn.from_onnx(path), inputs(IMAGE)
    assert np.allclose(network(torch.from_numpy(x)).numpy(), reference(path, x), rtol=1e-3)
    assert len(qn.quantize(qn.fold(network), bits=8).layers) == len(stems)


def exported(network, x, path, **options):
    """A file by torch's old exporter, which goes one day; the new one needs onnxscript."""
    try:
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(network, (x,), str(path), dynamo=False, **options)
    except Exception as error:
        pytest.skip(f"torch exports no ONNX here: {error}")
    return path


@pytest.mark.medium
def test_exported_by_torch(tmp_path):
    """As torch's own exporter writes it; what folding does to the norms is left to us."""
    network, x = qn.load("resnet20"), torch.rand(1, 1, 32, 32) * 2 - 1
    options = {"opset_version": 13, "do_constant_folding": False}
    options["training"] = torch.onnx.TrainingMode.PRESERVE
    again = qn.from_onnx(exported(network, x, tmp_path / "n.onnx", **options))
    assert torch.allclose(again(x), network(x), atol=1e-4)
    profiles = [
        qn.profile(net, qn.quantize(net, bits=4).model, input_shape=(1, 1, 32, 32))
        for net in (qn.fold(network), qn.fold(again))
    ]
    assert np.allclose(*(qn.bounds(p)["log10"] for p in profiles), equal_nan=True, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", 21), ("mobilenet_v2", 53), ("squeezenet1_1", 26), ("densenet121", 183),
        ("shufflenet_v2_x0_5", 57), ("mnasnet0_5", 53), ("mobilenet_v3_small", 54),
        ("efficientnet_b0", 82), ("regnet_y_400mf", 86),
    ],
)  # fmt: skip
def test_networks_of_torchvision_come_back(name, layers, tmp_path):
    """Skips, concatenations, shuffles, gates: the same function, and all layers are quantized."""
    with seeded(0):
        network = torchvision.models.get_model(name, weights=None).eval()
        calibrate(network, torch.randn(8, 3, 32, 32).clamp(-1, 1))
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    again = qn.from_onnx(exported(network, x, tmp_path / "n.onnx", opset_version=17))
    with torch.no_grad():
        expected, found = network(x), again(x)
    assert expected.abs().max() > 1e-3
    assert torch.allclose(found, expected, atol=1e-4 * expected.abs().max().item())
    folded = qn.fold(again, input_shape=(1, 3, 32, 32))
    assert len(qn.quantize(folded, bits=8).layers) == layers


# -- refused ---------------------------------------------------------------------------------------

REFUSED = {
    "softmax": ([node("Softmax", "x")], {}, r"node_y: Softmax is not covered.*output='x'"),
    "layer norm": ([node("LayerNormalization", "x c")], {"c": numbers(8)}, "1/√ε"),
    "transposed": ([node("ConvTranspose", "x w")], {"w": numbers(2, 2, 3, 3)}, "ConvTranspose"),
    "reflected": (
        [node("Pad", "x p", mode="reflect")], {"p": np.int64([0, 0, 1, 1] * 2)}, "Zeros around",
    ),
    "ones around": ([node("Pad", "x p one")], {"p": np.int64([0, 0, 1, 1] * 2)}, "Zeros around"),
    "channels padded": ([node("Pad", "x p")], {"p": np.int64([0, 1, 0, 0] * 2)}, "channels first"),
    "a free end": ([node("Clip", "x  six")], {}, "two ends"),
    "batch in a view": ([node("Reshape", "x two_")], {"two_": np.int64([2, -1])}, "of a batch"),
    "computed weights": ([node("Relu", "x", "a"), node("Conv", "x a")], {}, "no constant"),
    "product of two": ([node("Conv", "x w b", "a"), node("Sub", "a a")], CONV, "Sub"),
    "number for each position": ([node("Add", "x c")], {"c": numbers(9, 8)}, "for each channel"),
    "a constant times": ([node("MatMul", "c x")], {"c": numbers(9, 9)}, "MatMul of a constant"),
    "indices": ([node("MaxPool", "x", "a i", kernel_shape=[2, 2]), node("Cast", "i", to=1)],
                {}, "several outputs"),
    "integers": ([node("Cast", "x", to=TensorProto.INT64)], {}, "from torch.float32 to"),
    "training": ([node("BatchNormalization", "x c c c c", training_mode=1)],
                 {"c": np.abs(numbers(2))}, "evaluation mode"),
    "a branch": (
        [helper.make_node("If", ["c"], ["y"], name="node_y", then_branch=branch("Relu", "x"),
                          else_branch=branch("Neg", "x"))],
        {"c": np.array(True)}, r"If is not covered.*output='x'",
    ),
    "other numbers each time": (
        [node("RandomNormal", "", "a", shape=[2, 1, 1]), node("Add", "x a")],
        {}, "RandomNormal is another number each time.*evaluation mode",
    ),
    "a vector of weights": (
        [node("MatMul", "x w", "a"), node("Add", "a c")],
        {"w": numbers(8), "c": np.float32(1)}, r"MatMul with weights of shape \(8,\)",
    ),
    "divided by zero": ([node("Div", "x c")], {"c": np.float32(0)}, "Div by zero"),
    "more channels": (
        [node("Conv", "x w", "a"), node("Add", "a c")], {"w": numbers(1, 2, 1, 1),
        "c": numbers(1, 3, 1, 1)}, "Add of 1 channels with 3 numbers",
    ),
    "slopes of columns": ([node("PRelu", "x c")], {"c": numbers(8)}, r"slopes of shape \(8,\)"),
    "flat to the end": ([node("Flatten", "x", axis=4)], {}, r"to \(144, 1\), across the inputs"),
    "nearly Hardsigmoid": ([node("HardSigmoid", "x", alpha=0.166667)], {}, "alpha=0.166667"),
    "transposed input": ([node("Gemm", "v w", transA=1)], {"w": numbers(2, 2)}, "transA"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(tmp_path, name):
    nodes, constants, message = REFUSED[name]
    shape = IMAGE
    if "v" in nodes[0].input:
        nodes[0].input[0], shape = "x", (2, 3)
    used = {read for one in nodes for read in one.input}
    constants = {k: v for k, v in (INTS | constants).items() if k in used}
    path = written(tmp_path / "n.onnx", nodes, shape, constants)
    with pytest.raises(UnsupportedOperation, match=message) as caught:
        qn.from_onnx(path)
    assert str(caught.value).split(":")[0] in {one.name for one in nodes}


def test_other_domains(tmp_path):
    made = model([node("Relu", "x")], IMAGE)
    one = helper.make_node("FusedConv", ["x"], ["y"], name="f", domain="com.microsoft")
    made.graph.node[0].CopyFrom(one)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(made, tmp_path / "n.onnx")
    with pytest.raises(UnsupportedOperation, match=r"f: FusedConv of the domain com.microsoft"):
        qn.from_onnx(tmp_path / "n.onnx")


def test_files_that_are_none(tmp_path):
    with pytest.raises(QnotesError, match=r"no file .*missing.onnx"):
        qn.from_onnx(tmp_path / "missing.onnx")
    with pytest.raises(QnotesError, match="expected the path of an ONNX file; got bytes"):
        qn.from_onnx(b"model")
    for content in (b"", b"not a model at all", bytes(range(256))):
        (tmp_path / "n.onnx").write_bytes(content)
        with pytest.raises(QnotesError, match=r"n.onnx is no ONNX file"):
            qn.from_onnx(tmp_path / "n.onnx")


def test_files_that_miss_a_part(tmp_path):
    path = tmp_path / "n.onnx"
    made = model([conv()], IMAGE, CONV)
    made.graph.ClearField("output")
    onnx.save(made, path)
    with pytest.raises(QnotesError, match="no outputs"):
        qn.from_onnx(path)
    made = model([node("Relu", "x")], IMAGE)
    theirs = helper.make_node("F", ["x"], ["y"], name="f", domain="theirs")
    made.graph.node[0].CopyFrom(theirs)
    made.opset_import[0].domain = "theirs"  # and no version of ONNX's own operations
    onnx.save(made, path)
    with pytest.raises(UnsupportedOperation, match="f: F of the domain theirs"):
        qn.from_onnx(path)
    made = model([conv()], IMAGE, CONV)
    (stored,) = (one for one in made.graph.initializer if one.name == "w")
    made.graph.initializer.remove(stored)
    values, places = numpy_helper.from_array(W.ravel()[:3], "w"), np.int64([0, 1, 2])
    places = numpy_helper.from_array(places, "places")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, W.shape))
    onnx.save(made, path)
    with pytest.raises(QnotesError, match="stores w as sparse"):
        qn.from_onnx(path)


def test_an_invalid_model(tmp_path):
    path = written(tmp_path / "n.onnx", [node("Relu", "nothing")], IMAGE)
    with pytest.raises(QnotesError, match="no valid ONNX model"):
        qn.from_onnx(path)


def test_weights_beside_the_file(tmp_path):
    path = tmp_path / "n.onnx"
    made = model([conv()], IMAGE, CONV)
    onnx.save(made, path, save_as_external_data=True, location="n.data", size_threshold=0)
    assert torch.equal(qn.from_onnx(path).node_y.weight, torch.from_numpy(W))
    (tmp_path / "n.data").unlink()
    with pytest.raises(QnotesError, match=r"external data.*same folder"):
        qn.from_onnx(path)


def test_a_file_newer_than_the_package(tmp_path):
    known = onnx.defs.onnx_opset_version()
    path = written(tmp_path / "n.onnx", [node("Relu", "x")], IMAGE, opset=known + 3)
    with pytest.raises(QnotesError, match=f"version {known + 3} .*up to {known}.*update onnx"):
        qn.from_onnx(path)


def test_quantized_files(tmp_path):
    nodes = [node("QuantizeLinear", "x s", "q"), node("DequantizeLinear", "q s")]
    path = written(tmp_path / "n.onnx", nodes, IMAGE, {"s": np.float32(0.1)})
    with pytest.raises(QnotesError, match=r"already .QuantizeLinear at node_q.*float file"):
        qn.from_onnx(path)


def test_one_input_and_one_output(tmp_path):
    made = model([node("Add", "x z")], IMAGE)
    made.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, IMAGE))
    onnx.save(made, tmp_path / "n.onnx")
    with pytest.raises(UnsupportedOperation, match=r"2 inputs of the file.*\(x, z\); one"):
        qn.from_onnx(tmp_path / "n.onnx")
    made.graph.node[0].input[1] = "x"  # what nothing reads makes no difference
    onnx.save(made, tmp_path / "n.onnx")
    qn.from_onnx(tmp_path / "n.onnx")
    nodes = [node("Relu", "x", "a"), node("Relu", "a", "b")]
    path = written(tmp_path / "n.onnx", nodes, IMAGE, outputs=("a", "b"))
    with pytest.raises(QnotesError, match=r"2 outputs \(a, b\).*output='a'"):
        qn.from_onnx(path)
    assert len(list(qn.from_onnx(path, output="a").children())) == 1
    with pytest.raises(QnotesError, match=r"no tensor 'c'.*a, b"):
        qn.from_onnx(path, output="c")


def test_what_ends_the_network_goes_with_what_follows(tmp_path):
    path = chained(tmp_path)
    with pytest.raises(UnsupportedOperation, match=r"Softmax is not covered.*output='y'"):
        qn.from_onnx(path)
    x = inputs((1, 8, 8, 2))
    found = qn.from_onnx(path, output="y")(torch.from_numpy(x)).numpy()
    assert np.allclose(found, reference(path, x, "y"), atol=1e-4)


def test_open_sizes(tmp_path):
    path = written(tmp_path / "n.onnx", [conv()], ("n", 2, "h", "w"), CONV)
    with pytest.raises(QnotesError, match=r"open: \(n, 2, h, w\).*input_shape=\(1, 2, 224, 224\)"):
        qn.from_onnx(path)
    qn.from_onnx(path, input_shape=(1, 2, 5, 6))
    qn.from_onnx(path, input_shape=tuple(np.int64([1, 2, 5, 6])))
    for wrong in ((1, 3, 5, 6), (1, 2, 5), (1, 2, 5, 0), (1, 2, 5, 6.0), 3, (), "1256"):
        with pytest.raises(QnotesError, match="does not fit the file"):
            qn.from_onnx(path, input_shape=wrong)


def test_inputs_are_float_numbers(tmp_path):
    nodes = [node("Cast", "x", to=TensorProto.FLOAT)]
    path = written(tmp_path / "n.onnx", nodes, IMAGE, kind=TensorProto.UINT8)
    with pytest.raises(UnsupportedOperation, match="input x is no tensor of float numbers"):
        qn.from_onnx(path)


@pytest.mark.parametrize("kind", ["float64", "float16"])
def test_other_precisions(tmp_path, kind):
    weights = {"w": W.astype(kind), "b": B.astype(kind)}
    proto = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    path = written(tmp_path / "n.onnx", [conv()], IMAGE, weights, kind=proto)
    assert qn.from_onnx(path).node_y.weight.dtype == getattr(torch, kind)


def test_a_wrong_rule_is_found(tmp_path, monkeypatch):
    """The trace is not believed: a rule that forgets the padding's side is caught by a run."""
    path = written(tmp_path / "n.onnx", [conv(pads=[0, 0, 1, 1])], IMAGE, CONV)
    right = onnx_files._zeros
    monkeypatch.setattr(onnx_files, "_zeros", lambda call, begin, end: right(call, end, begin))
    with pytest.raises(UnsupportedOperation, match="node_y: Conv computes something else"):
        qn.from_onnx(path)


def test_another_judge_is_asked_where_it_is_installed(tmp_path, monkeypatch):
    """What a file computes is what onnxruntime says, if that can run it."""
    path = written(tmp_path / "n.onnx", [conv()], IMAGE, CONV)
    answers = []

    class Session:
        def __init__(self, content, providers):
            self.path = tmp_path / "again.onnx"
            self.path.write_bytes(content)

        def run(self, outputs, given):
            return [answers[0](reference(self.path, given["x"]))]

    class Runtime:
        InferenceSession = Session

    whole = onnx_files.import_module
    monkeypatch.setattr(
        onnx_files, "import_module", lambda n: Runtime if n == "onnxruntime" else whole(n)
    )
    answers[:] = [lambda right: right]
    qn.from_onnx(path)
    answers[:] = [lambda right: right + 1]
    with pytest.raises(UnsupportedOperation, match=r"something else in onnxruntime.*report it"):
        qn.from_onnx(path)
    answers[:] = []  # it cannot run the file
    qn.from_onnx(path)


def test_a_file_that_nobody_runs(tmp_path):
    """ONNX's own implementation gives this pool two windows too many."""
    options = {"kernel_shape": [3, 3], "pads": [1] * 4, "ceil_mode": 1}
    nodes = [node("MaxPool", "x", "a", **options), node("Concat", "a x", axis=1)]
    path = written(tmp_path / "n.onnx", nodes, IMAGE)
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        with pytest.raises(QnotesError, match=r"cannot run the file.*pip install onnxruntime"):
            qn.from_onnx(path)
    else:
        qn.from_onnx(path)


def test_without_the_package(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(onnx_files, "import_module", missing)
    with pytest.raises(QnotesError, match=r"needs the package onnx.*qnotes\[onnx\]"):
        qn.from_onnx(tmp_path / "n.onnx")
