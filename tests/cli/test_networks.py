"""Commands on a network: by name, by a function in a file, and as an exported program."""

import csv
import io
import json
import math

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.cli import main
from qnotes.networks.architectures import seeded
from tests.onnx_writing import node, numbers, written

FILE = """
import torch
from torch import nn
from neighbour import WIDTH


def network():
    torch.manual_seed(3)
    layers = [nn.Conv2d(2, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16 * WIDTH, 3)).eval()


def unknown_layer():
    return nn.Sequential(nn.Linear(2, 2), nn.Softplus()).eval()


def number():
    return 3


def of_a_width(width):
    return nn.Linear(2, width).eval()
"""
SHAPE = ["--input-shape", "1,2,6,6"]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    return tmp_path / "own.py"


@pytest.fixture
def program(tmp_path):
    with seeded(0):
        network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    path = tmp_path / "network.pt2"
    torch.export.save(torch.export.export(network.eval(), (torch.ones(2, 2, 6, 6),)), path)
    return network, path


def rows(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def test_bounds_of_a_named_network(capsys):
    assert main(["bounds", "resnet20", "--bits", "4", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    folded = qn.fold(qn.load("resnet20"))
    profile = qn.profile(folded, qn.quantize(folded, bits=4).model, input_shape=(1, 1, 32, 32))
    table = qn.bounds(profile)
    assert [row["theorem"] for row in printed] == list(table["theorem"])
    for row, expected in zip(printed, table["log10"], strict=True):
        assert (row["log10"] is None) == math.isnan(expected)
        assert row["log10"] is None or row["log10"] == pytest.approx(expected, rel=1e-12)
        assert bool(row["assumptions"]) == (row["log10"] is None)
    (share,) = [row["share"] for row in printed if row["theorem"] == "T2"]
    assert list(share) == [layer.name for layer in profile.layers]


def test_a_function_in_a_file(file, capsys):
    assert main(["bounds", f"{file}:network", *SHAPE, "--csv", "--granularity", "tensor"]) == 0
    printed = {row["bound"]: row["log10"] for row in rows(capsys.readouterr().out)}
    assert float(printed["recursion along the chain"]) < float(printed["entrywise bound"])
    assert printed["product form"]


def test_an_exported_program(program, capsys):
    network, path = program
    assert main(["bounds", str(path), "--csv", "--bits", "3"]) == 0
    printed = rows(capsys.readouterr().out)
    folded = qn.fold(network)
    changed = qn.quantize(folded, bits=3).model
    table = qn.bounds(qn.profile(folded, changed, input_shape=(1, 2, 6, 6)))
    expected = ["" if math.isnan(value) else repr(float(value)) for value in table["log10"]]
    assert [row["log10"] for row in printed] == expected


def test_an_onnx_file(tmp_path, capsys):
    """The same as the functions give; a name after the file says where the network ends."""
    weights = {"w": numbers(3, 2, 3, 3), "m": numbers(48, 2)}
    nodes = [
        node("Conv", "x w", "a"),
        node("Relu", "a", "r"),
        node("Flatten", "r", "f"),
        node("MatMul", "f m", "y:0"),
        node("Softmax", "y:0", "z"),
    ]
    path = written(tmp_path / "net.onnx", nodes, ("n", 2, 6, 6), weights, outputs=("z",))
    assert main(["bounds", str(path)]) == 2
    assert "Softmax is not covered" in capsys.readouterr().err
    assert main(["bounds", f"{path}:y:0", "--csv", "--bits", "3"]) == 0
    printed = rows(capsys.readouterr().out)
    folded = qn.fold(qn.from_onnx(path, output="y:0"))
    changed = qn.quantize(folded, bits=3).model
    table = qn.bounds(qn.profile(folded, changed, input_shape=(1, 2, 6, 6)))
    expected = ["" if math.isnan(value) else repr(float(value)) for value in table["log10"]]
    assert [row["log10"] for row in printed] == expected
    assert main(["profile", f"{path}:y:0"]) == 0
    about = qn.Profile.from_json(capsys.readouterr().out).provenance
    assert (about["source"], about["output"]) == ("net.onnx", "y:0")
    assert main(["observe", f"{path}:y:0", "--samples", "2", "--steps", "1", "--starts", "1"]) == 0
    capsys.readouterr()
    assert main(["bounds", f"{path}:y:0", "--input-shape", "1,2,7,7"]) == 2
    assert "does not fit the file" in capsys.readouterr().err


def test_options_of_the_quantizer_arrive(file, capsys):
    found = []
    for options in ([], ["--affine"], ["--granularity", "tensor"]):
        assert main(["profile", f"{file}:network", *SHAPE, "--bits", "3", *options]) == 0
        found.append(qn.Profile.from_json(capsys.readouterr().out))
    assert len({profile.layers[0].gap_norm for profile in found}) == 3
    assert [p.provenance["granularity"] for p in found] == ["channel", "channel", "tensor"]
    assert [p.provenance["symmetric"] for p in found] == [True, False, True]
    assert all(p.provenance["source"] == "own.py:network" for p in found)


def test_bounds_on_the_graph(file, capsys):
    assert main(["bounds", f"{file}:network", *SHAPE, "--csv", "--seconds", "0"]) == 0
    found = {row["theorem"]: row for row in rows(capsys.readouterr().out)}
    sizes = {name: float(found[name]["log10"]) for name in ("T2", "T8", "T10", "T11", "T14")}
    assert all(math.isfinite(size) for size in sizes.values())
    assert sizes["T10"] <= sizes["T8"] + 1e-9 <= sizes["T2"] + 2e-9


def test_a_profile_and_its_bounds(file, tmp_path, capsys):
    path = tmp_path / "profile.json"
    where = [f"{file}:network", *SHAPE, "--bits", "5"]
    assert main(["profile", *where, "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["bounds", str(path), "--csv"]) == 0
    stored = capsys.readouterr().out
    assert main(["bounds", *where, "--csv"]) == 0
    assert capsys.readouterr().out == stored
    assert main(["bounds", str(path)]) == 0
    assert "L = 2 layers, D = 1" in capsys.readouterr().out


def test_observe_lies_below_the_bounds(file, capsys):
    call = ["observe", f"{file}:network", *SHAPE, "--bits", "3", "--steps", "3", "--json"]
    assert main(call) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["sampled"] <= row["error"]
    assert row["log10_error"] == pytest.approx(math.log10(row["error"]))
    assert row["log10_error"] < row["log10_bound"] and row["theorem"] == "T2"


def test_an_error_above_a_bound_is_told(file, capsys, monkeypatch):
    bounds = qn.bounds

    def lowered(profile):
        table = bounds(profile)
        return table.assign(log10=table["log10"].where(table["theorem"] != "P2", -9.0))

    monkeypatch.setattr(qn, "bounds", lowered, raising=False)
    assert main(["observe", f"{file}:network", *SHAPE, "--bits", "3", "--steps", "1"]) == 1
    assert "above the bound P2" in capsys.readouterr().err


@pytest.mark.medium
def test_observe_from_images(capsys):
    call = ["observe", "resnet20", "--samples", "2", "--starts", "1", "--steps", "1", "--csv"]
    assert main([*call, "--images", "2"]) == 0
    (row,) = rows(capsys.readouterr().out)
    assert float(row["error"]) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["bounds", "resnet"], "unknown network 'resnet' for weights='digits'"),
        (["bounds", "{}:network"], "needs --input-shape"),
        (["bounds", "{}:missing", *SHAPE], "has no function 'missing'"),
        (["bounds", "{}:number", *SHAPE], "returned int; expected a torch.nn.Module"),
        (["bounds", "{}", *SHAPE], "own.py:FUNCTION"),
        (["bounds", "{}:of_a_width", *SHAPE], "needs width; it is called without arguments"),
        (["bounds", "{}:unknown_layer", "--input-shape", "1,2"], "Softplus is not covered"),
        (["bounds", "{}:network", "--input-shape", "1,3,6,6"], "expects an input of shape"),
        (["bounds", "nowhere.py:network", *SHAPE], "no file nowhere.py"),
        (["bounds", "nowhere.pt2"], "no file nowhere.pt2"),
        (["bounds", "nowhere.onnx"], "no file nowhere.onnx"),
        (["bounds", "nowhere.onnx:y"], "no file nowhere.onnx"),
        (["bounds", "nowhere.json"], "no file nowhere.json"),
        (["bounds", "resnet20", "--granularity", "row"], "granularity must be one of"),
        (["bounds", "resnet20", "--bits", "99"], "bits must be"),
        (["bounds", "resnet20", "--radius", "-1"], "radius must be a positive finite number"),
        (["observe", "{}:network", *SHAPE, "--images", "3"], "--images takes test digits"),
        (["sweep", "resnet", "--bits", "4"], "unknown network"),
    ],
)
def test_input_that_cannot_be_used(call, message, file, capsys):
    assert main([part.format(file) for part in call]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and message in printed.err


OWN = """
from __future__ import annotations
from dataclasses import dataclass
import sys
from torch import nn

@dataclass
class Options:
    width: int = 3

def network():
    return nn.Sequential(nn.Linear(2, Options().width)).eval()

def breaks() -> nn.Module:
    raise LookupError("no weights")

def leaves() -> nn.Module:
    sys.exit(1)

def branches():
    class Branch(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * (1 if isinstance(x, __import__("torch").Tensor) else 2)
    return Branch(nn.Linear(2, 3)).eval()
"""


@pytest.mark.parametrize(
    ("function", "status", "message"),
    [
        ("network", 0, ""),
        ("breaks", 2, "LookupError: 'no weights'"),
        ("leaves", 2, "ends the program with sys.exit(1)"),
        ("branches", 2, "computes something else than its trace"),
    ],
)
def test_files_of_others(tmp_path, capsys, function, status, message):
    """String annotations, and functions that raise or exit: 1 would mean a violated bound."""
    (tmp_path / "my own.py").write_text(OWN)
    call = ["bounds", f"{tmp_path}/my own.py:{function}", "--input-shape", "1,2"]
    assert main(call) == status
    assert message.replace("'", "") in capsys.readouterr().err.replace("'", "")


@pytest.mark.parametrize(
    "content", ["import nothing_of_this_name", "x = (", "import sys; sys.exit(1)"]
)
def test_files_that_cannot_be_imported(tmp_path, capsys, content):
    (tmp_path / "own.py").write_text(content)
    assert main(["bounds", f"{tmp_path}/own.py:network", "--input-shape", "1,2"]) == 2
    assert "own.py" in capsys.readouterr().err


def test_options_beside_a_stored_profile(tmp_path, capsys):
    path = tmp_path / "profile.json"
    qn.stored_profile("resnet20", bits=4).save(path)
    assert main(["bounds", str(path), "--bits", "4", "--affine"]) == 2
    assert "--bits, --affine will not do" in capsys.readouterr().err


def test_files_that_are_no_programs_and_no_profiles(tmp_path, program, capsys, caplog):
    for name in ("damaged.pt2", "damaged.json"):
        (tmp_path / name).write_text("nothing")
        assert main(["bounds", str(tmp_path / name)]) == 2
    printed = capsys.readouterr().err
    assert "is no program that torch.export.save wrote" in printed
    assert "this is not a profile that qnotes wrote" in printed
    assert caplog.text == ""  # torch logs tracebacks
    assert main(["bounds", str(program[1]), "--input-shape", "1,2,7,7"]) == 2
    assert "takes inputs of shape (1, 2, 6, 6)" in capsys.readouterr().err


def test_sweep(capsys):
    assert main(["sweep", "resnet20", "--bits", "3", "8", "--inputs", "2", "--csv"]) == 0
    printed = rows(capsys.readouterr().out)
    assert {row["bits"] for row in printed} == {"3", "8"}
    assert {"T2", "measured"} <= {row["theorem"] for row in printed}


@pytest.mark.medium
def test_roundings_that_look_at_data(capsys):
    given = ["resnet20", "--bits", "4", "--rounding", "gptq"]
    assert main(["profile", *given]) == 2
    assert "--rounding gptq looks at data: give --calibration N" in capsys.readouterr().err
    assert main(["sweep", *given]) == 2
    assert "give --calibration N" in capsys.readouterr().err
    assert main(["profile", *given, "--calibration", "4"]) == 0
    stored = qn.Profile.from_json(capsys.readouterr().out)
    assert stored.provenance["rounding"] == "gptq" and stored.provenance["calibration"] == 4
