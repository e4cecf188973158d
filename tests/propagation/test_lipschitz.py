"""T14 on dense chains against what others compute: ECLipsE, and LipSDP by a convex solver.

Needs eclipse-nn and cvxpy, which nothing else here does: `pip install eclipse-nn==0.1.7`.

The last layer of the copy is 0, so that S' = 0 and Δ = S; there are no biases, and the box is in a
ball of radius √N_0. Then the bound of T14 is √N_0 times a Lipschitz constant in the ℓ² norm. Two
networks that differ everywhere are one chain, too: S' and Δ travel through the layers
[[W', 0], [W - W', W]], and what is bounded is |Δ(x)| / ‖x‖ (Δ has steeper slopes, where a unit is
on in one network only).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qnotes as qn

eclipse = pytest.importorskip("eclipse_nn")
cp = pytest.importorskip("cvxpy")
pytestmark = pytest.mark.medium

CHAINS = 20
#: What a convex solver may be off by.
SOLVED = 1e-4
#: So near to the optimum the descent comes.
NEAR = 1.05


def chain(seed: int) -> nn.Sequential:
    """Two to five layers, one output, no biases."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    widths = [int(n) for n in rng.integers(2, 9, size=rng.integers(2, 6))]
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise([*widths, 1])]
    parts = [part for layer in layers[:-1] for part in (layer, nn.ReLU())] + layers[-1:]
    return nn.Sequential(*parts).double().eval()


def weights(network: nn.Sequential) -> list[Tensor]:
    return [layer.weight.detach() for layer in network if isinstance(layer, nn.Linear)]


def with_weights(network: nn.Sequential, others: Sequence[Tensor]) -> nn.Sequential:
    copied = qn.fold(network)
    with torch.no_grad():
        for parameter, weight in zip(copied.parameters(), others, strict=True):
            parameter.copy_(weight)
    return copied


def of_T14(network: nn.Sequential, other: nn.Module, goal: float) -> float:
    """A Lipschitz constant of the error; a descent goes on until it reaches the goal."""
    inputs = network[0].in_features
    options = {"input_shape": (1, inputs), "method": "ellipsoids"}
    found, seconds = qn.certify(network, other, **options, seconds=0), 1.0
    while found.bound.item() > goal * math.sqrt(inputs) and seconds < 30:
        found = qn.certify(network, other, **options, seconds=seconds, diagonals=found.diagonals)
        seconds *= 2
    return found.bound.item() / math.sqrt(inputs)


def lipsdp(layers: Sequence[Tensor]) -> float:
    """The smallest that T14 can say of a chain, whatever its diagonals (Fazlyab et al. 2019)."""
    layers = [layer.numpy() for layer in layers]
    widths = [layer.shape[1] for layer in layers]
    square = cp.Variable()
    slopes = [cp.Variable(width, nonneg=True) for width in widths[1:]]
    last = layers[-1].T @ layers[-1]
    rows = [[np.zeros((a, b)) for b in widths] for a in widths]
    rows[0][0] = square * np.eye(widths[0])
    for place, slope in enumerate(slopes, 1):
        coupled = cp.multiply(slope[:, None], layers[place - 1])
        rows[place][place] = 2 * cp.diag(slope) - (last if place == len(slopes) else 0)
        rows[place][place - 1], rows[place - 1][place] = -coupled, -coupled.T
    problem = cp.Problem(cp.Minimize(square), [cp.bmat(rows) >> 0])
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == cp.OPTIMAL
    return math.sqrt(square.value)


def of_eclipse(layers: Sequence[Tensor], method: str) -> float:
    return float(eclipse.LipConstEstimator(weights=list(layers)).estimate(method))


def tried(network: nn.Module, other: nn.Module) -> float:
    """The largest error that random inputs have, over their length."""
    torch.manual_seed(0)
    x = torch.randn(20_000, network[0].in_features, dtype=torch.float64)
    with torch.no_grad():
        return ((network(x) - other(x)).abs()[:, 0] / x.norm(dim=1)).max().item()


@pytest.fixture
def clarabel(monkeypatch):
    """ECLipsE asks SCS for six digits, wants eight, and falls back to its fast form each time."""
    whole = cp.Problem.solve
    monkeypatch.setattr(cp.Problem, "solve", lambda self, **_: whole(self, solver=cp.CLARABEL))


@pytest.mark.parametrize("seed", range(CHAINS))
def test_one_network(seed, clarabel):
    network = chain(seed)
    layers = weights(network)
    other = with_weights(network, [*layers[:-1], 0 * layers[-1]])
    least = lipsdp(layers)
    assert tried(network, other) <= least * (1 + SOLVED)
    plain = of_T14(network, other, math.inf)
    assert plain == pytest.approx(of_eclipse(layers, "ECLipsE_Fast"), rel=1e-5)
    layerwise = of_eclipse(layers, "ECLipsE")
    assert least * (1 - SOLVED) <= layerwise <= plain * (1 + SOLVED)
    found = of_T14(network, other, NEAR * least)
    assert least * (1 - SOLVED) <= found <= NEAR * least


@pytest.mark.parametrize("seed", range(CHAINS))
def test_two_networks(seed):
    network = chain(seed)
    layers = weights(network)
    rounded = qn.quantize(network, bits=4).model
    others = [parameter.detach() for parameter in rounded.parameters()]
    pairs = list(zip(layers, others, strict=True))
    (first, its), *middle, (last, theirs) = pairs
    stacked = [torch.cat([its, first - its])]
    for ours, own in middle:
        above = torch.cat([own, torch.zeros_like(own)], 1)
        stacked.append(torch.cat([above, torch.cat([ours - own, ours], 1)]))
    stacked.append(torch.cat([last - theirs, last], 1))
    least = lipsdp(stacked)
    assert tried(network, rounded) <= least * (1 + SOLVED)
    found = of_T14(network, rounded, NEAR * least)
    assert least * (1 - SOLVED) <= found <= NEAR * least
