"""Rounding that looks at data, on whole networks: never worse than to nearest, layer by layer.

And the moments that it knows the data by: their columns are what a layer multiplies with.
"""

import copy
import itertools
import random

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import qnotes as qn
from qnotes.observation import distances
from qnotes.quantization.calibration import columns, second_moments
from qnotes.quantization.grids import rows
from tests.random_networks import ARCHITECTURES, Net, draw_weights
from tests.random_roundings import draw

torch.set_num_threads(1)

METHODS = ("adaptive", "gptq", "gpfq")
every_method = pytest.mark.parametrize("rounding", METHODS)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """What is tested here holds after any number of steps."""
    monkeypatch.setattr("qnotes.quantization.data_roundings.STEPS", 100)


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 3, 2, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    for parameter in layers.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return layers.eval().double()


def images(count: int = 8, channels: int = 2, side: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, side, side, generator=generator)


def reads(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What each layer of a network reads at its first use."""
    model, found = copy.deepcopy(model), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, given, name=name: _keep(found, name, given[0])
            )
    with torch.no_grad():
        model(inputs.clone())
    return found


def _keep(found: dict[str, Tensor], name: str, value: Tensor) -> None:
    found.setdefault(name, value.clone())


def objective(layer: nn.Module, weight: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
    """‖X w - X̃ q‖² of each channel, by running the layer."""
    changed = copy.deepcopy(layer)
    changed.weight.data.copy_(weight)
    with torch.no_grad():
        return (layer(ours) - changed(theirs)).square().transpose(0, 1).flatten(1).sum(1)


@pytest.mark.medium
@every_method
def test_never_worse_than_nearest(rounding):
    """Channel by channel, for all kinds of networks and grids; and better for many channels."""
    better = 0
    options = itertools.cycle(
        [
            {"bits": 2},
            {"bits": 3, "granularity": "tensor", "symmetric": False},
            {"bits": 4, "granularity": "group", "group_size": 3, "clip": "mse"},
            {"bits": 3, "grid": "power-of-two", "convention": "full"},
            {"bits": 8, "clip": "percentile", "percentile": 90},
            {"bits": 1, "symmetric": False},
        ]
    )
    for seed in range(12):
        rng = random.Random(seed)
        torch.manual_seed(seed)
        kind = list(ARCHITECTURES)[seed % 3]
        drawn, shape = ARCHITECTURES[kind](rng, bias=True)
        draw_weights(rng, drawn)
        folded = qn.fold(drawn.eval())
        inputs = qn.random_inputs(shape, count=6, seed=seed)
        chosen = next(options)
        quant = qn.quantize(folded, rounding=rounding, calibration=inputs, **chosen)
        plain = qn.quantize(folded, **chosen)
        theirs = reads(quant.model, inputs)
        ours = {} if rounding == "gptq" else reads(folded, inputs)
        for name, stored in quant.layers.items():
            assert stored.qmin <= int(stored.codes.min()) <= int(stored.codes.max()) <= stored.qmax
            assert torch.equal(stored.scale, plain.layers[name].scale)
            assert torch.equal(stored.weight, quant.model.get_submodule(name).weight)
            layer, read = folded.get_submodule(name), theirs[name]
            found, nearest = (
                objective(layer, made.layers[name].weight, ours.get(name, read), read)
                for made in (quant, plain)
            )
            assert (found <= nearest * (1 + 1e-9) + 1e-12).all()
            better += int((found < nearest * (1 - 1e-9)).sum())
    assert better > 10


@pytest.mark.medium
@every_method
def test_between_nearest_and_the_best_of_all_codes(rounding):
    total = {"found": 0.0, "nearest": 0.0, "best": 0.0}
    for seed in range(20):
        drawn = draw(seed, rows=2, fan_in=4, bits=2, same=True)
        layer = nn.Linear(4, 2, bias=False).double()
        layer.weight.data.copy_(drawn.weight)
        quant = qn.quantize(
            nn.Sequential(layer).eval(), bits=2, rounding=rounding, calibration=drawn.reads[0]
        )
        codes = torch.tensor(list(itertools.product([-1.0, 0.0, 1.0], repeat=4))).double()
        every = codes[:, None] * drawn.grid.scale.T[..., None]
        best = torch.stack([drawn.error(levels[None])[0] for levels in every]).amin(0)
        found = drawn.error(quant.layers["0"].weight[None])[0]
        nearest = drawn.error(drawn.nearest)[0]
        assert (best <= found * (1 + 1e-9)).all() and (found <= nearest * (1 + 1e-9)).all()
        for name, value in zip(total, (found, nearest, best), strict=True):
            total[name] += value.sum().item()
    assert total["best"] < total["found"] < total["nearest"]


@pytest.fixture(scope="module")
def folded():
    return qn.fold(qn.load("resnet20"))


@pytest.fixture(scope="module", params=[3, 4], ids="{} bits".format)
def nearest(request, folded):
    """Options, images that no rounding has seen, the reference's outputs, and nearest's error."""
    options = {"bits": request.param, "granularity": "tensor"}
    tested = qn.digits("test")[0][:32]
    expected = qn.outputs(folded, tested)
    made = qn.outputs(qn.quantize(folded, **options).model, tested)
    return options, tested, expected, distances(made, expected).mean()


@pytest.mark.medium
@every_method
def test_digits(rounding, folded, nearest):
    """Rounding by 16 images makes the error on other images smaller."""
    options, tested, expected, error = nearest
    calibration = qn.digits("train")[0][:16]
    quant = qn.quantize(folded, rounding=rounding, calibration=calibration, **options)
    assert distances(qn.outputs(quant.model, tested), expected).mean() < 0.7 * error


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_else_changes(rounding, dtype):
    given, inputs = network().to(dtype), images()
    before, state, kept = copy.deepcopy(given.state_dict()), torch.get_rng_state(), inputs.clone()
    quant = qn.quantize(given, bits=3, rounding=rounding, calibration=inputs)
    again = qn.quantize(given, bits=3, rounding=rounding, calibration=inputs)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(inputs, kept)
    assert all(torch.equal(value, before[key]) for key, value in given.state_dict().items())
    assert list(quant.layers) == ["0", "2", "5"]
    assert quant.scheme["rounding"] == rounding
    for name, stored in quant.layers.items():
        used = quant.model.get_submodule(name).weight
        assert used.dtype == dtype and torch.equal(used, stored.weight)
        assert torch.equal(used, again.model.get_submodule(name).weight)


@pytest.mark.medium
@every_method
def test_all_forms_of_calibration(rounding):
    inputs, labels = images(), torch.arange(8)
    forms = [
        inputs,
        list(inputs.split(3)),
        (batch for batch in inputs.split(5)),
        DataLoader(TensorDataset(inputs, labels), batch_size=3),
        [(inputs[:4], labels[:4]), (inputs[4:], labels[4:])],
        inputs.double(),
    ]
    made = [qn.quantize(network(), bits=3, rounding=rounding, calibration=form) for form in forms]
    for name, stored in made[0].layers.items():
        assert all(torch.equal(stored.codes, other.layers[name].codes) for other in made[1:])


@every_method
def test_several_bit_widths(rounding):
    options = {"rounding": rounding, "calibration": images()}
    for quant in qn.quantize_each(network(), [2, 5], **options):
        alone = qn.quantize(network(), bits=quant.scheme["bits"], **options)
        for name, stored in quant.layers.items():
            assert torch.equal(stored.codes, alone.layers[name].codes)


@every_method
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 5])
def test_constant_inputs(rounding, value, count):
    inputs = torch.full((count, 2, 4, 4), value)
    quant = qn.quantize(network(), bits=3, rounding=rounding, calibration=inputs)
    if value == 0:
        plain = qn.quantize(network(), bits=3)
        assert torch.equal(quant.layers["0"].codes, plain.layers["0"].codes)


@every_method
def test_dead_inputs_one_row_and_rows_of_zeros(rounding):
    layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).eval().double()
    layers[0].weight.data[1:3] = 0
    layers[0].bias.data[1:3] = torch.tensor([-1.0, 0.0])
    inputs = images().flatten(1)[:, :3]
    quant = qn.quantize(layers, bits=3, rounding=rounding, calibration=inputs)
    plain = qn.quantize(layers, bits=3)
    assert not quant.layers["0"].codes[1:3].any()
    assert torch.equal(quant.layers["2"].codes[:, 1:3], plain.layers["2"].codes[:, 1:3])


@every_method
def test_a_layer_used_twice_is_rounded_at_its_first_use(rounding):
    torch.manual_seed(0)
    layer, last = nn.Linear(3, 3), nn.Linear(3, 3)
    twice = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), last).eval()
    inputs = images().flatten(1)[:, :3]
    quant = qn.quantize(twice, bits=3, rounding=rounding, calibration=inputs)
    first = qn.quantize(nn.Sequential(layer).eval(), bits=3, rounding=rounding, calibration=inputs)
    assert list(quant.layers) == ["0", "4"]
    assert torch.equal(quant.layers["0"].codes, first.layers["0"].codes)


@every_method
def test_a_layer_that_is_never_used_is_rounded_to_nearest(rounding):
    used, spare = nn.Linear(2, 2), nn.Linear(2, 2)
    traced = qn.fold(Net(lambda net, x: net.used(x), used=used, spare=spare).eval())
    traced.add_submodule("spare", spare.double())
    options = {"rounding": rounding, "calibration": torch.randn(4, 2)}
    quant = qn.quantize(traced, bits=3, **options)
    assert torch.equal(
        quant.layers["spare"].codes, qn.quantize(traced, bits=3).layers["spare"].codes
    )


@every_method
def test_operations_in_place(rounding):
    torch.manual_seed(0)
    inplace = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3), nn.ReLU(inplace=True)).eval()
    inputs = images().flatten(1)[:, :3].contiguous()
    kept = inputs.clone()
    quant = qn.quantize(inplace, bits=3, rounding=rounding, calibration=inputs)
    plain = nn.Sequential(nn.ReLU(), inplace[1], nn.ReLU()).eval()
    expected = qn.quantize(plain, bits=3, rounding=rounding, calibration=inputs)
    assert torch.equal(inputs, kept)
    assert torch.equal(quant.layers["1"].codes, expected.layers["1"].codes)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, r"rounding='gptq' looks at data: pass calibration=, for example qn\.digits"),
        ([], "calibration is empty"),
        (torch.empty(0, 2, 4, 4), r"shape \(0, 2, 4, 4\); expected at least one input"),
        (torch.ones(4), r"shape \(4,\); expected at least one input"),
        (torch.ones(2, 2, 4, 4).long(), "calibration holds torch.int64; expected floating"),
        (torch.full((1, 2, 4, 4), torch.nan), "calibration: 32 of 32 values of its inputs are NaN"),
        (torch.ones(2, 3, 4, 4), r"calibration of shape \(2, 3, 4, 4\): 0: Conv2d expects"),
        (torch.ones(2, 4, 4), r"calibration of shape \(2, 4, 4\): 0: Conv2d expects"),
        ((torch.ones(3, 2, 4, 4), torch.ones(3)), r"shapes \(\) and \(2, 4, 4\); expected one"),
        ([torch.ones(1, 2, 4, 4), torch.ones(1, 2, 5, 4)], r"\(2, 4, 4\) and \(2, 5, 4\)"),
        (["image.png"], "calibration yields str; expected batches as tensors"),
        (5, "calibration is int; expected a tensor, an iterable"),
        (torch.ones(1, 2, 4, 4).double() * 1e200, "0: squares of its inputs are too large"),
    ],
)
def test_calibration_that_cannot_be_used(calibration, message):
    with pytest.raises(qn.QnotesError, match=message):
        qn.quantize(network(), rounding="gptq", calibration=calibration)


@pytest.mark.parametrize("shown", [True, False])
def test_progress(shown, capsys):
    qn.quantize(network(), rounding="gptq", calibration=images(), progress=shown)
    assert ("3/3" in capsys.readouterr().err) == shown


# -- moments ---------------------------------------------------------------------------------------

LAYERS = {
    "linear": (nn.Linear(5, 3), (4, 5)),
    "plain": (nn.Conv2d(2, 3, 3), (2, 2, 6, 7)),
    "border": (nn.Conv2d(2, 3, (3, 2), padding=(2, 1)), (2, 2, 5, 4)),
    "stride": (nn.Conv2d(2, 3, 3, stride=(2, 3), padding=1), (3, 2, 7, 6)),
    "dilation": (nn.Conv2d(2, 3, (3, 2), dilation=(2, 3), padding=2), (2, 2, 7, 6)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1), (2, 4, 6, 6)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1, bias=False), (2, 4, 5, 5)),
    "point": (nn.Conv2d(4, 2, 1, stride=2), (2, 4, 5, 5)),
    "same": (nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2)), (2, 2, 6, 7)),
    "valid": (nn.Conv2d(2, 3, 2, padding="valid"), (2, 2, 4, 4)),
    "line": (nn.Conv1d(4, 4, 3, groups=2, stride=2, padding=2, dilation=2), (3, 4, 9)),
    "volume": (nn.Conv3d(2, 2, (2, 3, 2), padding=(0, 1, 1), stride=(1, 2, 1)), (2, 2, 3, 5, 4)),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def drawn(kind: str):
    layer, shape = LAYERS[kind]
    layer = copy.deepcopy(layer).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in "12")
    return layer, one, other


def without_bias(layer: nn.Module, inputs):
    """The layer's output without bias, of shape (channels, inputs and places)."""
    made = layer(inputs)
    if layer.bias is not None:
        made = made - layer.bias.view(-1, *[1] * (made.ndim - 2))
    return made.transpose(0, 1).flatten(1)


@every_layer
def test_rows_times_columns_are_the_output(kind):
    layer, inputs, _ = drawn(kind)
    read = columns(layer, inputs)
    by_group = rows(layer.weight).view(len(read), -1, read.shape[1])
    torch.testing.assert_close((by_group @ read).flatten(0, 1), without_bias(layer, inputs))


@every_layer
@pytest.mark.parametrize("block", [1, 10**6])
def test_moments_are_products_of_outputs(kind, block, monkeypatch):
    """⟨X w, Y v⟩ = wᵀ XᵀY v for what the layer makes with the weights w and v; in any batches."""
    monkeypatch.setattr("qnotes.quantization.calibration.BLOCK", block)
    layer, inputs, others = drawn(kind)
    own, mixed = second_moments(layer, inputs, others)
    left = rows(layer.weight).clone()
    ours = without_bias(layer, inputs)
    layer.weight.copy_(layer.weight.flatten().sin().flip(0).view_as(layer.weight))
    right = rows(layer.weight)
    shape = (len(own), -1, own.shape[1])
    for moment, theirs in [
        (own, without_bias(layer, inputs)),
        (mixed, without_bias(layer, others)),
    ]:
        found = (left.view(shape) @ moment * right.view(shape)).sum(2).flatten()
        torch.testing.assert_close(found, (ours * theirs).sum(1))


def test_moments_are_float64():
    layer, inputs, _ = drawn("plain")
    (own,) = second_moments(layer, inputs.float())
    assert own.dtype == torch.float64
    torch.testing.assert_close(own, second_moments(layer, inputs.float().double())[0])
