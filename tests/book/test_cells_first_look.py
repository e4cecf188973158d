"""What the first look claims of errors beside the size of outputs, of classes, of decades a bit."""

import copy

import pandas as pd
import pytest
import torch
from torch import nn

import qnotes as qn
from tests.book.cells import definitions

CHAPTER = "first-look"
cells = definitions(CHAPTER, "compare", "light", "slopes", "nearest", setup={"bits": [2, 4, 7, 9]})


class Given(nn.Module):
    """Answers with the rows that it was given, whatever it is asked."""

    def __init__(self, answers):
        super().__init__()
        self.answers = nn.Parameter(torch.tensor(answers))

    def forward(self, images):
        return self.answers[: len(images)]


def test_an_error_beside_its_scale_by_hand():
    ours = [[3.0, 0.0, -4.0], [0.0, 1.0, 0.0], [2.0, 1.5, 0.0]]
    theirs = [[3.0, 0.5, -4.0], [0.0, 1.0, 0.0], [1.5, 2.0, 0.0]]
    found = cells.compare(Given(ours).eval(), Given(theirs).eval(), torch.zeros(3, 1))
    found = {column: value.item() for column, value in found.items()}
    assert found["outputs reach"] == 4  # the largest absolute one
    assert (found["error, median"], found["error, largest"]) == (0.5, 0.5)
    assert found["relative change"] == pytest.approx(0.1)  # of 0.1, 0 and 0.28
    assert found["class kept"] == pytest.approx(2 / 3)  # the third wins another
    assert found["margin"] == 1  # of 3, 1 and 0.5
    assert found["margin above 2E"] == pytest.approx(1 / 3)  # 1 is not above twice 0.5


def test_a_copy_in_float32_leaves_the_network_alone():
    network = nn.Conv2d(1, 1, 1).double()
    before = copy.deepcopy(network.state_dict())
    assert cells.light(network).weight.dtype == torch.float32
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.weight.dtype == torch.float64


@pytest.mark.medium
def test_the_table_says_what_the_sweep_behind_the_figure_says():
    """Both measure the same parts of photographs, so the page shows one number and not two."""
    name, count, seed = "mobilenet_v2_features", 2, 3
    how = {"weights": "imagenet", "bits": 8, "seed": seed, "inputs": count}
    table = qn.sweep(name, **how, jobs=1, progress=False)
    swept = table.set_index("bound")["log10"]["photographs"]
    folded = qn.fold(qn.load(name, weights="imagenet"))
    preprocessing = qn.preprocessing(name, "imagenet")
    images = qn.photographs("test", preprocessing=preprocessing, count=count, seed=seed)
    found = cells.compare(folded, qn.quantize(folded, bits=8).model, images)
    assert found["error, largest"].item() == pytest.approx(10**swept, rel=1e-3)


@pytest.mark.parametrize(("asked", "given"), [(8, 7), (4, 4), (1, 2), (16, 9)])
def test_nearest_width(asked, given):
    assert cells.nearest(asked) == given


def rows(theorem, bound, heights):
    columns = {"network": "one", "theorem": theorem, "bound": bound}
    return [{**columns, "bits": width, "log10": height} for width, height in heights.items()]


def test_decades_a_bit_by_hand():
    table = pd.DataFrame(
        rows("T5", "mean form", {4: 50.0, 8: 10.0, 12: 8.0})
        + rows("measured", "photographs", {4: 9.0, 8: 1.0, 12: -3.0})
        + rows("measured", "random inputs", {4: 9.0, 8: 0.0, 12: -2.0})
    )
    # What 4 bits have does not count; of the two measured errors the larger one does.
    assert cells.slopes(table) == [(10 - 8) / 4, (1 - -2) / 4]


def test_a_single_width_has_no_slope():
    table = pd.DataFrame(rows("T5", "mean form", {5: 3.0}) + rows("measured", "digits", {5: 0.0}))
    assert definitions(CHAPTER, "slopes", setup={"bits": [5]}).slopes(table) == [0, 0]


@pytest.fixture(scope="module")
def lite():
    return qn.fold(qn.load("efficientnet_lite0", weights="imagenet"))


@pytest.mark.medium
def test_the_palace_is_lost_with_few_bits_and_kept_with_eight(lite):
    found = definitions(CHAPTER, "classes", "photograph")
    looks = [lite, *(qn.quantize(lite, bits=width).model for width in (8, 4))]
    winners = [qn.outputs(cells.light(n), found.photograph).argmax().item() for n in looks]
    names = [found.classes[winner] for winner in winners]
    assert names[:2] == ["palace", "palace"]
    assert names[2] != "palace"


@pytest.mark.medium
@pytest.mark.parametrize("name", ["mobilenet_v2_features", "efficientnet_lite0"])
def test_T2_is_the_smallest_bound_of_the_real_networks(name):
    folded = qn.fold(qn.load(name, weights="imagenet"))
    radius = qn.preprocessing(name, "imagenet").radius
    rounded = qn.quantize(folded, bits=8).model
    profile = qn.profile(folded, rounded, input_shape=(1, 3, 224, 224), radius=radius)
    log10 = qn.bounds(profile).set_index("theorem")["log10"]
    assert log10["T2"] == log10.min() > 50  # far above the 6 that ReLU6 allows


def test_features_lie_between_0_and_6():
    network = qn.load("mobilenet_v2_features", weights="imagenet")
    preprocessing = qn.preprocessing("mobilenet_v2_features", "imagenet")
    images = qn.random_inputs((1, 3, 224, 224), count=2, radius=preprocessing.radius)
    found = qn.outputs(network, 1e4 * images)  # beyond the box, where activations end at 6
    assert found.min() >= 0
    assert found.max() <= 6
