"""The stored profiles are what a fresh measurement gives, and need no torch to be read."""

import math
import subprocess
import sys
from dataclasses import astuple
from itertools import combinations, product

import pytest
import torch

import qnotes as qn
from data import measure, open_nsfw
from data.train import EPOCHS, EPOCHS_OF_DEEP, REQUIRED_ACCURACY
from qnotes.networks.weights import read_manifest
from qnotes.propagation.profiles import STORED_BITS, STORED_SEEDS, profiles_folder, stored_name

#: Those that the chapter "ResNets" shows three trainings of.
THRICE = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
ALL = [
    (name, seed)
    for name in qn.names()
    for seed in STORED_SEEDS
    if (profiles_folder() / stored_name(name, STORED_BITS[0], seed)).is_file()
]


@pytest.fixture
def few_digits(monkeypatch):
    """Errors are measured on eight images."""
    images, labels = qn.digits("test")
    monkeypatch.setattr(measure, "digits", lambda split: (images[:8], labels[:8]))


@pytest.mark.medium
@pytest.mark.parametrize("name", qn.names())
def test_stored_profiles_are_fresh(name, few_digits):
    for bits, fresh in zip(STORED_BITS, measure.measure(name), strict=True):
        compare(qn.stored_profile(name, bits=bits), fresh, bits)


def compare(stored, fresh, bits):
    assert len(stored.layers) == len(fresh.layers)
    for ours, theirs in zip(stored.layers, fresh.layers, strict=True):
        pairs = list(zip(astuple(ours), astuple(theirs), strict=True))
        assert [a for a, _ in pairs if isinstance(a, str)] == [
            b for _, b in pairs if isinstance(b, str)
        ]
        assert [a for a, _ in pairs if not isinstance(a, str)] == pytest.approx(
            [b for _, b in pairs if not isinstance(b, str)], rel=1e-9
        )
    assert (stored.input_width, stored.radius) == (fresh.input_width, fresh.radius)
    known = dict(stored.provenance)
    assert set(known.pop("versions")) == {"qnotes", "python", "torch"}
    assert known.pop("log10_T8") == pytest.approx(fresh.provenance["log10_T8"], rel=1e-9)
    assert known.pop("held_out").keys() == fresh.provenance["held_out"].keys()
    assert known == {key: fresh.provenance.get(key) for key in known}
    assert known["bits"] == bits and len(known["sha256"]) == 64


def test_the_kept_trainings_are_stored_and_all_that_the_book_shows():
    assert {(name, 0) for name in qn.names()} <= set(ALL)
    assert {(name, seed) for name in THRICE for seed in STORED_SEEDS} <= set(ALL)


def test_every_stored_file_is_one_of_these():
    expected = {stored_name(name, bits, seed) for name, seed in ALL for bits in STORED_BITS}
    options = product(STORED_BITS, [None], open_nsfw.GRANULARITIES, open_nsfw.EQUALIZATIONS)
    expected |= {stored_name(open_nsfw.NAME, *chosen) for chosen in options}
    assert {path.name for path in profiles_folder().iterdir()} == expected


def test_stored_profiles_are_small():
    assert sum(path.stat().st_size for path in profiles_folder().iterdir()) < 1_500_000


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_x0_25"])
def test_bounds_of_a_stored_profile(name):
    table = qn.bounds(qn.stored_profile(name, bits=8)).set_index("bound")
    assert (
        table.loc["recursion along the chain", "log10"]
        < table["log10"].drop("recursion along the chain").min()
    )


@pytest.mark.medium
def test_a_reader_needs_no_torch(root):
    """With torch out of reach: profile, bounds, gains, shares."""
    program = """
import sys
for name in ("torch", "torchvision", "sklearn", "safetensors"):
    sys.modules[name] = None
import qnotes as qn
profile = qn.stored_profile("resnet56", bits=4)
table = qn.bounds(profile)
assert table["log10"].notna().sum() > 4
assert qn.gain_factors(profile).sum() > 0
assert len(qn.theorems()) > 10
try:
    qn.load
except ImportError:
    print("good")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "good\n", done.stderr


def test_a_profile_that_is_not_stored():
    with pytest.raises(qn.QnotesError, match=r"no stored profile of 'resnet20' at 5 bits.*8bit"):
        qn.stored_profile("resnet20", bits=5)
    with pytest.raises(qn.QnotesError, match=r"8 bits, seed 7, in .*resnet20-seed2-8bit") as raised:
        qn.stored_profile("resnet20", bits=8, seed=7)
    assert "resnet32" not in str(raised.value)
    with pytest.raises(qn.QnotesError, match=r"of 'resnet2' .*resnet110-4bit.*resnet20-8bit"):
        qn.stored_profile("resnet2", bits=8)


@pytest.mark.medium
def test_storing_again(tmp_path, few_digits):
    assert measure.main(["resnet20", "--folder", str(tmp_path / "new")]) == 0
    stored = tmp_path / "new" / stored_name("resnet20", 4)
    assert qn.Profile.read(stored).layers == measure.measure("resnet20")[0].layers
    assert len(list(stored.parent.iterdir())) == len(STORED_BITS)


# -- what a profile cannot tell --------------------------------------------------------------------


def test_what_quantizing_did_to_the_answers():
    answers = torch.tensor([[5.0, 1.0], [0.0, 2.0], [3.0, 0.0]])
    quantized = torch.tensor([[4.5, 1.0], [2.5, 2.0], [3.0, 0.25]])
    assert measure.held_out(answers, quantized, torch.tensor([0, 1, 1])) == {
        "images": 3,
        "accuracy": 0.33333,
        "largest_error": 2.5,
        "median_error": 0.5,
        "median_margin": 3.0,
    }


@pytest.mark.medium
def test_stored_errors_are_those_of_the_stored_weights():
    stored = qn.stored_profile("resnet20", bits=8).provenance["held_out"]
    folded = qn.fold(qn.load("resnet20"))
    quantized = qn.quantize(folded, bits=8).model
    images, labels = qn.digits("test")
    errors = qn.output_errors(folded, quantized, images)
    assert stored["largest_error"] == pytest.approx(errors.max().item(), rel=1e-3)  # float32
    assert stored["median_error"] == pytest.approx(errors.median().item(), rel=1e-3)
    assert stored["accuracy"] == pytest.approx(qn.accuracy(quantized, images, labels), abs=0.002)
    assert stored["images"] == len(images)


# -- three trainings -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "seed"), ALL)
@pytest.mark.parametrize("bits", STORED_BITS)
def test_every_training_says_where_it_is_from(name, seed, bits):
    about = qn.stored_profile(name, bits=bits, seed=seed).provenance
    assert (about["name"], about["seed"], about["bits"]) == (name, seed, bits)
    assert about["file"] == (f"{name}.safetensors" if seed == 0 else None)
    assert about["epochs"] == EPOCHS_OF_DEEP.get(name, EPOCHS)
    assert about["test_accuracy"] >= REQUIRED_ACCURACY
    entry = read_manifest(profiles_folder().parent / "manifest.json")[name]
    assert (about["sha256"] == entry["sha256"]) == (seed == 0)


@pytest.mark.parametrize("name", qn.names())
def test_trainings_differ_in_weights_and_not_in_structure(name):
    seeds = [seed for network, seed in ALL if network == name]
    profiles = [qn.stored_profile(name, bits=8, seed=seed) for seed in seeds]
    assert len({profile.provenance["sha256"] for profile in profiles}) == len(profiles)
    for one, other in combinations(profiles, 2):
        pairs = list(zip(one.layers, other.layers, strict=True))
        structure = ("name", "kind", "fan_in", "reads", "row", "width")
        assert all(getattr(a, key) == getattr(b, key) for a, b in pairs for key in structure)
        assert all(a.norm != b.norm for a, b in pairs)


@pytest.mark.parametrize(("name", "seed"), ALL)
@pytest.mark.parametrize("bits", STORED_BITS)
def test_no_error_is_above_a_bound(name, seed, bits):
    profile = qn.stored_profile(name, bits=bits, seed=seed)
    error = profile.provenance["held_out"]["largest_error"]
    assert error > profile.provenance["held_out"]["median_error"] > 0
    table = qn.bounds(profile).set_index("bound")["log10"]
    T8 = profile.provenance["log10_T8"]
    assert math.log10(error) < T8 < table["recursion along the chain"] <= table.min()
