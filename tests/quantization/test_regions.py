"""Which hidden units may be rescaled: what is found, where it stops, and why."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import qnotes as qn
from qnotes.networks.operations import AFFINE, POINTWISE_MODULES, ZERO_PADS, operations
from qnotes.networks.tracing import trace
from qnotes.quantization.equalization import rescale
from qnotes.quantization.regions import HOMOGENEOUS, POOLS, find_regions
from tests.random_networks import ARCHITECTURES, Net, Residual, draw_weights

IMAGE = (2, 2, 6, 6)
#: Modules that need a size, by the number of dimensions that they work on.
SIZED = {pool: dimensions for dimensions, pools in POOLS.items() for pool in pools}
SIZED |= {pad: dimensions for dimensions, pad in enumerate(ZERO_PADS, start=1)}


def paths(network: nn.Module) -> list[str]:
    return [str(boundary) for boundary in find_regions(network.eval()).boundaries]


def reasons(network: nn.Module) -> dict[str, str]:
    return {stop.source: stop.reason for stop in find_regions(network.eval()).stops}


def chain(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules)


def conv(channels: int = 2, out: int = 2, kernel: int = 3, **options) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, **options)


# -- the table -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", POINTWISE_MODULES, ids=lambda module: module.__name__)
def test_what_is_called_homogeneous_is_homogeneous(module):
    """Every covered operation, so that a new one cannot be missed; factors of each channel."""
    operation = (module(2) if module in SIZED else module()).double().eval()
    dimensions = SIZED.get(module, 1 if module is nn.Dropout1d else 2)
    torch.manual_seed(0)
    x = 20 * torch.randn(3, 2, *[5] * dimensions, dtype=torch.float64)
    factors = torch.tensor([0.3, 7.0]).double().view(1, 2, *[1] * dimensions)
    result = operation(x)
    passed = (result.view(3, 2, -1) * factors.view(1, 2, 1)).view_as(result)
    assert torch.allclose(operation(factors * x), passed) == (module in HOMOGENEOUS)


# -- boundaries ------------------------------------------------------------------------------------


def test_convolutions_of_all_kinds():
    network = chain(
        conv(2, 4), nn.ReLU(), conv(4, 4, groups=4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6, 1),
        conv(6, 4, groups=2), nn.Dropout2d(), nn.AvgPool2d(3, 1, 1), nn.Flatten(), nn.Identity(),
        nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 1),
    )  # fmt: skip
    found = find_regions(network.eval())
    assert [str(boundary) for boundary in found.boundaries] == [
        "0 → 1 → 2",
        "2 → 3 → 4 → 5",
        "5 → 6",
        "6 → 7 → 8 → 9 → 10 → 11",
        "11 → 12 → 13",
    ]
    assert len(found.regions) == 1
    assert [boundary.channels for boundary in found.boundaries] == [4, 4, 6, 4, 5]
    assert reasons(network) == {
        "input_1": "it is the input of the network",
        "13": "it is the output of the network",
    }


def test_functions_and_methods():
    network = Net(
        lambda s, x: s.c(torch.flatten(F.max_pool2d(s.b(s.a(x).relu()), 6), 1)),
        a=conv(),
        b=conv(),
        c=nn.Linear(2, 1),
    )
    assert paths(network) == ["a → relu → b", "b → max_pool2d → flatten → c"]


def test_blocks_have_regions_of_their_own():
    def body(kernel):
        return nn.Sequential(conv(), nn.ReLU(), conv(kernel=kernel))

    skip = nn.Identity()
    network = chain(Residual(body(3), skip, nn.ReLU()), Residual(body(1), conv(), nn.ReLU()))
    found = find_regions(network.eval())
    assert [[str(boundary) for boundary in region] for region in found.regions] == [
        ["0.body.0 → 0.body.1 → 0.body.2"],
        ["1.body.0 → 1.body.1 → 1.body.2"],
    ]
    told = reasons(network)
    assert set(told) == {"input_1", "0.body.2", "1.body.2", "1.skip"}
    assert all("sum" in told[name] for name in told if name != "input_1")


def test_the_order_of_regions_is_that_of_the_network():
    network = chain(conv(), nn.ReLU6(), conv(), nn.ReLU(), conv(), nn.ReLU6(), conv(), conv())
    found = find_regions(network.eval())
    assert [len(region) for region in found.regions] == [1, 1]
    assert [region[0].before for region in found.regions] == ["2", "6"]


# -- stops -----------------------------------------------------------------------------------------

STOPS = {
    "ReLU6": (chain(conv(), nn.ReLU6(), conv()), "0", "ReLU6 is not positively homogeneous"),
    "relu6": (
        Net(lambda s, x: s.b(F.relu6(s.a(x))), a=conv(), b=conv()),
        "a",
        "ReLU6 is not positively homogeneous",
    ),
    "skip": (chain(Residual(conv(), nn.Identity(), nn.ReLU()), conv()), "0.body", "is a sum"),
    "read twice": (
        chain(conv(), Residual(conv(), nn.Identity(), nn.ReLU())),
        "0",
        "is read more than once",
    ),
    "read twice after the activation": (
        chain(conv(), nn.ReLU(), Residual(conv(), nn.Identity(), nn.ReLU())),
        "0",
        "is read more than once",
    ),
    "doubled": (
        Net(lambda s, x: (lambda y: s.b(y + y))(s.a(x)), a=conv(), b=conv()),
        "a",
        "is a sum",
    ),
    "used twice, before": (
        Net(lambda s, x: s.b(torch.relu(s.a(torch.relu(s.a(x))))), a=conv(), b=conv()),
        "a",
        "is used in several places",
    ),
    "used twice, after": (
        Net(lambda s, x: s.b(torch.relu(s.b(torch.relu(s.a(x))))), a=conv(), b=conv()),
        "a",
        "is used in several places",
    ),
    "not read": (
        Net(lambda s, x: (s.a(x), s.b(x))[1], a=conv(), b=conv()),
        "a",
        "is not read",
    ),
    "output": (chain(conv(), nn.ReLU()), "0", "is the output"),
    "pool over units": (
        chain(nn.Linear(4, 6), nn.MaxPool1d(2), nn.Linear(3, 1)),
        "0",
        "pools or pads over several units",
    ),
    "pool over channels": (
        chain(nn.Conv1d(2, 4, 1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 1)),
        "0",
        "pools or pads over several units",
    ),
    "pool over a flattened image": (
        chain(conv(), nn.Flatten(), nn.MaxPool1d(9), nn.Linear(8, 1)),
        "0",
        "pools or pads over several units",
    ),
    "linear along the last dimension": (
        chain(conv(), nn.Linear(6, 3), nn.Flatten(), nn.Linear(36, 1)),
        "0",
        "another dimension",
    ),
    "linear on sequences, then flattened": (
        chain(nn.Linear(6, 3), nn.Flatten(), nn.Linear(12, 1)),
        "0",
        "reads 12 values, not 3 units",
    ),
}


@pytest.mark.parametrize("network, source, reason", STOPS.values(), ids=STOPS)
def test_where_it_stops(network, source, reason):
    assert reason in reasons(network)[source]
    assert not any(path.startswith(f"{source} ") for path in paths(network))


def test_tied_weights():
    network = chain(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())
    network[4].weight = network[0].weight
    assert paths(network) == []
    assert reasons(network)["0"] == "shares its weights with 4"
    assert reasons(network)["2"] == "shares its weights with 0"


def test_batch_norms_must_be_folded_first():
    with pytest.raises(qn.UnsupportedOperation, match=r"1: BatchNorm2d .* Fold it .*qnotes\.fold"):
        find_regions(chain(conv(), nn.BatchNorm2d(2), conv()).eval())


# -- any network -----------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_random_factors_change_no_function(architecture):
    """And each layer, each time it is used, is at a boundary or at a stop."""
    found_any = 0
    for seed in range(40):
        rng = random.Random(seed)
        torch.manual_seed(seed)
        network, shape = ARCHITECTURES[architecture](rng, bias=rng.random() < 0.7)
        network = network.double().eval()
        draw_weights(rng, network)
        model = trace(network, copied=True)
        found = find_regions(model)
        uses = sum(operation.kind == AFFINE for operation in operations(model))
        assert len(found.boundaries) + len(found.stops) == uses + 1
        for boundary in found.boundaries:
            rescale(model, boundary, 10 ** (2 * torch.rand(boundary.channels).double() - 1))
        x = qn.random_inputs(shape, count=8)
        expected = qn.outputs(network, x)
        assert torch.allclose(
            qn.outputs(model, x), expected, rtol=1e-9, atol=1e-9 * expected.abs().max()
        )
        found_any += len(found.boundaries)
    assert found_any > 20
