"""Profiles as files and as objects."""

import json
import os
import random
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

import qnotes as qn
from tests.random_profiles import layer, random_profile


@pytest.fixture
def profile() -> qn.Profile:
    made = random_profile(random.Random(0), depth=5, biases=True)
    return replace(made, provenance={"weights": "digits", "seed": 3, "bits": [4, 8]})


def test_json_round_trip(profile):
    assert qn.Profile.from_json(profile.to_json()) == profile


def test_round_trip_of_extreme_numbers():
    extreme = layer(norm=1.7e308, gap=5e-324, gap_norm=0.1 + 0.2, bias_norm=0.0)
    profile = qn.Profile((extreme,), 1, 1e-300)
    assert qn.Profile.from_json(profile.to_json()) == profile


def test_file_round_trip(profile, tmp_path):
    profile.save(tmp_path / "profile.json")
    assert qn.Profile.read(tmp_path / "profile.json") == profile
    profile.save(str(tmp_path / "profile.json"))
    assert os.listdir(tmp_path) == ["profile.json"]


def test_a_profile_is_small():
    deep = random_profile(random.Random(0), depth=152, biases=True)
    assert len(deep.to_json()) < 100_000


def test_a_write_that_fails_leaves_the_old_file(profile, tmp_path, monkeypatch):
    path = tmp_path / "profile.json"
    profile.save(path)

    def full(path, content, write=Path.write_bytes):
        write(path, content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        replace(profile, radius=7.0).save(path)
    assert qn.Profile.read(path) == profile
    assert list(tmp_path.iterdir()) == [path]


def test_a_first_write_that_fails_leaves_no_file(profile, tmp_path, monkeypatch):
    def no_replace(*paths):
        raise OSError("interrupted")

    monkeypatch.setattr(os, "replace", no_replace)
    with pytest.raises(OSError, match="interrupted"):
        profile.save(tmp_path / "profile.json")
    assert not (tmp_path / "profile.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '{"format": 1}', "not json"])
def test_text_that_is_no_profile(text):
    with pytest.raises(qn.QnotesError, match="this is not a profile that qnotes wrote"):
        qn.Profile.from_json(text)


def altered(profile: qn.Profile, change) -> str:
    content = json.loads(profile.to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=2), "profile of format 2; this version reads format 1"),
        (lambda c: c.update(extra=1), "not a profile that qnotes wrote.*extra"),
        (lambda c: c["layers"][0].pop("norm"), "not a profile that qnotes wrote.*norm"),
        (lambda c: c["layers"][0].update(norm=-1), "'layer': norm is -1; expected a finite"),
        (lambda c: c["layers"][0].update(gap=float("nan")), "gap is nan; expected a finite"),
        (lambda c: c["layers"][0].update(gap=None), "gap is None; expected a finite"),
        (lambda c: c.update(layers=[]), "a profile needs at least one layer; got none"),
        (lambda c: c.update(radius=0), "radius must be a positive finite number; got 0"),
    ],
)
def test_profiles_that_were_altered(profile, change, message):
    with pytest.raises(qn.QnotesError, match=message):
        qn.Profile.from_json(altered(profile, change))


@pytest.mark.parametrize("radius", [0, -1.0, float("nan"), float("inf")])
def test_radius(radius):
    with pytest.raises(qn.QnotesError, match="radius must be a positive finite number; got"):
        qn.Profile((layer(),), 3, radius)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("name", ["norm", "gap", "gap_norm", "bias_norm", "fan_in", "width"])
def test_numbers_of_a_layer(name, value):
    with pytest.raises(qn.QnotesError, match=f"layer 'layer': {name} is {value}; expected"):
        layer(**{name: value})


def test_profiles_do_not_change(profile):
    with pytest.raises(FrozenInstanceError):
        profile.radius = 2
    with pytest.raises(FrozenInstanceError):
        profile.layers[0].norm = 2
    assert isinstance(profile.layers, tuple)
    assert profile.depth == 5
