"""The grid: every combination once, in order, and what cannot be one is refused by name."""

import numpy as np
import pytest
import torch

from qnotes.errors import QnotesError
from qnotes.experiments import cells, named_schemes, scheme_options, several
from qnotes.networks import provenance

SETTINGS = {"relu6": "refuse", "inputs": 4, "accuracy": False, "precision": "float32"}


def grid(
    networks="resnet20",
    weights="digits",
    schemes=None,
    bits=8,
    method=None,
    radius=1.0,
    seed=0,
    input_shape=None,
):
    axes = (networks, weights, schemes or {}, bits, method, radius, seed)
    return cells(*axes, input_shape=input_shape, **SETTINGS)


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
    assert digits.sha256 == provenance("resnet20")["sha256"]
    assert random.sha256 is None


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


@pytest.mark.parametrize(
    ("networks", "shape", "message"),
    [
        ([3], None, "networks must be names .* got 3"),
        ({"mine": "resnet20"}, None, "networks must be names .* got 'resnet20'"),
        ({}, None, "networks is empty"),
        (torch.nn.Linear(1, 1), None, "Linear: an own network needs input_shape"),
        ([torch.nn.Linear(1, 1), torch.nn.Linear(2, 1)], (1, 1), "networks has 'Linear' twice"),
        ("resnet20", (1, 1, 32, 32), "input_shape is for own networks; resnet20 know"),
    ],
)
def test_networks_that_are_refused(networks, shape, message):
    with pytest.raises(QnotesError, match=message):
        grid(networks=networks, input_shape=shape)


def test_own_networks_beside_named_ones():
    mine, other = (torch.nn.Sequential(torch.nn.Linear(2, 2)).eval() for _ in range(2))
    found = grid([mine, "resnet20"], weights=["digits", "random"], bits=[4, 8], input_shape=(1, 2))
    names = [(cell.network, cell.weights, cell.input_shape) for cell in found[::2]]
    assert names == [
        ("Sequential", "own", (1, 2)),
        ("resnet20", "digits", None),
        ("resnet20", "random", None),
    ]
    named = grid({"a": mine, "b": other}, input_shape=(1, 2))
    assert [cell.network for cell in named] == ["a", "b"]
    assert named[0].sha256 == found[0].sha256 != named[1].sha256


def test_the_hash_of_an_own_network_is_of_graph_and_weights():
    def body(*layers):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(2, 2), *layers).eval()

    cap, none = torch.nn.ReLU6(), torch.nn.ReLU()
    hashes = [
        grid(network, input_shape=(1, 2))[0].sha256
        for network in (body(), body(), body(none), body(cap), body(none).double())
    ]
    assert hashes[0] == hashes[1] and hashes[2] == hashes[4]
    assert len(set(hashes)) == 3 and all(len(found) == 64 for found in hashes)


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
