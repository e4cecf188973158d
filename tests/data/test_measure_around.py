"""The stored table about balls: what it says is so at the images that can be tried."""

import hashlib

import pandas as pd
import pytest
import torch
from torch import nn

import qnotes as qn
from data import measure_around
from data.measure_around import (
    FILE,
    HERE,
    LARGEST,
    NETWORKS,
    RADII,
    STORED,
    WEIGHTS,
    WITHIN,
    Balls,
    Enclosed,
    Row,
    Subject,
    enclosed,
    pairs,
    with_margins,
)
from qnotes.files import data_folder
from qnotes.networks.operations import operations
from qnotes.networks.weights import read_manifest
from qnotes.propagation.intervals import Intervals
from qnotes.propagation.pair import checked_pair
from qnotes.propagation.regions import checked_region
from qnotes.propagation.walk import propagate

FOLDER = data_folder()
TABLE = pd.read_csv(FOLDER / FILE, dtype={"sha256": str})
LARGEST_ROWS = TABLE[TABLE["question"] == LARGEST]
SMALL = ("cnn", "cnn-balls")


@pytest.fixture(scope="module")
def subjects():
    return {(name, bits): Subject(name, bits, FOLDER) for name in SMALL for bits in (8, 4)}


def corners(subject: Subject, image: int, radius: float, count: int = 60) -> torch.Tensor:
    ball = subject.ball(image, radius)
    generator = torch.Generator().manual_seed(image)
    share = torch.rand(count, *ball.low.shape[1:], generator=generator, dtype=torch.float64)
    share[count // 2 :] = share[count // 2 :].round()
    return (ball.low + share * (ball.high - ball.low)).clamp(ball.low, ball.high)


# ---------------------------------------------------------------- the table


def test_every_row_says_what_it_is_about():
    assert list(TABLE.columns) == list(Row.__dataclass_fields__)
    key = ["question", "network", "bits", "method", "image", "radius"]
    assert not TABLE.duplicated(key).any()
    assert not LARGEST_ROWS.duplicated(key[:-1]).any()
    files = {name: hashlib.sha256((FOLDER / file).read_bytes()) for name, file in WEIGHTS.items()}
    expected = {name: digest.hexdigest() for name, digest in files.items()}
    expected[STORED] = read_manifest(FOLDER / "manifest.json")[STORED]["sha256"]
    assert (TABLE["sha256"] == TABLE["network"].map(expected).str[:12]).all()
    assert set(TABLE["network"]) == set(NETWORKS)
    assert set(LARGEST_ROWS["radius"].dropna()) <= set(RADII)
    assert (LARGEST_ROWS["radius"].notna() == LARGEST_ROWS["survives"]).all()


def test_no_error_that_was_found_exceeds_a_bound():
    found = TABLE[TABLE["question"] == HERE].dropna(subset=["observed"])
    assert len(found) and (found["observed"] > 0).all()
    assert (found["observed"] <= found["bound"] * (1 + 1e-5)).all()  # six digits are stored


def test_symbols_help():
    reach = LARGEST_ROWS[LARGEST_ROWS["bits"] == 8].set_index(["network", "image", "method"])
    reach = reach["radius"].fillna(0).unstack("method").dropna()
    assert len(reach) and (reach["affine"] >= reach["intervals"]).all()
    assert reach["affine"].median() > reach["intervals"].median()


def test_training_for_balls_makes_them_larger():
    mine = LARGEST_ROWS[(LARGEST_ROWS["bits"] == 8) & (LARGEST_ROWS["method"] == "intervals")]
    mine = mine.assign(radius=mine["radius"].fillna(0).where(mine["right"], 0))
    median = mine.groupby("network")["radius"].median()
    assert median["cnn-balls"] > 2 * median["cnn"] > 0
    assert median["resnet20-balls"] > 1 / 255 > median["resnet20"] == 0


@pytest.mark.parametrize("name", SMALL)
def test_stored_radii_are_the_largest_of_those_tried(name, subjects):
    for bits in (8, 4):
        rows = LARGEST_ROWS[
            (LARGEST_ROWS[["network", "bits", "method"]] == [name, bits, "intervals"]).all(axis=1)
        ].head(6)
        assert len(rows) == 6 and rows["survives"].all()
        images, radii = rows["image"].tolist(), rows["radius"].tolist()
        larger = [RADII[RADII.index(radius) + 1] for radius in radii]
        subject = subjects[name, bits]
        assert all(subject.survives(images, radii, "intervals"))
        assert not any(subject.survives(images, larger, "intervals"))


@pytest.mark.parametrize("name", SMALL)
def test_the_class_survives_at_all_images_that_are_tried(name, subjects):
    rows = LARGEST_ROWS[(LARGEST_ROWS["network"] == name) & LARGEST_ROWS["survives"]]
    for row in rows[rows["bits"].isin([8, 4]) & (rows["image"] < 3)].itertuples():
        subject = subjects[name, row.bits]
        inputs = corners(subject, row.image, row.radius)
        for network in (subject.original, subject.rounded):
            found = network(inputs).argmax(1)
            assert (found == subject.classes[row.image]).all(), row


def test_bounds_of_T15_are_those_of_today(subjects):
    """On the deep network one takes a minute and more."""
    rows = TABLE[(TABLE[["question", "network", "method"]] == [HERE, "cnn", "affine"]).all(axis=1)]
    assert len(rows) > 5 and set(rows["image"]) == {0}
    for row in rows[::4].itertuples():
        fresh = subjects["cnn", 8].affine(0, row.radius)[0].bound.item()
        assert fresh == pytest.approx(row.bound, rel=2e-5), row.radius  # six digits are stored


# ---------------------------------------------------------------- what the script defines


def linear_pair(gap: float):
    """S = x, ten scores from ten inputs; the rounded one moves the first down by `gap`."""
    ours, theirs = (nn.Sequential(nn.Linear(10, 10)).double().eval() for _ in range(2))
    with torch.no_grad():
        for network, moved in ((ours, 0.0), (theirs, gap)):
            network[0].weight.copy_(torch.eye(10))
            network[0].bias.copy_(-moved * torch.eye(10, dtype=torch.float64)[0])
    return qn.fold(ours), qn.fold(theirs)


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_survival_of_a_linear_network_is_exact(gap):
    """Class 0 is ahead by 0.5: two pixels that move by r leave 0.5 - 2 r - gap."""
    ours, theirs = linear_pair(gap)
    image = torch.zeros(1, 10, dtype=torch.float64)
    image[0, 0] = 0.5
    both = (with_margins(network) for network in (ours, theirs))
    pair = checked_pair(*both, input_shape=(1, 10), radius=1.0)
    edge = (0.5 - gap) / 2
    for radius, expected in ((edge - 1e-9, True), (edge + 1e-9, False)):
        region = checked_region(None, radius, image, WITHIN)
        found = enclosed(pair, Intervals(pair, region))
        assert found.survives(torch.tensor([0])).item() is expected
        assert found.bound.item() == pytest.approx(gap, abs=1e-12)


def test_another_class_than_that_of_the_image_does_not_survive():
    ours, theirs = linear_pair(0.0)
    both = (with_margins(network) for network in (ours, theirs))
    pair = checked_pair(*both, input_shape=(1, 10), radius=1.0)
    image = torch.eye(10, dtype=torch.float64)[:1] / 2
    found = enclosed(pair, Intervals(pair, checked_region(None, 0.01, image, WITHIN)))
    assert [found.survives(torch.tensor([i])).item() for i in range(10)] == [True] + [False] * 9


def test_what_rounding_took_from_the_weights_counts(subjects):
    subject = subjects["cnn", 8]
    found = subject.intervals([0], [0.0])
    assert found.slack[:, 10:].min() > 0 and found.slack.max() < 1e-12
    least = torch.stack([values.low[:, 10:] for values in found.signed[:2]]).amax()
    doubtful = Enclosed(found.signed, found.slack + least)
    assert found.survives(subject.classes[[0]]) and not doubtful.survives(subject.classes[[0]])


def test_margins_are_differences_of_scores(subjects):
    subject = subjects["cnn-balls", 4]
    outputs = with_margins(subject.rounded)(subject.images[:5]).detach()
    scores = subject.rounded(subject.images[:5]).detach()
    ours, others = pairs()
    assert all(i != j for i, j in zip(ours.tolist(), others.tolist(), strict=True))
    # Not bit for bit: a wider product of matrices may add in another order.
    assert torch.allclose(outputs[:, :10], scores, rtol=0, atol=1e-12)
    assert torch.allclose(outputs[:, 10:], scores[:, ours] - scores[:, others], atol=1e-12)


def test_training_sees_all_that_can_be_in_a_ball(subjects):
    network = subjects["cnn", 8].original
    images, radius = qn.digits("test")[0][:3].double(), 0.05
    center, reach = propagate(operations(network), Balls(images, radius))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = radius * torch.rand(images.shape, generator=generator).sub(0.5).sign()
        away = (network((images + noise).clamp(*WITHIN)) - center).abs()
        assert (away <= reach + 1e-9).all()
        assert (away > 0.02 * reach).any()


@pytest.mark.medium
def test_what_is_there_is_not_computed_again(tmp_path, monkeypatch):
    (tmp_path / WEIGHTS["cnn"]).write_bytes((FOLDER / WEIGHTS["cnn"]).read_bytes())
    monkeypatch.setattr(measure_around, "IMAGES", 2)
    monkeypatch.setattr(measure_around, "IMAGES_OF_T15", 1)
    monkeypatch.setattr(measure_around, "CURVE_OF_T15", [])
    monkeypatch.setattr(Subject, "affine", lambda self, image, radius: (none(self, image), 1))
    call = ["cnn", "--data", str(tmp_path)]
    measure_around.main(call)
    written = (tmp_path / FILE).read_text()
    expected = TABLE[(TABLE["network"] == "cnn") & (TABLE["method"] == "intervals")]
    found = pd.read_csv(tmp_path / FILE)
    key = ["question", "bits", "image", "radius"]
    both = found[found["method"] == "intervals"].merge(expected, on=key, suffixes=("", " stored"))
    assert len(both) == 6  # two images at three numbers of bits
    assert (both["survives"] == both["survives stored"]).all()
    monkeypatch.setattr(measure_around, "largest_radii", None)
    measure_around.main(call)
    assert (tmp_path / FILE).read_text() == written


def none(subject: Subject, image: int) -> Enclosed:
    return subject.intervals([image], [2.0])
