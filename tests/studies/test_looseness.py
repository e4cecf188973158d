"""The waterfall: stages in order, steps that add up, and one name for each."""

import math

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.studies.looseness import MEANINGS, STAGES, stages, steps, typical_errors

SHAPE = (1, 1, 6, 6)


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    folded = qn.fold(nn.Sequential(*layers, nn.Linear(16, 3)).eval())
    return folded, qn.quantize(folded, bits=5).model


@pytest.fixture(scope="module")
def found(pair):
    seen = qn.observe(*pair, input_shape=SHAPE, samples=16, starts=2, steps=5)
    return stages(*pair, seen, typical=1e-3, input_shape=SHAPE), seen


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
    assert set(steps(values).index) == set(MEANINGS)


def test_no_error_is_minus_infinity(pair, found):
    same = stages(pair[0], pair[0], found[1], typical=0.0, input_shape=SHAPE)
    assert same["typical"] == -math.inf


def test_errors_of_copies(pair):
    inputs = qn.random_inputs(SHAPE, count=6)
    errors = typical_errors(*pair, inputs)
    assert errors.numpy() == pytest.approx(qn.output_errors(*pair, inputs).numpy(), rel=1e-3)
    assert next(pair[0].parameters()).dtype == torch.float64
