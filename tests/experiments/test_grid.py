"""The grid: every combination once, in order, and what cannot be one is refused by name."""

import numpy as np
import pytest
import torch

from qnotes.errors import QnotesError
from qnotes.networks import provenance
from qnotes.sweeps.grid import cells, named_schemes, scheme_options, several

SETTINGS = {"relu6": "refuse", "inputs": 4, "accuracy": False, "precision": "float32"}


def grid(
    networks="resnet20", weights="digits", schemes=None, bits=8, method=None, radius=1.0, seed=0
):
    return cells(networks, weights, schemes or {}, bits, method, radius, seed, **SETTINGS)


def test_every_combination_once_the_first_axis_slowest():
    found = grid(
        ["resnet20", "resnet32"],
        ["digits", "random"],
        [{}, {"symmetric": False}],
        [4, 8],
        [None, "cle"],
        [0.5, 1.0],
        [0, 1],
    )
    axes = [
        (c.network, c.weights, c.scheme, c.bits, c.equalization, c.radius, c.seed) for c in found
    ]
    assert len(set(axes)) == len(axes) == 2**7
    assert axes[0] == ("resnet20", "digits", "default", 4, None, 0.5, 0)
    assert axes[1] == ("resnet20", "digits", "default", 4, None, 0.5, 1)
    assert axes[-1] == ("resnet32", "random", "symmetric=False", 8, "cle", 1.0, 1)
    assert [axis[0] for axis in axes] == ["resnet20"] * 64 + ["resnet32"] * 64


def test_a_cell_knows_its_weights():
    digits, random = grid(weights=["digits", "random"], seed=3)
    assert digits.sha256 == provenance("resnet20")["sha256"] and digits.weight_seed == 0
    assert random.sha256 is None and random.weight_seed == 3


def test_cells_share_a_reference_whatever_quantizes_them():
    first, wider, other = *grid(bits=[4, 8]), *grid(seed=1)
    assert first != wider and first.unquantized == wider.unquantized
    assert first.unquantized != other.unquantized
    assert len({cell.unquantized for cell in grid(schemes=[{}, {"symmetric": False}])}) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (8, [8]),
        ("digits", ["digits"]),
        (None, [None]),
        (range(2, 4), [2, 3]),
        ((None, "cle"), [None, "cle"]),
    ],
)
def test_one_value_or_several(given, expected):
    assert several("axis", given) == expected


def test_numbers_of_numpy_become_pythons():
    found = several("bits", np.array([4, 8]))
    assert found == [4, 8] and {type(value) for value in found} == {int}


@pytest.mark.parametrize(
    ("given", "message"), [([], "bits is empty"), ([4, 8, 4], "bits has 4 twice")]
)
def test_axes_that_are_refused(given, message):
    with pytest.raises(QnotesError, match=message):
        grid(bits=given)


def test_networks_are_names():
    with pytest.raises(QnotesError, match=r"networks must be names .* Linear"):
        grid(networks=[torch.nn.Linear(1, 1)])


def test_schemes_by_name():
    one, other = {"granularity": "tensor"}, {"symmetric": False, "clip": "minmax"}
    assert named_schemes({}) == {"default": {}}
    assert named_schemes(one) == {"granularity=tensor": one}
    assert named_schemes([one, other]) == {
        "granularity=tensor": one,
        "symmetric=False, clip=minmax": other,
    }
    assert named_schemes({"coarse": one, "affine": other}) == {"coarse": one, "affine": other}


@pytest.mark.parametrize(
    ("schemes", "message"),
    [
        ([], "schemes is empty"),
        ([{}, {}], "one scheme twice"),
        (["tensor"], "a scheme is a mapping .* got 'tensor'"),
        ("tensor", "a scheme is a mapping .* got 't'"),
        ({"granularty": "tensor"}, "no option 'granularty'; it has granularity"),
        ({"mine": {"bits": 3}}, "scheme 'mine': bits is an axis"),
        ({"seed": 1}, "seed is an axis"),
        ({"progress": True}, "no option 'progress'"),
        ({"clip": torch.ones(2)}, "clip must be text, a number.*got a Tensor"),
    ],
)
def test_schemes_that_are_refused(schemes, message):
    with pytest.raises(QnotesError, match=message):
        named_schemes(schemes)


def test_a_scheme_may_set_all_but_the_axes():
    options = scheme_options()
    assert options["granularity"] == "channel" and options["symmetric"] is True
    assert not {"network", "bits", "seed"} & set(options)


def test_weights_that_are_not_there_have_no_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("QNOTES_DATA", str(tmp_path))
    assert [cell.sha256 for cell in grid()] == [None]
