"""The waterfall: stages in order, steps that add up, and one name for each."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.propagation.channels import vector_bound
from qnotes.theorems import notation as sy
from tests.book.cells import definitions
from tests.variants import variant

SHAPE = (1, 1, 6, 6)
cells = definitions(
    "looseness",
    "STAGES",
    "MEANINGS",
    "climb",
    "steps",
    "step_costs",
    "both_bounds",
    "split_signs",
)
STAGES, climb, steps = cells.STAGES, cells.climb, cells.steps


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    folded = qn.fold(nn.Sequential(*layers, nn.Linear(16, 3)).eval())
    return folded, qn.quantize(folded, bits=5).model


@pytest.fixture(scope="module")
def found(pair):
    seen = qn.observe(*pair, input_shape=SHAPE, samples=16, starts=2, steps=5)
    return climb(*pair, 1e-3, seen.sampled, seen.error, input_shape=SHAPE, radius=1.0), seen


def test_stages_are_what_they_are_called(pair, found):
    values, seen = found
    assert list(values.index) == list(STAGES)
    assert values["observed"] == pytest.approx(math.log10(seen.error))
    ladder = qn.bounds(qn.profile(*pair, input_shape=SHAPE)).set_index(["theorem", "bound"])
    assert values["T5 mean form"] == ladder.loc[("T5", "mean form"), "log10"]
    assert values["P2"] == ladder.loc[("P2", "one norm for all layers"), "log10"]


def test_proved_order(found):
    values, _ = found
    for smaller, larger in [
        ("sampled", "observed"),
        ("observed", "T8"),
        ("T8", "T2"),
        ("T2", "T5 product form"),
        ("T5 product form", "T5 mean form"),
    ]:
        assert values[smaller] <= values[larger] + 1e-9, (smaller, larger)


def test_steps_add_up(found):
    values, _ = found
    assert steps(values).sum() == pytest.approx(values["P1"] - values["typical"])
    assert set(steps(values).index) == set(cells.MEANINGS)


def test_no_error_is_minus_infinity(pair, found):
    seen = found[1]
    same = climb(pair[0], pair[0], 0.0, seen.sampled, seen.error, input_shape=SHAPE, radius=1.0)
    assert same["typical"] == -math.inf


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_x0_25"])
def test_costs_of_the_upper_steps_are_those_of_the_theorems(name):
    profile = qn.stored_profile(name, bits=4)
    product_form, known = qn.theorems()["T5 product form"], qn.theorems()
    changes = {sy.n_joint: lambda layer: sy.delta[layer] + sy.gamma[layer], sy.eps_layer: 1}
    stages = {
        "T2": known["T2"],
        "biases in the norms": variant(product_form, replacing=changes),
        "count times largest": product_form,
        "one gap for all": variant(product_form, replacing={sy.eps_layer: sy.eps}),
        "one mean for all": known["T5 mean form"],
    }
    values = [stage.evaluate(profile) for stage in stages.values()]
    ours = cells.step_costs(profile)
    assert list(ours.index) == list(stages)[1:]
    assert ours.to_numpy() == pytest.approx(np.diff(values), abs=1e-9)


def test_both_bounds_are_those_of_the_package():
    torch.manual_seed(1)
    layers = [nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 2)]
    network = nn.Sequential(*layers).double().eval()
    rounded = qn.quantize(network, bits=4).model
    found = cells.both_bounds(network, rounded.children(), radius=2.0)
    domain = {"input_shape": (1, 3), "radius": 2.0}
    ladder = qn.bounds(qn.profile(network, rounded, **domain)).set_index("theorem")
    assert math.log10(found["T2"]) == pytest.approx(ladder.loc["T2", "log10"])
    assert math.log10(found["T8"]) == pytest.approx(vector_bound(network, rounded, **domain).max())


def test_parts_of_the_signs_add_up_and_what_is_larger_takes_nothing_back():
    columns = ["channels", "euclidean", "ellipsoids", "observed"]
    table = pd.DataFrame([[19.0, 9.0, 6.0, 0.5], [30.0, 35.0, 31.0, 1.0]], columns=columns)
    found = cells.split_signs(table)
    assert found.to_numpy().tolist() == [[10.0, 3.0, 5.5], [0.0, 0.0, 29.0]]
    assert found.sum(axis=1).tolist() == (table["channels"] - table["observed"]).tolist()
