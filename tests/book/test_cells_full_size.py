"""What the chapter on networks of full size defines: surveys, accuracy on a folder of images."""

import hashlib
import io
import math

import pytest
import torch
from PIL import Image
from torch import nn

import qnotes as qn
from qnotes.errors import QnotesError, WeightsUnavailable
from qnotes.networks._torchvision import torchvision
from tests.book.cells import definitions

cells = definitions(
    "full-size",
    *("STRUCTURE", "accuracies", "answers", "facts", "image_radius", "published"),
    *("rooted", "survey", "with_scale"),
)
accuracies, facts, image_radius, survey = (
    cells.accuracies,
    cells.facts,
    cells.image_radius,
    cells.survey,
)

NAME = "mobilenet_v2"


def test_a_survey_has_the_numbers_of_the_public_functions():
    profiles, bounds, costs = survey(["resnet20"], bits=[4, 8], weights="digits", radius=2.0)
    folded = qn.fold(qn.load("resnet20"))
    rounded = qn.quantize(folded, bits=4).model
    profile = qn.profile(folded, rounded, input_shape=(1, 1, 32, 32), radius=2.0)
    assert profiles["resnet20", 4] == profile
    at = bounds[bounds["bits"] == 4]
    expected = qn.bounds(profile)
    assert at["log10"].tolist() == pytest.approx(expected["log10"].tolist(), nan_ok=True)
    (cost,) = costs.to_dict("records")
    parameters = sum(p.numel() for p in folded.parameters())
    assert cost["parameters"] == parameters
    assert cost["megabytes"] == pytest.approx(2 * 8 * parameters / 1e6)
    assert all(cost[step] > 0 for step in ("load", "fold", "quantize", "profile", "one pass"))
    assert "a scale per channel" in qn.describe(bounds)


def test_structure_is_what_other_weights_leave_alone():
    networks = [qn.fold(qn.load("resnet20", weights="random", seed=seed)) for seed in (0, 1)]
    networks.append(qn.fold(qn.load("resnet20")))
    columns = [
        facts(qn.profile(net, qn.quantize(net, bits=8).model, input_shape=(1, 1, 32, 32)))
        for net in networks
    ]
    for name in columns[0]:
        assert (len({column[name] for column in columns}) == 1) == (name in cells.STRUCTURE)


def test_facts_are_those_of_the_gain():
    profile = qn.stored_profile("resnet20", bits=8)
    found, factors = facts(profile), qn.gain_factors(profile)
    assert math.log10(found["width W"] / found["mean fan-in"]) == pytest.approx(factors["width"])
    ratio = found["largest norm (P2)"] / found["mean norm (T5)"]
    assert (profile.depth - 1) * math.log10(ratio) == pytest.approx(factors["norms"])


def test_image_radius_is_that_of_the_real_network_from_the_package():
    found = qn.preprocessing("mobilenet_v2_features", "imagenet").radius
    assert found == pytest.approx(image_radius(NAME), rel=1e-6)


def test_image_radius_is_reached_by_a_white_or_a_black_image():
    steps = cells.published(NAME).transforms()
    found = [steps(Image.new("RGB", (300, 260), colour)).abs().max() for colour in ("white", 0)]
    assert max(found).item() == pytest.approx(image_radius(NAME), rel=1e-6)


def test_published_facts_need_no_download():
    found = cells.published("resnet18").meta
    assert found["num_params"] == sum(
        p.numel() for p in qn.load("resnet18", weights="random").parameters()
    )
    accuracy = found["_metrics"]["ImageNet-1K"]["acc@1"] / 100
    assert 0.5 < accuracy < 1 and found["_file_size"] > 10


@pytest.mark.medium
def test_pretrained_weights_from_a_local_hub_folder(tmp_path, monkeypatch):
    stream = io.BytesIO()
    torch.save(qn.load(NAME, weights="random", seed=11).state_dict(), stream)
    file = f"{NAME}-{hashlib.sha256(stream.getvalue()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / file).write_bytes(stream.getvalue())
    entry = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
    monkeypatch.setattr(entry.value, "url", f"https://download.example/{file}")
    found = survey([NAME], bits=[8], weights="imagenet")
    same = survey([NAME], bits=[8], weights="random", seed=11)
    assert found[0] == same[0]
    assert set(found[1]["weights"]) == {"imagenet"}


def test_pretrained_weights_that_cannot_be_had(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(WeightsUnavailable, match="put the file there"):
        survey([NAME], bits=[8], weights="imagenet")


# -- errors with their scale -----------------------------------------------------------------------


def test_errors_margins_and_classes_by_hand():
    ours = torch.tensor([[5.0, 1.0, 0.0], [0.0, 3.0, 2.0], [1.0, 0.0, 8.0]])
    theirs = torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 2.5], [1.0, 3.5, 8.0]])
    found = cells.with_scale(ours, theirs)
    assert found["largest error"] == 3.5 and found["largest output"] == 8
    assert found["median margin"] == 4  # of 4, 1 and 7
    assert found["margin > 2 × error"] == pytest.approx(1 / 3)  # 7 is not more than 7
    assert found["same class"] == pytest.approx(2 / 3)


def test_a_margin_of_twice_the_error_keeps_the_class():
    draw = torch.Generator().manual_seed(0)
    ours = torch.randn(500, 10, generator=draw)
    theirs = ours + 0.4 * torch.randn(500, 10, generator=draw)
    each = [cells.with_scale(*pair) for pair in zip(ours.split(1), theirs.split(1), strict=True)]
    safe = [one["same class"] for one in each if one["margin > 2 × error"]]
    assert len(safe) > 10 and min(safe) == 1
    assert min(one["same class"] for one in each) == 0


@pytest.mark.medium
def test_norms_of_trained_networks_follow_the_fan_in_less_than_those_of_random_ones():
    for name in ("mobilenet_v2_features", "efficientnet_lite0"):
        found = {}
        for weights in ("imagenet", "random"):
            network = qn.fold(qn.load(name, weights=weights))
            found[weights] = qn.profile(network, network, input_shape=(1, 3, 224, 224))
        follow = {weights: cells.rooted(profile) for weights, profile in found.items()}
        assert follow["imagenet"] < 0.6 < 0.75 < follow["random"]
        largest = {weights: facts(p)["largest norm (P2)"] for weights, p in found.items()}
        assert largest["imagenet"] > 5 * largest["random"]


@pytest.mark.medium
def test_the_gain_of_trained_networks_is_larger_and_comes_from_norms():
    for name in ("mobilenet_v2_features", "efficientnet_lite0"):
        gains = {}
        for weights in ("imagenet", "random"):
            network = qn.fold(qn.load(name, weights=weights))
            rounded = qn.quantize(network, bits=8).model
            profile = qn.profile(network, rounded, input_shape=(1, 3, 224, 224))
            gains[weights] = qn.gain_factors(profile)
        trained, random = gains["imagenet"], gains["random"]
        assert trained["norms"] > random["norms"] + 10
        assert trained["norms"] > 5 * (trained["depth"] + trained["width"])


# -- images ----------------------------------------------------------------------------------------

COLOURS = {"7": (255, 0, 0), "30": (0, 255, 0), "999": (0, 0, 255)}


def fill(folder, names, each=2):
    for name, colour in zip(names, COLOURS.values(), strict=False):
        (folder / name).mkdir(exist_ok=True)
        for number in range(each):
            Image.new("RGB", (40 + number, 30), colour).save(folder / name / f"{number}.png")
    return folder


class Colour(nn.Module):
    """Names the class of a uniform image by its strongest colour channel."""

    def __init__(self, classes):
        super().__init__()
        self.classes, self.scale = classes, nn.Parameter(torch.ones(()))

    def forward(self, x):
        scores = torch.zeros(len(x), 1000)
        scores[:, self.classes] = x.mean(dim=(2, 3)) * self.scale
        return scores


def shares(folder, classes, **options):
    networks = {"right": Colour(classes).eval(), "shifted": Colour([*classes[1:], 500]).eval()}
    return accuracies(
        networks, folder, transform=cells.published("resnet18").transforms(), **options
    )


def test_folders_named_by_class_numbers(tmp_path):
    found = shares(fill(tmp_path, COLOURS), [7, 30, 999])
    assert found.to_dict() == {"images": 6, "right": 1.0, "shifted": 0.0}


def test_all_folders_of_imagenet_some_of_them_empty(tmp_path):
    names = [f"n{10_000_000 + number}" for number in range(1000)]
    for name in names:
        (tmp_path / name).mkdir()
    fill(tmp_path, [names[3], names[500], names[501]])
    assert shares(tmp_path, [3, 500, 501])["right"] == 1


def test_some_images_drawn_at_random(tmp_path):
    fill(tmp_path, COLOURS, each=8)
    first, again = (shares(tmp_path, [7, 30, 2], most=5, seed=4) for _ in range(2))
    assert first["images"] == 5 and first.equals(again)
    assert any(shares(tmp_path, [7, 30, 2], most=5, seed=seed)["right"] < 1 for seed in range(5))


@pytest.mark.medium
def test_a_real_classifier_on_images(tmp_path):
    network = qn.fold(qn.load("resnet18", weights="random")).float()
    found = accuracies(
        {"float": network, "4 bits": qn.quantize(network, bits=4).model},
        fill(tmp_path, COLOURS, each=1),
        transform=cells.published("resnet18").transforms(),
    )
    assert found["images"] == 3 and set(found.index) == {"images", "float", "4 bits"}
    assert all(0 <= found[name] <= 1 for name in ("float", "4 bits"))


@pytest.mark.parametrize("names", [["cat", "dog"], ["n01440764", "n01443537"], ["1", "n01440764"]])
def test_classes_that_are_not_clear(tmp_path, names):
    fill(tmp_path, names)
    with pytest.raises(QnotesError, match="cannot tell which classes 2 folders"):
        shares(tmp_path, [0, 1, 2])


def test_folders_without_images(tmp_path):
    with pytest.raises(QnotesError, match="no class folders"):
        shares(tmp_path, [0, 1, 2])
    (tmp_path / "7").mkdir()
    with pytest.raises(QnotesError, match="no images"):
        shares(tmp_path, [0, 1, 2])
    with pytest.raises(QnotesError, match="no class folders"):
        shares(tmp_path / "nowhere", [0, 1, 2])
