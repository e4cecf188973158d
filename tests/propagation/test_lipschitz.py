"""T14 on dense chains against what others compute: ECLipsE, and LipSDP by a convex solver.

Needs eclipse-nn and cvxpy, which nothing else here does: `pip install eclipse-nn==0.1.7`.

The last layer of the copy is 0, so that S' = 0 and Δ = S; there are no biases, and the box is in a
ball of radius √N_0. Then the bound of T14 is √N_0 times a Lipschitz constant in the ℓ² norm. Two
networks that differ everywhere are one chain, too: S' and Δ travel through the layers
[[W', 0], [W - W', W]].
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


def of_T14(network: nn.Sequential, other: nn.Module, seconds: float) -> float:
    """A Lipschitz constant of the error."""
    inputs = network[0].in_features
    found = qn.certify(
        network, other, input_shape=(1, inputs), method="ellipsoids", seconds=seconds
    )
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


def steepest(network: nn.Module, other: nn.Module, inputs: int) -> float:
    """The longest gradient of the error that random inputs have."""
    x = torch.randn(4000, inputs, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad((network(x) - other(x)).sum(), x)
    return slopes.norm(dim=1).max().item()


@pytest.mark.parametrize("seed", range(CHAINS))
def test_one_network(seed):
    network = chain(seed)
    layers = weights(network)
    other = with_weights(network, [*layers[:-1], 0 * layers[-1]])
    plain, found = (of_T14(network, other, seconds) for seconds in (0, 1.0))
    least, sdp = steepest(network, other, layers[0].shape[1]), lipsdp(layers)
    assert least <= sdp * (1 + SOLVED)
    assert plain == pytest.approx(of_eclipse(layers, "ECLipsE_Fast"), rel=1e-5)
    assert sdp * (1 - SOLVED) <= found <= plain * (1 + 1e-9)
    assert found <= 1.05 * sdp
    assert found <= (1 + 1e-3) * of_eclipse(layers, "ECLipsE")
