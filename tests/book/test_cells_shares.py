"""The chapter on shares: prices add up to T2, greed is best, and bad tables are refused."""

import copy
import itertools
import random

import numpy as np
import pandas as pd
import pytest
import torch

import qnotes as qn
from tests.book.cells import definitions
from tests.random_networks import convolutional, residual

NAMES = ("greedy_bits", "measured_prices", "of_modules", "recursion_prices", "sizes")
cells = definitions("shares", *NAMES)


def network(build, seed: int):
    torch.manual_seed(seed)
    found, shape = build(random.Random(seed), True)
    return qn.fold(found.double().eval()), shape


@pytest.mark.parametrize("build", [convolutional, residual])
@pytest.mark.parametrize("seed", range(4))
def test_prices_are_the_summands_of_the_recursion(build, seed):
    """With the norms of one profile they add up to its bound, and have its shares."""
    folded, shape = network(build, seed)
    found = qn.profile(folded, qn.quantize(folded, bits=4).model, input_shape=shape)
    row = qn.bounds(found).set_index("theorem").loc["T2"]
    prices = cells.recursion_prices(found, {4: found})[4]
    assert np.log10((10**prices).sum()) == pytest.approx(row["log10"], abs=1e-9)
    assert list(10 ** (prices - row["log10"])) == pytest.approx(list(row["share"]), abs=1e-9)


def test_a_network_on_its_grid_costs_nothing():
    folded, shape = network(convolutional, 0)
    exact = qn.profile(folded, folded, input_shape=shape)
    assert np.isneginf(cells.recursion_prices(exact, {8: exact})[8]).all()


def test_measured_price_is_the_error_of_one_layer_alone():
    folded, shape = network(residual, 1)
    names = [x.name for x in qn.profile(folded, folded, input_shape=shape).layers]
    inputs = qn.random_inputs(shape, count=6)
    quantized = {2: qn.quantize(folded, bits=2), 8: qn.quantize(folded, bits=8)}
    weights = {name: p.clone() for name, p in folded.named_parameters()}
    prices = cells.measured_prices(folded, quantized, names, inputs)
    assert all(torch.equal(weights[name], p) for name, p in folded.named_parameters())
    assert list(prices.index) == names
    for name in names:
        alone = copy.deepcopy(folded)
        for part in name.split(" + "):
            alone.get_submodule(part).weight = quantized[2].model.get_submodule(part).weight
        error = qn.output_errors(folded, alone, inputs).mean().item()
        assert 10 ** prices.loc[name, 2] == pytest.approx(error, rel=1e-9)


def test_joined_modules_get_the_same_bits_and_count_together():
    bits = pd.Series({"conv1": 3, "conv2 + shortcut": 5})
    assert cells.of_modules(bits) == {"conv1": 3, "conv2": 5, "shortcut": 5}
    layers = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(4, 5)})
    assert cells.sizes(layers, ["a + b", "b"]).tolist() == [26, 20]


def table(costs: dict[str, list[float]], widths: list[int]) -> pd.DataFrame:
    with np.errstate(divide="ignore"):
        logs = np.log10(np.array(list(costs.values())))
    return pd.DataFrame(logs, index=list(costs), columns=widths)


def best_sum(prices: pd.DataFrame, counts: pd.Series, budget: float) -> float:
    """The smallest sum of prices of all choices."""
    widths = list(prices.columns)
    choices = itertools.product(range(len(widths)), repeat=len(prices))
    costs = 10 ** prices.to_numpy()
    return min(
        sum(costs[row, at] for row, at in enumerate(choice))
        for choice in choices
        if sum(n * widths[at] for n, at in zip(counts, choice, strict=True)) <= budget
    )


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_best_among_all_choices(seed):
    """Halving prices and equal sizes: every step fits, so the promise applies."""
    generator = np.random.default_rng(seed)
    widths = [2, 3, 4, 5]
    costs = {name: 10 ** generator.uniform(-3, 3) * 2.0 ** -np.arange(4) for name in "abcd"}
    prices, counts = table(costs, widths), pd.Series(10, index=list("abcd"))
    budget = 10 * generator.integers(8, 21)
    bits = cells.greedy_bits(prices, counts, budget=budget)
    assert (bits * counts).sum() <= budget
    found = sum(10 ** prices.loc[name, width] for name, width in bits.items())
    assert found == pytest.approx(best_sum(prices, counts, budget), rel=1e-9)


def test_more_bits_where_they_cost_less():
    """Equal prices: the small layer gets the bits."""
    costs = {"small": [4.0, 2.0, 1.0], "large": [4.0, 2.0, 1.0]}
    counts = pd.Series({"small": 1, "large": 100})
    bits = cells.greedy_bits(table(costs, [2, 3, 4]), counts, budget=300)
    assert bits.to_dict() == {"small": 4, "large": 2}


def test_looks_past_a_step_that_saves_nothing():
    costs = {"a": [4.0, 5.0, 0.1], "b": [1.0, 0.9, 0.8]}
    counts = pd.Series({"a": 1, "b": 1})
    assert cells.greedy_bits(table(costs, [2, 3, 4]), counts, budget=6).to_dict() == {
        "a": 4,
        "b": 2,
    }


def test_spends_nothing_on_layers_that_cost_nothing():
    costs = {"a": [0.0, 0.0], "b": [0.0, 0.0]}
    counts = pd.Series({"a": 1, "b": 1})
    assert cells.greedy_bits(table(costs, [2, 3]), counts, budget=100).to_dict() == {"a": 2, "b": 2}


def test_prices_beyond_floats():
    prices = pd.DataFrame([[400.0, 399.0], [390.0, 389.0]], index=["a", "b"], columns=[2, 3])
    counts = pd.Series({"a": 1, "b": 1})
    assert cells.greedy_bits(prices, counts, budget=5).to_dict() == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("prices", "counts", "budget", "message"),
    [
        (table({"a": [2.0, 1.0]}, [2, 3]), pd.Series({"b": 1}), 9, "same layers"),
        (table({"a": [2.0, 1.0]}, [3, 2]), pd.Series({"a": 1}), 9, "must increase"),
        (table({"a": [np.nan, 1.0]}, [2, 3]), pd.Series({"a": 1}), 9, "NaN or infinite"),
        (table({"a": [2.0, 1.0]}, [2, 3]), pd.Series({"a": 5}), 9, "too small"),
        (table({"a": [2.0, 1.0]}, [2, 3]), pd.Series({"a": 5}), np.nan, "too small"),
    ],
)
def test_refuses_what_does_not_fit(prices, counts, budget, message):
    with pytest.raises(qn.QnotesError, match=message):
        cells.greedy_bits(prices, counts, budget=budget)
