"""The bounds hold: on thousands of random networks no measured error lies above any of them."""

import math
import random

import pytest
import torch

import qnotes as qn
from tests.random_networks import (
    ARCHITECTURES,
    assert_bounded,
    bound_values,
    change_weights,
    draw_weights,
    hard_inputs,
    largest_error,
)

DRAWS = 10  # weights of each architecture


def cases(family: str, count: int):
    """Seeds of architectures, `DRAWS` networks each."""
    return [pytest.param(family, seed, id=f"{family}-{seed}") for seed in range(count)]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("family", "seed"),
    [*cases("dense", 60), *cases("convolutional", 70), *cases("residual", 70)],
)
def test_no_error_above_a_bound(family, seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network, shape = ARCHITECTURES[family](rng, rng.random() < 0.6)
    folded = qn.fold(network.eval())
    for draw in range(DRAWS):
        radius = rng.choice([0.1, 1.0, 1.0, 3.0])
        draw_weights(rng, folded)
        changed = change_weights(rng, folded)
        profile = qn.profile(folded, changed, input_shape=shape, radius=radius)
        error = largest_error(folded, changed, hard_inputs(shape, radius, seed=draw))
        assert_bounded(error, bound_values(profile))


@pytest.fixture(scope="module")
def table():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 2)
    )
    folded = qn.fold(network.eval())
    changed = qn.quantize(folded, bits=4).model
    return qn.bounds(qn.profile(folded, changed, input_shape=(1, 1, 4, 4)))


def test_columns_and_rows(table):
    assert list(table.columns) == ["theorem", "bound", "log10", "assumptions", "share"]
    assert list(table["theorem"]) == ["P1", "P2", "P3", "T2", "T3", "T4", "T5", "T5", "T6"]
    assert len(set(zip(table["theorem"], table["bound"], strict=True))) == len(table)


def test_nan_exactly_where_a_reason_is_given(table):
    for row in table.itertuples():
        assert math.isnan(row.log10) == bool(row.assumptions)
    reasons = dict(zip(table["theorem"], table["assumptions"], strict=True))
    assert reasons["T3"] == reasons["T4"]
    assert reasons["T4"] == "needs a network without biases; 2 layers have one, first '0'"


def test_shares_sum_to_one(table):
    shares = dict(zip(table["bound"], table["share"], strict=True))
    for name in ("recursion along the chain", "product form", "mean form"):
        given = [row.share for row in table.itertuples() if row.bound == name]
        for share in given:
            assert share is None or (len(share) == 2 and abs(share.sum() - 1) < 1e-12)
    assert shares["recursion along the chain"] is not None


def test_no_convolution_no_t6():
    folded = qn.fold(torch.nn.Sequential(torch.nn.Linear(3, 2)).eval())
    table = qn.bounds(qn.profile(folded, folded, input_shape=(1, 3)))
    row = table[table["theorem"] == "T6"].iloc[0]
    assert math.isnan(row.log10)
    assert row.assumptions == "needs a convolution; this network has none"
    assert row.share is None


def test_equal_networks_have_bounds_of_zero():
    folded = qn.fold(torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False)).eval())
    values = bound_values(qn.profile(folded, folded, input_shape=(1, 3)))
    assert {value for value in values.values() if not math.isnan(value)} == {-math.inf}


@pytest.mark.parametrize("of", [qn.bounds, qn.gain_factors])
def test_what_is_no_profile_is_refused(of):
    with pytest.raises(qn.QnotesError, match=r"expected a profile; got Linear.*qnotes\.profile"):
        of(torch.nn.Linear(2, 2))
