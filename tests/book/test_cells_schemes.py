"""Schemes side by side: what the chapter's cells define."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

import qnotes as qn
from tests.book.cells import definitions

CELLS = {"network": "resnet20", "bits": [4, 4, 4], "scheme": ["a", "b", "c"]}
chapter = definitions(
    "schemes",
    *("side_by_side", "against", "rank_correlations", "NUMBERS"),
    *("bits_per_weight", "gap_in_steps", "levels_of_channel", "seen", "tried"),
    setup={"seed": 0},
)


@pytest.fixture(scope="module")
def folded():
    return qn.fold(qn.load("resnet20"))


@pytest.fixture(scope="module")
def table():
    chosen = {"channel": {}, "tensor": {"granularity": "tensor"}}
    return qn.sweep("resnet20", schemes=chosen, bits=[8, 4], inputs=4, jobs=1, progress=False)


def stored(weight, **scheme):
    """What is stored of the weights of one linear layer."""
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    linear.weight.data = weight
    network = torch.nn.Sequential(linear).eval()
    return qn.quantize(network, **scheme).layers["0"]


def test_side_by_side_has_the_numbers_of_the_sweep(table):
    rows = chapter.side_by_side(table)
    cells = rows[["bits", "scheme"]].to_records(index=False).tolist()
    assert cells == [(8, "channel"), (4, "channel"), (8, "tensor"), (4, "tensor")]
    for column, (theorem, bound) in chapter.NUMBERS.items():
        chosen = table[(table["theorem"] == theorem) & (table["bound"] == bound)]
        assert chosen["log10"].tolist() == rows[column].tolist()
    assert rows["accuracy"].isna().all()


def test_a_failed_cell_has_no_numbers(table):
    failed = table.iloc[:1].assign(scheme="broken", theorem=None, bound=None, log10=np.nan)
    rows = chapter.side_by_side(pd.concat([table, failed], ignore_index=True))
    assert rows.iloc[-1][list(chapter.NUMBERS)].isna().all()


def test_against_takes_the_scheme_at_the_same_bits(table):
    rows = chapter.side_by_side(table)
    changed = chapter.against(rows, "channel")
    assert (changed.loc[changed["scheme"] == "channel", "T2"] == 0).all()
    at = rows.set_index(["bits", "scheme"])["digits"]
    expected = at[4, "tensor"] - at[4, "channel"]
    assert changed.set_index(["bits", "scheme"])["digits"][4, "tensor"] == expected
    assert list(rows["T2"]) != list(changed["T2"]), "the rows given must not change"


def test_against_names_what_is_missing(table):
    rows = chapter.side_by_side(table).iloc[1:]
    with pytest.raises(qn.QnotesError, match="'channel' for resnet20 with 8 bits"):
        chapter.against(rows, "channel")


def test_rank_correlations_agree_with_scipy():
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, 5, (20, 2))  # with ties
    rows = pd.DataFrame(drawn, columns=["x", "y"]).assign(network="n", bits=4, scheme=range(20))
    found = chapter.rank_correlations(rows, {"x and y": ("x", "y")})
    assert math.isclose(found["x and y"].item(), spearmanr(drawn[:, 0], drawn[:, 1]).statistic)


@pytest.mark.parametrize(
    ("y", "expected"),
    [([3, 5, 9], 1.0), ([9, 5, 3], -1.0), ([2, 2, 2], np.nan), ([1, np.nan, 2], np.nan)],
)
def test_rank_correlations_by_hand(y, expected):
    rows = pd.DataFrame({**CELLS, "x": [1, 2, 30], "y": y})
    found = chapter.rank_correlations(rows, {"r": ("x", "y")})["r"].item()
    assert found == pytest.approx(expected, nan_ok=True)


def test_bits_per_weight_counts_scales():
    linear = torch.nn.Linear(16, 2)
    network = torch.nn.Sequential(linear).eval()
    channel = qn.quantize(network, bits=4)
    assert chapter.bits_per_weight(channel) == 4 + 32 / 16
    assert chapter.bits_per_weight(qn.quantize(network, bits=4, granularity="tensor")) == 4 + 1
    grouped = qn.quantize(network, bits=4, granularity="group", group_size=8)
    assert chapter.bits_per_weight(grouped) == 4 + 32 / 8


def test_gap_in_steps(folded):
    nearest = chapter.gap_in_steps(qn.quantize(folded, bits=4))
    floor = chapter.gap_in_steps(qn.quantize(folded, bits=4, rounding="floor"))
    clipped = chapter.gap_in_steps(qn.quantize(folded, bits=4, clip="percentile", percentile=90))
    assert 0.49 < nearest <= 0.5 + 1e-9 < floor <= 1 + 1e-9 < clipped
    with pytest.raises(qn.QnotesError, match=r"conv1.*has no step"):
        chapter.gap_in_steps(qn.quantize(folded, bits=4, grid="log2"))


@pytest.mark.parametrize("scheme", [{}, {"symmetric": False}, {"grid": "log2"}, {"grid": "kmeans"}])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_weights_of_a_channel_lie_on_its_levels(scheme, granularity):
    weight = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = stored(weight, bits=3, granularity=granularity, **scheme)
    levels = chapter.levels_of_channel(layer, 1)
    assert set(layer.weight[1].tolist()) <= set(levels.tolist())
    assert len(levels) <= 8 and (levels.diff() > 0).all()


def test_levels_of_groups_are_refused():
    layer = stored(torch.ones(2, 4), bits=3, granularity="group", group_size=2)
    with pytest.raises(qn.QnotesError, match="each group"):
        chapter.levels_of_channel(layer, 0)


def test_what_is_seen_by_hand():
    reference = torch.tensor([[3.0, 4.0], [0.0, 2.0], [6.0, 8.0]])
    answers = torch.tensor([[4.0, 3.0], [0.0, 2.0], [6.0, 3.0]])
    found = chapter.seen(reference, answers)
    assert found["largest error"] == 5 and found["median error"] == 1
    assert found["relative change"] == pytest.approx(math.sqrt(2) / 5)
    assert found["same top class"] == pytest.approx(1 / 3)


def test_tried_has_the_numbers_of_the_sweep(table, folded):
    images = qn.digits("test")[0]
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:4]]
    schemes = {"channel": {}, "tensor": {"granularity": "tensor"}}
    found = chapter.tried(folded, images, schemes, [8, 4], radius=1.0)
    rows = chapter.side_by_side(table).set_index(["bits", "scheme"])
    found = found.set_index(["bits", "scheme"])
    for column in chapter.BOUNDS:
        np.testing.assert_allclose(found[column], rows.loc[found.index, column])
    errors = rows.loc[found.index, "digits"]
    np.testing.assert_allclose(np.log10(found["largest error"]), errors, atol=1e-3)
    assert (found["median error"] < found["largest error"]).all()
    assert found.loc[(8, "tensor"), "stored"] < found.loc[(8, "channel"), "stored"]


@pytest.mark.medium
def test_the_bound_hardly_sees_what_a_scale_per_tensor_costs_mobilenet():
    """Trained on ImageNet, 8 bits: tenths of a decade in the bound, the outputs in the network."""
    folded = qn.fold(qn.load("mobilenet_v2_features", weights="imagenet"))
    processing = qn.preprocessing("mobilenet_v2_features", "imagenet")
    images = qn.photographs("test", preprocessing=processing)
    schemes = {"channel": {}, "tensor": {"granularity": "tensor"}, "floor": {"rounding": "floor"}}
    found = chapter.tried(folded, images, schemes, [8], radius=processing.radius)
    found = found.set_index("scheme")
    assert np.ptp(found["mean form"]) < 0.5
    assert found["relative change"]["channel"] < 0.3
    assert (found["relative change"][["tensor", "floor"]] > 0.7).all()
