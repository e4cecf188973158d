"""A bound taken apart: the parts add up, and a narrower W only makes it smaller."""

import random
from dataclasses import replace

import pytest

import qnotes as qn
from tests.book.cells import definitions
from tests.random_profiles import random_profile

EARLIER = [theorem for theorem in qn.theorems() if theorem.number in ("P1", "P2", "P3")]
cells = definitions("earlier", "constants", "P2", "factors", "narrowed")


@pytest.mark.parametrize("theorem", EARLIER, ids=lambda theorem: theorem.key)
@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_parts_add_up(theorem, radius):
    drawn = random_profile(random.Random(0), depth=5, biases=True)
    profile = replace(drawn, radius=radius)
    total = cells.factors(profile).loc[theorem.number].sum()
    assert total == pytest.approx(theorem.evaluate(profile))


def test_P2_in_two_lines_is_P2():
    profile = random_profile(random.Random(2), depth=7, biases=True)
    package = qn.bounds(profile).set_index("theorem").loc["P2", "log10"]
    assert cells.P2(**cells.constants(profile)) == pytest.approx(package)


def test_each_factor_has_its_place():
    parts = cells.factors(random_profile(random.Random(0), depth=5, biases=True)).T
    assert parts["P2"]["width"] * 2 == pytest.approx(parts["P3"]["width"])
    assert 10 ** parts["P2"]["depth"] == pytest.approx(5 * 8 / 2)
    assert 10 ** parts["P3"]["depth"] == pytest.approx(5)
    assert len(set(parts.loc["rounding"])) == 1


@pytest.mark.medium
def test_fan_in_takes_the_place_of_width():
    network = qn.load("resnet18", weights="random")
    folded = qn.fold(network)
    profile = qn.profile(folded, folded, input_shape=(1, 3, 224, 224))
    narrow = cells.narrowed(profile)
    assert max(layer.reads for layer in profile.layers) == 64 * 56 * 56
    # The last convolution of the last stage's first block, with its projection.
    assert max(layer.reads for layer in narrow.layers) == 9 * 512 + 256
    assert narrow.input_width == 3 * 49


def test_constants_are_the_largest_numbers_of_the_layers():
    profile = random_profile(random.Random(1), depth=4, biases=True)
    found = cells.constants(profile)
    assert found["W"] == max(layer.reads for layer in profile.layers)
    assert found["r"] >= max(layer.norm for layer in profile.layers)
    assert found["R"] >= max(layer.peak for layer in profile.layers)
    assert found["eps"] == max(max(x.gap, x.bias_gap) for x in profile.layers)
