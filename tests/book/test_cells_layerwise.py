"""What the chapter on the layerwise bound computes: the plain mean fails where theory says."""

import math

import numpy as np
import pytest
import torch

import qnotes as qn
from tests.book.cells import definitions

NAMES = ("two_layers", "leave_one_out", "product_form", "mean_form", "widened", "with_constant")
cells = definitions("layerwise", *NAMES, "plain_mean_map", "stages")


@pytest.fixture(scope="module")
def profile():
    folded = qn.fold(qn.load("resnet20"))
    quant = qn.quantize(folded, bits=8)
    return qn.profile(folded, quant.model, input_shape=(1, 1, 32, 32))


def test_counterexample_of_the_plain_mean():
    pair = [cells.two_layers((1, 100), (2.0, last)) for last in (0.0, 1e-4)]
    norms, fan_ins = np.array([2.0, 0.01]), (1, 100)
    corner = torch.ones(1, 1, dtype=torch.float64)
    values = {
        "error": qn.output_errors(*pair, corner).item(),
        "T3": 10 ** cells.product_form(norms, np.array([0, 0.01]), 1),
        "T4": 10 ** cells.mean_form(norms, fan_ins, 1e-4, 1),
        "plain": 10 ** cells.mean_form(norms, fan_ins, 1e-4, 1, np.mean),
    }
    expected = {"error": 0.02, "T3": 0.02, "T4": 0.0202, "plain": 0.0101505}
    assert values == pytest.approx(expected, rel=1e-9)
    bounds = qn.bounds(qn.profile(*pair, input_shape=(1, 1))).set_index("theorem")["log10"]
    for theorem in ("T3", "T4"):
        assert 10 ** bounds[theorem] == pytest.approx(values[theorem], rel=1e-9)


def test_plain_mean_fails_exactly_where_the_larger_fan_in_has_the_smaller_norm():
    table = cells.plain_mean_map(octaves=2)
    assert ((table["plain"] < 1) == (table["norms"] * table["fan_ins"] > 0)).all()
    assert (table["ours"] >= 1).all()


def test_stages_lead_from_the_recursion_to_the_mean_form(profile):
    table = qn.bounds(profile).set_index(["theorem", "bound"])["log10"]
    values = [table["T2", "recursion along the chain"], *cells.stages(profile).values()]
    assert (np.diff(values) >= 0).all()
    assert values[2] == pytest.approx(table["T5", "product form"], abs=1e-9)
    assert values[-1] == pytest.approx(table["T5", "mean form"], abs=1e-9)


def test_plain_mean_is_never_too_small_by_more_than_e(profile):
    norms = [max(1.0, layer.joint_norm) for layer in profile.layers]
    fan_ins = [layer.fan_in for layer in profile.layers]
    gap = max(layer.gap for layer in profile.layers)
    ours, wrong = (
        cells.mean_form(norms, fan_ins, gap, 1.0, mean) for mean in (cells.leave_one_out, np.mean)
    )
    assert ours == pytest.approx(cells.stages(profile)["one mean for all"])
    assert 0 < ours - wrong < math.log10(math.e)


def test_one_as_the_constant_costs_only_the_norms_of_rows_kept_apart(profile):
    product = cells.stages(profile)["count times largest"]
    assert cells.with_constant(profile, 1) >= product
