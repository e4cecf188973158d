"""Certified bits: the promise is kept, and costs nothing that the theorem does not say."""

import math
import random

import pandas as pd
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.observation.promises import promised_rank
from tests.book.cells import definitions
from tests.random_networks import ARCHITECTURES, draw_weights

SHAPE = (1, 1, 8, 8)
cells = definitions(
    "bits", "certified_bits", "check", "constants", "fewest_bits", "rank", "shifted", "T12"
)


@pytest.fixture
def small():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)]
    return qn.fold(nn.Sequential(*layers).eval())


def test_every_promise_is_kept(small):
    kept = pd.concat(cells.check(small, SHAPE, tau) for tau in (0.1, 1e-3))
    assert {"P1", "P2", "P3", "T2", "T5", "T8"} <= set(kept["theorem"])
    assert kept["holds"].all()
    assert (kept["log10"] > kept["tolerance"].map(math.log10) - 3).any()  # and not for nothing


@pytest.mark.medium
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_constant_is_valid_for_all_bits(kind):
    for seed in range(8):
        rng = random.Random(f"{kind} {seed}")
        torch.manual_seed(seed)
        network, shape = ARCHITECTURES[kind](rng, rng.random() < 0.5)
        draw_weights(rng, network)
        folded = qn.fold(network.eval())
        found = cells.constants(folded, shape, 4)
        for bits in (4, 7, 40):
            values = cells.all_bounds(folded, cells.rounded(folded, bits), shape)
            promised = found + math.log10(cells.half_step(folded, bits))
            assert (values <= promised[values.index] + 1e-6).all(), (kind, seed, bits)


def test_vector_form_asks_for_no_more_than_the_recursion(small):
    found = cells.certified_bits(small, SHAPE, 1e-6, least=[8]).droplevel("bound")
    bits = found["bits"]
    assert bits["T8"] <= bits["T2"]
    at = 2 ** (bits["T8"] - 1) - 1
    largest = max(m.weight.abs().max().item() for m in cells.weighted(small))
    assert 10 ** found["log10_C"]["T8"] * largest / (2 * at) == pytest.approx(1e-6, rel=1e-5)


@pytest.mark.medium
def test_the_best_of_several_constants():
    """In a deep network the norms that 8 bits may reach cost much; 32 bits hardly move them."""
    torch.manual_seed(0)
    layers = [module for _ in range(30) for module in (nn.Linear(8, 8), nn.ReLU())]
    deep = qn.fold(nn.Sequential(*layers).eval())
    found = {
        least: cells.certified_bits(deep, (1, 8), 1e-9, least=least)
        for least in ((8,), (32,), (8, 32))
    }
    bits = {least: table["bits"] for least, table in found.items()}
    smaller = pd.concat([bits[8,], bits[32,]], axis=1).min(axis=1)
    assert bits[8, 32].to_dict() == smaller.to_dict()
    assert (found[8, 32]["bits"] >= found[8, 32]["least"]).all()
    assert bits[8, 32]["T2"].item() < bits[8,]["T2"].item() - 0.1
    assert cells.check(deep, (1, 8), 1e-9)["holds"].all()


def test_few_bits_as_quantize_does_it(small):
    ours = cells.rounded(small, 6)
    theirs = qn.quantize(small, bits=6, granularity="tensor").model
    for name, value in ours.state_dict().items():
        assert torch.allclose(value, theirs.state_dict()[name], rtol=1e-12, atol=0), name


def test_many_bits_halve_the_change(small):
    weight = small.get_submodule("3").weight
    largest = weight.abs().max().item()
    for bits in (20, cells.MOST_BITS):
        change = (cells.rounded(small, bits).get_submodule("3").weight - weight).abs().max()
        half = largest / (2 * (2 ** (bits - 1) - 1))
        assert 0.5 * half <= change <= half * (1 + 1e-3)


def test_networks_are_left_alone(small):
    before = {name: value.clone() for name, value in small.state_dict().items()}
    cells.rounded(small, 3)
    cells.certified_bits(small, SHAPE, 1.0)
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in before.items())


def test_a_layer_of_zeros_stays(small):
    small.get_submodule("3").weight.data.zero_()
    assert (cells.rounded(small, 8).get_submodule("3").weight == 0).all()


@pytest.mark.parametrize("bits", [1, 41, 8.0, True])
def test_refuses_other_bits(small, bits):
    with pytest.raises(qn.QnotesError, match="from 2 to 40"):
        cells.rounded(small, bits)


def test_refuses_single_precision(small):
    with pytest.raises(qn.QnotesError, match=r"weights are torch.float32"):
        cells.rounded(small.float(), 8)


@pytest.mark.parametrize(("p", "confidence"), [(0.5, 0.6), (0.8, 0.99), (0.99, 0.95), (0.1, 0.85)])
def test_the_rank_is_that_of_the_package(p, confidence):
    for n in (1, 2, 3, 10, 29, 298, 299, 472, 473, 900):
        assert cells.rank(n, p, confidence) == promised_rank(n, p, confidence)


def test_draws_are_shifts_of_the_images():
    images = torch.full((2, 1, 5, 4), -1.0)
    images[0, 0, 2, 1], images[1, 0, 2, 2] = 1.0, 0.5
    drawn = cells.shifted(images, 400, most=2, seed=1)
    assert drawn.shape == (400, 1, 5, 4)
    places = {0.5: set(), 1.0: set()}
    for image in drawn:
        for _, y, x in (image > 0).nonzero().tolist():
            places[image.max().item()].add((y, x))
    # Every row and column within two pixels of where the dot was, as far as the image reaches.
    assert places[1.0] == {(y, x) for y in range(5) for x in range(4)}
    assert places[0.5] == {(y, x) for y in range(5) for x in range(4)}
    assert torch.equal(drawn, cells.shifted(images, 400, most=2, seed=1))
    assert not torch.equal(drawn, cells.shifted(images, 400, most=2, seed=2))
    assert (drawn.flatten(1).max(1).values < 0).any()  # a dot that left the image


def test_the_fewest_bits_are_certified_and_one_less_is_not(small):
    options = {"input_shape": SHAPE, "method": "ellipsoids", "seconds": 0}
    found = cells.fewest_bits(small, SHAPE, 1e-3, seconds=0)
    first = qn.certify(small, cells.rounded(small, 8), **options)
    log10 = {
        bits: qn.certify(
            small, cells.rounded(small, bits), **options, diagonals=first.diagonals
        ).largest
        for bits in (found - 1, found)
    }
    assert log10[found] <= -3 < log10[found - 1]
    assert found < cells.certified_bits(small, SHAPE, 1e-3).loc["T2", "bits"].min()


def test_more_bits_than_are_tried_are_no_certificate(small):
    assert cells.fewest_bits(small, SHAPE, 1e-3, seconds=0, most=9) is None
