"""The table of architectures: complete, in accord with the theorems, and measured again in part."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

import qnotes as qn
from data import measure_architectures as script
from qnotes.files import data_folder
from qnotes.networks._torchvision import torchvision

TABLE = pd.read_csv(data_folder() / script.FILE)
COVERED = TABLE[TABLE["refused"].isna()]
CHAINS = COVERED[COVERED["L"].notna()]


def test_every_classifier_is_there_or_named():
    found = list(zip(TABLE["network"], TABLE["weights"], strict=True))
    assert found == script.keys()
    every = set(torchvision.models.list_models(torchvision.models))
    assert len(every) == 80 and every - set(TABLE["network"]) == set(script.LEFT_OUT)
    assert (TABLE["qnotes"] == qn.__version__).all() and (TABLE["seed"] == script.SEED).all()


def test_refused_are_those_with_layer_norms_and_say_where():
    refused = TABLE[TABLE["refused"].notna()]
    assert set(refused["family"]) == {"ConvNeXt", "MaxViT", "Swin", "ViT"}
    assert refused["refused"].str.contains("divides by the spread").all()
    assert refused["refused"].str.contains(r"^[a-z_0-9.]+: ").all()
    assert refused[["T8", "L", "P2", "error"]].isna().all(axis=None)


def test_bounds_are_ordered_as_the_theorems_say():
    assert (COVERED["error"] < COVERED["T8"]).all()
    assert (COVERED["T8"] <= COVERED["T2 on the graph"] + 1e-6).all()
    assert (CHAINS["T2 on the graph"] <= CHAINS["T2"] + 1e-6).all()
    ordered = ["T2", "T5 product", "T5 mean", "P2"]
    for below, above in pairwise(ordered):
        assert (CHAINS[below] <= CHAINS[above] + 1e-6).all(), (below, above)


def test_the_gain_is_the_product_of_its_factors():
    factors = CHAINS[[f"gain by {name}" for name in ("depth", "width", "norms")]].sum(axis=1)
    np.testing.assert_allclose(CHAINS["P2"] - CHAINS["T5 mean"], factors, atol=1e-3)


def test_structure():
    """The chain has the depth of the longest way; names that say a depth or an operation agree."""
    assert (CHAINS["L"] == CHAINS["depth"]).all()
    at = COVERED[COVERED["weights"] == "random"].set_index("network")
    for depth in (18, 34, 50, 101, 152):
        assert at.loc[f"resnet{depth}", "L"] == depth
    assert at.loc["densenet121", "concatenations"] > 50 and at.loc["densenet121", "sums"] == 0
    gated = at["family"].isin(["EfficientNet", "EfficientNetV2", "MobileNetV3", "RegNetY"])
    assert ((at["gates"] > 0) == gated).all() and (at["L"].isna() == gated).all()
    small = ["MNASNet", "MobileNetV2", "MobileNetV3", "ShuffleNet"]
    depthwise = at["family"].str.startswith("EfficientNet") | at["family"].isin(small)
    assert ((at["depthwise"] > 0) == depthwise).all()
    norms = at["norms"] > 0
    assert norms[at["family"] == "DenseNet"].all() and not norms[at["family"] == "ResNet"].any()


@pytest.mark.medium
@torch.no_grad()
@pytest.mark.parametrize("key", [("squeezenet1_1", "random"), ("resnet20", "digits")])
def test_a_row_is_found_again(key):
    row = TABLE[(TABLE["network"] == key[0]) & (TABLE["weights"] == key[1])].iloc[0]
    again = pd.Series(script.measured(*key))
    numbers = [name for name, value in again.items() if isinstance(value, int | float)]
    assert len(numbers) > 20
    np.testing.assert_allclose(again[numbers].astype(float), row[numbers].astype(float), rtol=1e-5)


def test_stored_rows_are_kept(tmp_path, monkeypatch, capsys):
    """Resumed: what is there is not measured; a new row goes to its place, numbers stay."""
    first, second, third = script.keys()[:3]
    pd.DataFrame(
        [{"network": n, "weights": w, "T8": 1.25} for n, w in (third, first)]
    ).to_csv(tmp_path / script.FILE, index=False)
    asked = []

    def measured(*key):
        asked.append(key)
        return {"network": key[0], "weights": key[1], "T8": 2.5}

    monkeypatch.setattr(script, "measured", measured)
    monkeypatch.setattr(script, "keys", lambda: [first, second, third])
    script.main(["--data", str(tmp_path)])
    assert asked == [second]
    found = pd.read_csv(tmp_path / script.FILE)
    assert list(zip(found["network"], found["weights"], strict=True)) == [first, second, third]
    assert found["T8"].tolist() == [1.25, 2.5, 1.25]
    script.main(["--data", str(tmp_path), "--again", first[0]])
    assert set(asked[1:]) == {key for key in (first, second, third) if key[0] == first[0]}
