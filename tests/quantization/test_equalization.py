"""Equalization: the function stays, the norms become what theory says (T9)."""

import itertools
import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import qnotes as qn
from qnotes.networks.operations import operations
from qnotes.networks.tracing import trace
from qnotes.quantization.channels import by_channel, groups_of
from qnotes.quantization.equalization import METHODS, equalize, relu_network, rescale
from qnotes.quantization.regions import find_regions
from tests.random_networks import ARCHITECTURES, Net, Residual, draw_weights

IMAGE = (1, 1, 32, 32)


def relative_change(equalized, shape, count: int = 6) -> float:
    inputs = qn.random_inputs(shape, count=count)
    expected = qn.outputs(equalized.reference, inputs)
    change = (qn.outputs(equalized.model, inputs) - expected).abs().max()
    return (change / expected.abs().max()).item()


# -- the function ----------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("name", qn.names())
def test_trained_networks_keep_their_function(name):
    folded = qn.fold(qn.load(name))
    for method in METHODS:
        equalized = equalize(folded, method=method, relu6="relu")
        assert len(equalized.factors) > 8
        assert relative_change(equalized, IMAGE, count=2) < 1e-9
        for layer, factors in equalized.factors.items():
            assert factors.std() > 0.01 * factors.mean()
            before, after = (net.get_submodule(layer) for net in (folded, equalized.model))
            assert not torch.allclose(before.weight, after.weight)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_full_size_networks_keep_their_function(name):
    folded = qn.fold(qn.load(name, weights="random"))
    for method in METHODS:
        equalized = equalize(folded, method=method, relu6="relu")
        assert relative_change(equalized, (1, 3, 32, 32), count=2) < 1e-9


@pytest.mark.medium
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_random_networks_keep_their_function(architecture, method):
    for seed in range(30):
        rng = random.Random(seed)
        torch.manual_seed(seed)
        network, shape = ARCHITECTURES[architecture](rng, bias=rng.random() < 0.7)
        network = network.double().eval()
        draw_weights(rng, network)
        equalized = equalize(network, method=method, relu6="relu", strength=rng.choice([0.3, 1]))
        inputs = qn.random_inputs(shape, count=8)
        expected = qn.outputs(equalized.reference, inputs)
        room = 1e-9 * expected.abs().max().item()
        assert torch.allclose(qn.outputs(equalized.model, inputs), expected, rtol=0, atol=room)


def test_precision_is_kept():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    equalized = equalize(network)
    assert {parameter.dtype for parameter in equalized.model.parameters()} == {torch.float32}
    assert {factors.dtype for factors in equalized.factors.values()} == {torch.float64}
    assert relative_change(equalized, (1, 3)) < 1e-5


def test_the_caller_keeps_the_network():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU6(), nn.Linear(4, 2)).eval()
    for given in (network, trace(network)):
        before = {name: value.clone() for name, value in given.state_dict().items()}
        for method in METHODS:
            equalized = equalize(given, method=method, relu6="relu")
            shared = {p.data_ptr() for p in given.parameters()}
            for net in (equalized.model, equalized.reference):
                assert not shared & {p.data_ptr() for p in net.parameters()}
        assert all(torch.equal(given.state_dict()[name], old) for name, old in before.items())
        assert any(isinstance(module, nn.ReLU6) for module in given.modules())


# -- norms -----------------------------------------------------------------------------------------


def random_chain(seed: int, *, bias: bool = False) -> nn.Sequential:
    """Fully connected, with dead and silent units now and then."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    widths = [rng.randint(1, 6) for _ in range(rng.randint(2, 7))]
    linears = [nn.Linear(*sizes, bias=bias) for sizes in itertools.pairwise(widths)]
    for linear in linears:
        linear.weight.data.mul_(10 ** (2 * torch.rand_like(linear.weight) - 1))
        if rng.random() < 0.3:
            linear.weight.data[rng.randrange(linear.out_features)] = 0
        if rng.random() < 0.3:
            linear.weight.data[:, rng.randrange(linear.in_features)] = 0
    layers = [part for linear in linears for part in (linear, nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double().eval()


def matrices(network: nn.Module) -> list[torch.Tensor]:
    """|W| of each layer; with biases, one unit wider: the constant 1, which keeps its value."""
    found = []
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        matrix = linear.weight.detach().abs()
        if linear.bias is not None:
            matrix = torch.cat([matrix, linear.bias.detach().abs()[:, None]], 1)
            if linear is not linears[-1]:
                constant = torch.zeros_like(matrix[:1])
                constant[0, -1] = 1
                matrix = torch.cat([matrix, constant])
        found.append(matrix)
    return found


def product_of_norms(network: nn.Module) -> float:
    return math.prod(matrix.sum(1).max().item() for matrix in matrices(network))


def path_norm(network: nn.Module) -> float:
    values = torch.ones(matrices(network)[0].shape[1], dtype=torch.float64)
    for matrix in matrices(network):
        values = matrix @ values
    return values.max().item()


def all_reached(network: nn.Module) -> bool:
    """Whether a path leads to every hidden unit: then T9 says that the infimum is reached."""
    values = torch.ones(matrices(network)[0].shape[1], dtype=torch.float64)
    reached = True
    for matrix in matrices(network)[:-1]:
        values = matrix @ values
        reached &= bool((values > 0).all())
    return reached


@pytest.mark.medium
@pytest.mark.parametrize("bias", [False, True], ids=["T9", "with biases"])
def test_path_is_the_optimum_and_cle_is_not_better(bias):
    better = reached = 0
    for seed in range(60):
        network = random_chain(seed, bias=bias)
        best = path_norm(network)
        path, cle = (equalize(network, method=method).model for method in ("path", "cle"))
        assert path_norm(path) == pytest.approx(best, rel=1e-12)  # what rescaling cannot change
        assert path_norm(cle) == pytest.approx(best, rel=1e-12)
        if all_reached(network):
            reached += 1
            assert product_of_norms(path) == pytest.approx(best, rel=1e-12)
        assert product_of_norms(path) >= best * (1 - 1e-12)
        assert product_of_norms(cle) >= best * (1 - 1e-12)
        assert product_of_norms(network) >= best * (1 - 1e-12)
        better += product_of_norms(cle) > 1.01 * best
    assert better > 20 and reached > 20


@pytest.mark.parametrize("bias", [False, True])
def test_every_hidden_row_sums_to_1(bias):
    for seed in range(20):
        network = random_chain(seed, bias=bias)
        if all_reached(network):
            for matrix in matrices(equalize(network, method="path").model)[:-1]:
                assert torch.allclose(matrix.sum(1), torch.ones(len(matrix)).double(), rtol=1e-12)


def test_units_that_no_path_reaches_leave_the_infimum_unreached():
    """A hypothesis of T9: with ever larger factors for such a unit the product would still fall."""
    network = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3))).double().eval()
    for layer in network:
        nn.init.constant_(layer.weight, 1.0)
    network[0].weight.data[1] = 0
    assert path_norm(network) == 4
    assert product_of_norms(equalize(network, method="path").model) == 6
    network[0].weight.data[1] *= 1000
    network[1].weight.data[:, 1] /= 1000
    assert product_of_norms(equalize(network, method="path").model) == pytest.approx(4, rel=2e-3)


def norms(network: nn.Module) -> list[float]:
    return [matrix.sum(1).max().item() for matrix in matrices(network)]


@pytest.mark.medium
@pytest.mark.parametrize("bias", [False, True])
def test_even_has_the_smallest_largest_norm(bias):
    """Not below the optimum by any method, and rows of all layers reach it."""
    reached = 0
    for seed in range(40):
        network = random_chain(seed, bias=bias)
        if not all_reached(network):
            continue
        even = norms(equalize(network, method="even").model)
        for method in ("cle", "path"):
            assert max(even) <= max(1, *norms(equalize(network, method=method).model)) * (1 + 1e-9)
        if max(even) > 1 + 1e-9:
            reached += 1
            assert even == pytest.approx([max(even)] * len(even), rel=1e-9)
            if not bias:
                assert max(even) ** len(even) == pytest.approx(path_norm(network), rel=1e-9)
        _compare_with_random_rescalings(network, max(even))
    assert reached > 10


def _compare_with_random_rescalings(network: nn.Module, best: float) -> None:
    start = equalize(network, method="even").model
    for _ in range(5):
        moved = trace(start, copied=True)
        for boundary in find_regions(moved).boundaries:
            rescale(moved, boundary, 10 ** (0.2 * torch.randn(boundary.channels).double()))
        assert max(1, *norms(moved)) >= best * (1 - 1e-9)


@pytest.mark.medium
def test_even_is_the_best_for_the_mean_form():
    """T4 of a chain without biases: its mean is smallest where all norms are equal."""
    for seed in range(20):
        network = random_chain(seed)
        means = {}
        for method in METHODS:
            found = norms(equalize(network, method=method).model)
            means[method] = (sum(found) - min(found)) / (len(found) - 1) if len(found) > 1 else 0
        if all_reached(network) and path_norm(network) > 1:
            assert means["even"] <= min(means.values()) * (1 + 1e-9)


def test_path_and_even_round_alike_where_a_region_has_two_layers():
    """They differ by one factor a layer, which the grid follows: same codes, other bounds."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 2)).double().eval()
    path, even = (
        qn.quantize(equalize(network, method=method).model, bits=4, granularity="tensor")
        for method in ("path", "even")
    )
    for name, stored in path.layers.items():
        assert torch.equal(stored.codes, even.layers[name].codes)
    assert qn.output_errors(path.model, even.model, qn.random_inputs((1, 3), count=8)).max() < 1e-12
    assert max(norms(even.model)) < 0.9 * max(norms(path.model))


def test_no_rescaling_of_a_chain_goes_below_the_path_norm():
    for seed in range(50):
        network = random_chain(seed)
        best = path_norm(network)
        linears = [module for module in network if isinstance(module, nn.Linear)]
        for before, after in itertools.pairwise(linears):
            factors = 10 ** (2 * torch.rand(before.out_features).double() - 1)
            before.weight.data.mul_(factors[:, None])
            after.weight.data.div_(factors)
        assert product_of_norms(network) >= best * (1 - 1e-12)


def test_convolutions_have_norm_1_where_biases_count():
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4), nn.MaxPool2d(2),
        nn.ReLU(), nn.Conv2d(8, 3, 1, groups=1), nn.Flatten(), nn.Linear(12, 3), nn.Linear(3, 2),
    ).double().eval()  # fmt: skip
    equalized = equalize(network, method="path")
    assert list(equalized.factors) == ["0", "2", "5", "7"]
    measured = qn.profile(equalized.model, equalized.model, input_shape=(1, 2, 8, 8))
    for layer in measured.layers[:-1]:
        assert layer.joint_norm == pytest.approx(1, rel=1e-12)
    assert measured.layers[-1].joint_norm > 1


def test_cle_makes_the_peaks_of_rows_and_columns_equal():
    """Equation for s_i of Nagel et al. at every boundary at once, also in groups."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(),
        nn.Conv2d(6, 4, 1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2),
    ).double().eval()  # fmt: skip
    equalized = equalize(network)
    assert equalized.residual < 1e-9
    for boundary in equalized.regions[0]:
        before = equalized.model.get_submodule(boundary.before).weight
        after = equalized.model.get_submodule(boundary.after)
        groups = groups_of(after)
        columns = by_channel(after.weight, groups, boundary.channels).abs().amax((1, 3)).flatten()
        assert torch.allclose(before.abs().flatten(1).amax(1), columns, rtol=1e-8)


def test_cle_of_two_layers_by_hand():
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double().eval()
    network[0].weight.data[:] = torch.tensor([[1.0], [-8.0]])
    network[2].weight.data[:] = torch.tensor([[4.0, 2.0]])
    equalized = equalize(network)
    assert torch.allclose(equalized.factors["0"], torch.tensor([2.0, 0.5]).double())
    assert torch.allclose(
        equalized.model.get_submodule("0").bias, network[0].bias * equalized.factors["0"]
    )
    assert torch.allclose(
        equalized.model.get_submodule("2").weight, torch.tensor([[2.0, 4.0]]).double()
    )


# -- edges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_channels_without_weights_keep_factor_1(method):
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).double().eval()
    network[0].weight.data[1] = 0
    factors = equalize(network, method=method).factors["0"]
    assert factors[1] == 1 and (factors[[0, 2]] != 1).all()


def test_a_unit_that_nobody_reads_keeps_factor_1_in_cle():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double().eval()
    network[2].weight.data[:, 1] = 0
    assert equalize(network).factors["0"][1] == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_boundaries_stays(method):
    network = Residual(nn.Linear(2, 2), nn.Identity(), nn.ReLU()).double().eval()
    equalized = equalize(network, method=method)
    assert equalized.regions == () and not equalized.factors and len(equalized.stops) == 2
    assert torch.equal(equalized.model.get_submodule("body").weight, network.body.weight)


@pytest.mark.parametrize("method", METHODS)
def test_strength_is_the_exponent(method):
    network = random_chain(3, bias=True)
    full = equalize(network, method=method).factors
    half = equalize(network, method=method, strength=0.5)
    none = equalize(network, method=method, strength=0)
    for layer, factors in full.items():
        assert torch.allclose(half.factors[layer] ** 2, factors)
        assert torch.equal(
            none.model.get_submodule(layer).weight, network.get_submodule(layer).weight
        )
    shape = (1, network[0].in_features)
    assert relative_change(half, shape) < 1e-12


def test_factors_out_of_range():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1)).double().eval()
    network[0].weight.data[:] = 1e-320
    with pytest.raises(qn.QnotesError, match=r"0: 1 of 1 values of its equalized weight are NaN"):
        equalize(network, method="path")
    with pytest.raises(qn.QnotesError, match="0: 1 of 1 values of its weight are NaN"):
        network[0].weight.data[:] = math.nan
        equalize(network)


# -- ReLU6 -----------------------------------------------------------------------------------------


def clipped() -> Net:
    return Net(
        lambda s, x: s.c(s.act(s.b(F.relu6(s.a(x))))),
        a=nn.Linear(2, 3),
        b=nn.Linear(3, 3),
        act=nn.ReLU6(inplace=True),
        c=nn.Linear(3, 1),
    ).eval()


def test_relu6_is_refused_with_what_to_do():
    with pytest.raises(qn.QnotesError, match=r'relu6: ReLU6 between a and b.*relu6="relu"'):
        equalize(clipped())


def test_relu6_elsewhere_is_no_obstacle():
    """Where no boundary would be anyway, ReLU6 stays what it is."""
    body = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    network = nn.Sequential(Residual(body, nn.Identity(), nn.ReLU6())).double().eval()
    equalized = equalize(network)
    assert equalized.reference is network and list(equalized.factors) == ["0.body.0"]


def test_the_relu_network_is_the_reference():
    network = clipped().double()
    for layer in (network.a, network.b):
        layer.bias.data += 5  # both sides of 6
    equalized = equalize(network, relu6="relu")
    assert not any(isinstance(op.module, nn.ReLU6) for op in operations(equalized.reference))
    inputs = qn.random_inputs((1, 2), count=8)
    assert not torch.allclose(qn.outputs(network, inputs), qn.outputs(equalized.reference, inputs))
    assert relative_change(equalized, (1, 2)) < 1e-12
    again = relu_network(equalized.reference)
    assert torch.equal(qn.outputs(again, inputs), qn.outputs(equalized.reference, inputs))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"method": "CLE"}, "method must be one of 'cle', 'path', 'even'; got 'CLE'"),
        ({"relu6": True}, "relu6 must be one of 'refuse', 'relu'; got True"),
        ({"strength": 1.5}, "strength must be a number from 0 to 1; got 1.5"),
        ({"strength": math.nan}, "strength must be a number from 0 to 1; got nan"),
    ],
)
def test_unknown_options(options, match):
    with pytest.raises(qn.QnotesError, match=match):
        equalize(nn.Sequential(nn.Linear(1, 1)).eval(), **options)


@pytest.mark.medium
def test_product_form_falls_and_never_below_the_path():
    """T5 of a chain: its product of joint norms is what "path" minimizes."""
    for seed in range(20):
        network = random_chain(seed, bias=True)
        shape = (1, network[0].in_features)
        products = []
        for model in (network, *(equalize(network, method=method).model for method in METHODS)):
            layers = qn.profile(model, model, input_shape=shape).layers
            products.append(sum(math.log(max(1, layer.joint_norm)) for layer in layers))
        assert products[1 + METHODS.index("path")] <= min(products) + 1e-9
