"""What the chapter on other architectures says, against the stored table and small networks."""

import numpy as np
import pandas as pd
import pytest
import torch

import qnotes as qn
from data.measure_architectures import made, mean_but_one
from qnotes.files import data_folder
from tests.book.cells import definitions

OURS = [*qn.names(), "mobilenet_v2_features", "efficientnet_lite0"]
cells = definitions(
    "other-architectures",
    *("kind", "with_gains", "missed", "hypotheses", "both_sources", "steps_to_T8"),
    *("Joined", "gained", "STEPS", "LOOKS"),
    setup={"ours": OURS},
)
MEASURED = cells.with_gains(pd.read_csv(data_folder() / "architectures.csv"))
ZOO = MEASURED[~MEASURED["network"].isin(OURS)]
CHAINS = ZOO[ZOO["L"].notna()].copy()
SLENDER = CHAINS["depthwise"] > 0
for column in ("spread", "depthwise"):
    CHAINS[f"L × {column}"] = CHAINS["L"] * CHAINS[column]
CHAINS["L × concatenates"] = CHAINS["L"] * (CHAINS["concatenations"] > 0)


def test_counts_of_the_first_paragraph():
    assert len(ZOO) == 63 and len(CHAINS) == 43 and (ZOO["gates"] > 0).sum() == 20


def test_kinds():
    kinds = ZOO.set_index("network")["kind"]
    expected = {
        "vgg16": "a plain chain",
        "resnet50": "sums",
        "mobilenet_v2": "sums, depthwise",
        "densenet121": "concatenations",
        "shufflenet_v2_x1_0": "concatenations, depthwise",
        "efficientnet_b0": "gates",
    }
    assert {name: kinds[name] for name in expected} == expected
    assert set(kinds) == set(cells.LOOKS)


def test_what_a_layer_adds():
    """Depthwise convolutions help, and bottlenecks are nearly as good; fan-ins explain both."""
    assert CHAINS["gain"].min() > 0
    rates = CHAINS.set_index("network")["per layer"]
    slender = CHAINS.loc[SLENDER, "per layer"]
    assert slender.min() > 0.4 and CHAINS.loc[~SLENDER, "per layer"].median() < slender.min()
    assert 0.85 * rates["mobilenet_v2"] < rates["resnet50"] < rates["mobilenet_v2"]
    assert rates[[f"densenet{n}" for n in (121, 161, 169, 201)]].median() < rates["resnet18"] + 0.1
    families = CHAINS.assign(roots=CHAINS["gain by roots"] / (CHAINS["L"] - 1)).groupby("family")
    causes = ["per layer", "roots", "depthwise", "spread", "L"]
    found = families[causes].mean().corr()["per layer"].drop("per layer")
    assert found["roots"] > 0.7 and found.drop("roots").max() < found["roots"] - 0.2


@pytest.mark.slow
def test_a_branch_that_averages_has_the_largest_norms_of_inception():
    """Three times those of rows of the same length; noise is what they were calibrated on."""
    module = qn.fold(made("inception_v3"), input_shape=(1, 3, 224, 224)).get_submodule("Mixed_7c")
    norms = {
        name: module.get_submodule(name).weight.flatten(1).abs().sum(1).max().item()
        for name in ("branch_pool.conv", "branch1x1.conv", "branch3x3_1.conv")
    }
    assert 2.8 < norms["branch_pool.conv"] / norms["branch3x3_1.conv"] < 4
    assert norms["branch_pool.conv"] > 2.8 * norms["branch1x1.conv"]


def test_a_miss_is_that_of_a_family_that_was_not_seen():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=12), "family": list("uvw") * 4})
    exact = table.assign(gain=2 + 3 * table["a"])
    assert cells.missed(exact, ["a"]).max() < 1e-12
    odd = exact.assign(gain=exact["gain"] + 10 * (exact["family"] == "w"))
    missed = cells.missed(odd, ["a"])
    assert missed["w"] == pytest.approx(10) and list(missed.index) == ["u", "v", "w"]
    means = cells.missed(exact.assign(gain=[0, 0, 6] * 4), [])
    assert means.to_dict() == pytest.approx({"u": 3, "v": 3, "w": 6})


def test_hypotheses():
    """The order that the text tells: fan-ins explain best, and the spread of norms misleads."""
    miss = {name: cells.missed(CHAINS, use).mean() for name, use in cells.hypotheses.items()}
    assert min(miss, key=miss.get) == "fan-ins and depth alone, by T7"
    assert miss["depth, spread of norms"] > miss["depth"] > miss["depth, depthwise share"]
    assert miss["depth"] < miss["nothing: the mean of the others"]
    structure = cells.missed(CHAINS, cells.hypotheses["fan-ins and depth alone, by T7"])
    assert "Inception" in structure.nlargest(2).index
    fitted = np.polyfit(CHAINS["by structure"], CHAINS["gain"], 1)
    at = CHAINS.set_index("family").loc["Inception"]
    assert at["gain"] > np.polyval(fitted, at["by structure"])


def test_trained_and_random():
    table = cells.both_sources(MEASURED)
    assert set(table.index) == set(OURS) and len(table) == 9
    on = table["", "trained on"]
    ratio = {n: table[n, "trained"] / table[n, "random"] for n in ("gain", "T5 to T8", "spread")}
    assert ratio["gain"][on == "digits"].between(0.7, 1.2).all()
    assert (ratio["gain"][on == "imagenet"] > 1.3).all()
    assert (ratio["spread"][on == "imagenet"] > 1.5).all()
    assert (ratio["T5 to T8"][on == "imagenet"] > 3).all() and (ratio["T5 to T8"] > 1).all()
    small = table["per layer", "trained"]
    assert small["mobilenet_v2_x0_25"] > small["resnet56"]
    stored = qn.gain_factors(qn.stored_profile("resnet56", bits=8)).sum()
    assert table.loc["resnet56", ("gain", "trained")] == pytest.approx(stored, abs=1e-3)


def test_channels_are_worth_most_where_blocks_are_dense():
    dense = CHAINS["family"] == "DenseNet"
    assert CHAINS.loc[dense, "T5 to T8"].min() > 2 * CHAINS.loc[~dense, "T5 to T8"].max()
    channels = (CHAINS["T2"] - CHAINS["T8"]) / CHAINS["L"]
    assert channels[dense].min() > channels[~dense].max()
    steps = cells.steps_to_T8(CHAINS)
    assert len(steps) == CHAINS["family"].nunique() and (steps >= 0).all(axis=None)
    deepest = CHAINS.set_index("network").loc["densenet201", "T5 to T8"]
    assert steps.loc["densenet201, L = 303"].sum() == pytest.approx(deepest)


@pytest.mark.parametrize("seed", range(3))
def test_old_channels_are_what_T8_remembers(seed):
    joins = ("a plain chain", "sums", "concatenations")
    found = {how: cells.gained(how, 16, seed) for how in joins}
    assert found["concatenations"] > 3 * max(found["sums"], found["a plain chain"])
    assert min(found.values()) > 0


@torch.no_grad()
def test_joined_layers_are_what_they_say():
    x = torch.randn(3, 16)
    for how in ("a plain chain", "sums", "concatenations"):
        network = cells.Joined(how, 1)
        h = torch.relu(network.layers[0](x))
        read = {"a plain chain": h, "sums": x + h, "concatenations": torch.cat([x, h], 1)}[how]
        assert torch.equal(network(x), network.layers[1](read))


def test_exercises():
    chain = np.array([3.0, 24.0] * 50)
    assert 24 / mean_but_one(chain) == pytest.approx(24 / 13.5, rel=0.01)
    assert np.log10(24 / 13.5) == pytest.approx(0.25, abs=0.001)
    ratios, spreads = [], []
    for norms in ([1.0, 10, 10, 10], [10.0, 1, 1, 1]):
        norms = np.array(norms)
        ratios.append(norms.max() / mean_but_one(norms))
        spreads.append(np.log10(norms).std())
    assert ratios == [1, 2.5] and spreads == pytest.approx([3**0.5 / 4] * 2)
