"""The stored profiles are what a fresh measurement gives, and need no torch to be read."""

import subprocess
import sys
from dataclasses import astuple

import pytest

import qnotes as qn
from data import measure
from qnotes.propagation.profiles import STORED_BITS, profiles_folder, stored_name


@pytest.mark.parametrize("bits", STORED_BITS)
@pytest.mark.parametrize("name", qn.names())
def test_stored_profiles_are_fresh(name, bits):
    stored, fresh = qn.stored_profile(name, bits=bits), measure.measure(name, bits)
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
    assert known == {key: fresh.provenance.get(key) for key in known}
    assert known["bits"] == bits and len(known["sha256"]) == 64


def test_every_stored_file_is_one_of_these():
    expected = {stored_name(name, bits) for name in qn.names() for bits in STORED_BITS}
    assert {path.name for path in profiles_folder().iterdir()} == expected


def test_stored_profiles_are_small():
    assert sum(path.stat().st_size for path in profiles_folder().iterdir()) < 500_000


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


def test_storing_again(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "names", lambda: ("resnet20",))
    measure.main(["--folder", str(tmp_path / "new")])
    stored = tmp_path / "new" / stored_name("resnet20", 4)
    assert qn.Profile.read(stored).layers == measure.measure("resnet20", 4).layers
    assert len(list(stored.parent.iterdir())) == len(STORED_BITS)
