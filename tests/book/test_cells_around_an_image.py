"""T10 by hand, and the classes that survive, against images that can be tried."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.files import data_folder
from tests.book.cells import definitions

cells = definitions(
    "around-an-image",
    "cnn",
    "trained",
    "ball",
    "around",
    "with_margins",
    "survives",
    "shares",
    "images",
)
RADII, SEEDS = (0.0, 0.003, 0.03, 0.3), 6


@functools.cache
def drawn(seed):
    """A small CNN with random weights, rounded to few bits, and an image."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(27, 10)]
    network = qn.fold(nn.Sequential(*layers).eval())
    rounded = qn.quantize(network, bits=2 + seed % 4).model
    return network, rounded, torch.rand(1, 1, 6, 6, dtype=torch.float64) * 2 - 1


def corners(image, radius, count=300):
    low, high = cells.ball(image, radius)
    share = torch.rand(count, *image.shape[1:], dtype=torch.float64)
    share[count // 2 :] = share[count // 2 :].round()
    return torch.cat([low + share * (high - low), image])


def outside(ends, values):
    """How far values stand out of their interval."""
    return torch.maximum(ends[0] - values, values - ends[1]).max().item()


@pytest.mark.parametrize("radius", RADII)
def test_by_hand_everything_is_enclosed(radius):
    for seed in range(SEEDS):
        network, rounded, image = drawn(seed)
        found = cells.around(network, rounded, *cells.ball(image, radius))
        inputs = corners(image, radius)
        with torch.no_grad():
            ours, theirs = network(inputs), rounded(inputs)
        for ends, values in zip(found, (ours, theirs, ours - theirs), strict=True):
            assert outside(ends, values) < 1e-12


def test_an_interval_that_is_too_small_is_noticed():
    """So the test above can fail: errors reach more than a tenth of the way to their ends."""
    for seed in range(SEEDS):
        network, rounded, image = drawn(seed)
        _, _, error = cells.around(network, rounded, *cells.ball(image, 0.03))
        inputs = corners(image, 0.03)
        with torch.no_grad():
            values = network(inputs) - rounded(inputs)
        middle, half = (error[0] + error[1]) / 2, (error[1] - error[0]) / 20
        assert outside((middle - half, middle + half), values) > 0


@pytest.mark.parametrize("radius", RADII)
def test_by_hand_and_certify_say_nearly_the_same(radius):
    for seed in range(3):
        network, rounded, image = drawn(seed)
        _, _, error = cells.around(network, rounded, *cells.ball(image, radius))
        by_hand = torch.maximum(-error[0], error[1])[0].numpy()
        options = {"center": image, "radius": radius, "within": (-1, 1), "method": "intervals"}
        bound = qn.certify(network, rounded, **options).bound[0]
        assert (bound <= by_hand * (1 + 1e-9) + 1e-12).all()
        assert (by_hand <= 1.5 * bound + 1e-12).all()


def test_balls_hold_images_only():
    image = torch.tensor([[-1.0, 0.0, 0.95]])
    low, high = cells.ball(image, 0.1)
    assert low.tolist() == [[-1.0, pytest.approx(-0.1), pytest.approx(0.85)]]
    assert high.tolist() == [[pytest.approx(-0.9), pytest.approx(0.1), 1.0]]


def test_a_class_that_survives_does_so_at_all_images_that_are_tried():
    survived = 0
    for seed in range(SEEDS):
        network, rounded, image = drawn(seed)
        i = network(image).argmax().item()
        for radius in RADII:
            if not cells.survives(network, rounded, image, radius):
                break
            survived += 1
            inputs = corners(image, radius)
            assert all((each(inputs).argmax(1) == i).all() for each in (network, rounded))
    assert survived > 4


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_survival_of_a_linear_network_is_exact(gap):
    """Class 0 is ahead by 0.5; its pixel and another one move by r, rounding takes `gap`."""
    both = []
    for moved in (0.0, gap):
        layer = nn.Linear(10, 10).double()
        with torch.no_grad():
            layer.weight.copy_(torch.eye(10))
            layer.bias.copy_(-moved * torch.eye(10)[0])
        both.append(qn.fold(nn.Sequential(layer).eval()))
    image = torch.zeros(1, 10, dtype=torch.float64)
    image[0, 0] = 0.5
    edge = (0.5 - gap) / 2
    assert cells.survives(*both, image, edge - 1e-9)
    assert not cells.survives(*both, image, edge + 1e-9)


def test_shares_count_what_is_right_and_survives():
    found = pd.DataFrame(
        {
            "radius": [0.1, 0.2, np.nan, 0.3],
            "right": [True, True, True, False],
            "survives": [True, True, False, True],
        }
    )
    assert cells.shares(found, [0.05, 0.1, 0.15, 0.25]) == [0.5, 0.5, 0.25, 0]


def test_the_stored_table_agrees_with_the_cells():
    table = pd.read_csv(data_folder() / "around_an_image.csv")
    table = table[(table["question"] == "largest radius") & (table["method"] == "intervals")]
    for name in ("cnn", "cnn-balls"):
        network = cells.trained(name)
        rounded = qn.quantize(network, bits=8).model
        rows = table[(table["network"] == name) & (table["bits"] == 8) & (table["image"] == 0)]
        assert len(rows) == 1
        for row in rows.itertuples():
            image = cells.images[row.image][None]
            assert cells.survives(network, rounded, image, 0.7 * row.radius)
            assert not cells.survives(network, rounded, image, 1.2 * row.radius)
