"""The ResNet chapter: norms, networks without skips, how far three trainings lie apart."""

import math
from itertools import pairwise

import pandas as pd
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.errors import QnotesError
from tests.book.cells import definitions
from tests.random_networks import Residual

cells = definitions("resnets", "facts", "without_skips")
without_skips = cells.without_skips


def block(skip: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    return nn.Sequential(nn.Linear(2, 3), Residual(body, skip, nn.ReLU()), nn.Linear(3, 2)).eval()


@pytest.mark.parametrize("skip", [nn.Identity(), nn.Linear(3, 3)])
def test_the_main_path_is_left(skip):
    network = block(skip)
    body = network[1].body
    chain = nn.Sequential(network[0], *body, nn.ReLU(), network[2]).eval()
    inputs = torch.rand(4, 2, dtype=torch.float64)
    plain = without_skips(qn.fold(network))
    torch.testing.assert_close(plain(inputs), qn.fold(chain)(inputs))


def test_an_identity_skip_adds_one_to_the_norm_of_its_last_layer():
    folded = qn.fold(block(nn.Identity()))
    with_skip, plain = (
        qn.profile(net, net, input_shape=(1, 2)).layers for net in (folded, without_skips(folded))
    )
    assert len(with_skip) == len(plain) == 4
    assert plain[1].norm < 1 and with_skip[1].norm == pytest.approx(1, rel=1e-12)
    assert with_skip[2].norm == pytest.approx(plain[2].norm + 1, rel=1e-12)
    assert with_skip[3] == plain[3]


@pytest.mark.parametrize(("name", "layers"), [("resnet20", 20), ("resnet56", 56)])
def test_depth_stays_nominal_and_the_network_is_not_changed(name, layers):
    folded = qn.fold(qn.load(name, weights="random"))
    before = str(folded.graph)
    plain = without_skips(folded)
    assert qn.profile(plain, plain, input_shape=(1, 1, 32, 32)).depth == layers
    assert str(folded.graph) == before
    assert "add" not in str(plain.graph)


def test_two_branches_alike_are_refused():
    torch.manual_seed(0)
    twins = Residual(nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()).eval()
    with pytest.raises(QnotesError, match="equally many layers"):
        without_skips(qn.fold(twins))


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_the_norms_in_the_table_are_those_that_P2_and_T5_take(name):
    """P2 takes weights alone, T5 weights and biases, whose largest norm is another number."""
    profile = qn.stored_profile(name, bits=8)
    found = cells.facts(profile)
    largest, mean = found["largest norm (P2)"], found["mean norm (T5)"]
    decades = (profile.depth - 1) * math.log10(largest / mean)
    assert decades == pytest.approx(qn.gain_factors(profile)["norms"], abs=1e-9)
    assert largest < max(layer.joint_norm for layer in profile.layers)


# -- three trainings -------------------------------------------------------------------------------

seeds = definitions(
    "resnets", "training", "spread", "distance", "spreading", "theorems", "measured"
)


def made_up(**numbers):
    """Two seeds of two networks; every number that is not given is 0."""
    networks = {"network": ["small", "small", "deep", "deep"], "seed": [0, 1, 0, 1]}
    return pd.DataFrame({**networks, **dict.fromkeys(seeds.spreading, 0.0), **numbers})


def test_spread_is_taken_over_seeds_and_not_over_networks():
    found = seeds.spread(made_up(P2=[1.0, 3.0, 50.0, 50.5], T8=[4.0, 4.0, 2.0, 1.0]))
    assert list(found.index) == ["small", "deep"]
    assert list(found["P2"]) == [2.0, 0.5] and list(found["T8"]) == [0.0, 1.0]
    assert (found.drop(columns=["P2", "T8"]) == 0).all(axis=None)


def test_bounds_are_compared_across_seeds():
    """The least of the upper with the largest of the lower: negative where seeds mix them up."""
    found = seeds.distance(made_up(P2=[9.0, 8.0, 20.0, 30.0], T2=[5.0, 7.5, 21.0, 1.0]), "P2", "T2")
    assert found.to_dict() == {"small": 0.5, "deep": -1.0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_training_has_its_bounds_in_order_above_its_errors(seed):
    profile = qn.stored_profile("resnet20", bits=8, seed=seed)
    found = seeds.training(profile)
    line = [found[key] for key in [*seeds.theorems, *seeds.measured]]
    assert line == sorted(line, reverse=True)
    held_out = profile.provenance["held_out"]
    assert 10 ** found["largest error"] == pytest.approx(held_out["largest_error"])
    table = qn.bounds(profile).set_index(["theorem", "bound"])["log10"]
    assert found["T5, mean form"] == table["T5", "mean form"]
    assert found["T2"] == table["T2", "recursion along the chain"]


def test_the_kept_training_has_the_bounds_of_its_weights():
    folded = qn.fold(qn.load("resnet20"))
    quantized = qn.quantize(folded, bits=8).model
    fresh = qn.profile(folded, quantized, input_shape=(1, 1, 32, 32))
    found = seeds.training(qn.stored_profile("resnet20", bits=8))
    table = qn.bounds(fresh).set_index(["theorem", "bound"])["log10"]
    assert found["P2"] == pytest.approx(table["P2", "one norm for all layers"], rel=1e-9)


@pytest.mark.medium
def test_what_the_text_says_of_three_trainings():
    """P2 moves most, and no bound moves as far as it is from the next."""
    networks = ["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]
    rows = [
        {"network": name, "seed": seed} | seeds.training(stored)
        for name in networks
        for seed in range(3)
        for stored in [qn.stored_profile(name, bits=8, seed=seed)]
    ]
    table = pd.DataFrame(rows)
    table["gain"] = table["P2"] - table["T5, mean form"]
    spreads = seeds.spread(table)
    assert spreads[seeds.theorems].max().idxmax() == "P2"
    for upper, lower in pairwise(seeds.theorems):
        assert (seeds.distance(table, upper, lower) > spreads[[upper, lower]].max(axis=1)).all()
