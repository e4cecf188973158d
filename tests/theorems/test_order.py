"""Which bounds can never be smaller than which, on made-up profiles."""

import math
import random

import pytest
from torch import nn

import qnotes as qn
from tests.random_networks import bound_values
from tests.random_profiles import random_profile

SLACK = 1e-9

#: smaller, larger
ALWAYS = [
    ("T2", "P2"),
    ("T5 product form", "T5 mean form"),
    ("T5 mean form", "P3"),
    ("T3 product form", "T4 mean form"),
    ("T3 product form", "T5 product form"),
    ("T4 mean form", "T5 mean form"),
]


@pytest.fixture(scope="module")
def evaluated():
    profiles = []
    for seed in range(300):
        rng = random.Random(seed)
        profiles.append(random_profile(rng, depth=rng.randint(1, 30), biases=seed % 2 == 0))
    return [bound_values(profile) for profile in profiles]


@pytest.mark.medium
@pytest.mark.parametrize(("smaller", "larger"), ALWAYS)
def test_order(evaluated, smaller, larger):
    both = [v for v in evaluated if not math.isnan(v[smaller]) and not math.isnan(v[larger])]
    assert len(both) >= 100
    assert all(v[smaller] <= v[larger] + SLACK * max(1, abs(v[larger])) for v in both)


@pytest.mark.medium
def test_the_recursion_is_the_product_form_where_there_are_no_biases(evaluated):
    both = [v for v in evaluated if not math.isnan(v["T3 product form"])]
    assert all(v["T2"] == pytest.approx(v["T3 product form"], rel=1e-11, abs=1e-11) for v in both)


def test_without_biases_means_without_a_number():
    biased = random_profile(random.Random(0), depth=3, biases=True)
    values = bound_values(biased)
    assert math.isnan(values["T3 product form"]) and math.isnan(values["T4 mean form"])


def test_p3_needs_two_coordinates():
    narrow = qn.fold(nn.Sequential(nn.Linear(1, 1)).eval())
    values = bound_values(qn.profile(narrow, narrow, input_shape=(1, 1)))
    assert math.isnan(values["P3"]) and values["P2"] == -math.inf


@pytest.mark.parametrize("key", ["T2", "T3 product form", "T5 mean form", "P1", "P2", "P3"])
def test_a_larger_domain_never_has_a_smaller_bound(key):
    profile = random_profile(random.Random(3), depth=6, biases=key != "T3 product form")
    radii = (0.1, 0.9, 1.0, 1.1, 10.0)
    values = [
        bound_values(qn.Profile(profile.layers, profile.input_width, radius))[key]
        for radius in radii
    ]
    assert values == sorted(values)
