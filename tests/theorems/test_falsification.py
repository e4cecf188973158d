"""The search: its vectorized networks and profiles are the real ones, and no bound breaks."""

import json
import random
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import qnotes as qn
from tests.falsification import __main__ as command
from tests.falsification import search
from tests.falsification.architectures import KINDS, draw_architecture
from tests.falsification.ascent import _log_ratio, ascend
from tests.falsification.draw import draw_batch
from tests.falsification.forward import module, outputs
from tests.falsification.measured import TENSORS, measure
from tests.falsification.plain_arithmetic import direct
from tests.falsification.search import on_error

CASES = [(kind, depth) for kind in KINDS for depth in (1, 2, 3, 5, 12)]


def drawn(kind: str, depth: int, seed: int, count: int = 4):
    rng = random.Random(seed)
    return draw_batch(rng, draw_architecture(rng, kind, depth), count)


@pytest.mark.parametrize(("kind", "depth"), CASES)
def test_vectorized_profile_is_the_profile(kind, depth):
    for seed in range(3):
        batch = drawn(kind, depth, seed)
        measured = measure(batch.architecture, batch.parameters, batch.quantized, batch.radius)
        assert measured.depth == depth
        networks = [module(batch.architecture, p, 1) for p in (batch.parameters, batch.quantized)]
        real = qn.profile(
            *networks,
            input_shape=(1, *batch.architecture.shape),
            radius=float(batch.radius[1]),
        )
        assert_same_profile(measured.one(1), real)
        values = measured.quantities()
        for theorem in on_error():
            if theorem.assumptions(real):
                assert theorem.assumptions(measured.one(1))
                continue
            ours = direct(theorem, values, depth, TENSORS) * torch.ones(4, dtype=torch.float64)
            theirs = 10 ** theorem.evaluate(real)
            assert float(ours[1]) == pytest.approx(theirs, rel=1e-9, abs=1e-300)


def assert_same_profile(ours: qn.Profile, theirs: qn.Profile) -> None:
    assert (ours.input_width, ours.radius) == (theirs.input_width, theirs.radius)
    for mine, its in zip(ours.layers, theirs.layers, strict=True):
        for entry in fields(qn.Layer):
            if entry.name != "name":
                value, other = getattr(mine, entry.name), getattr(its, entry.name)
                assert value == (other if isinstance(other, str) else pytest.approx(other)), entry


@pytest.mark.parametrize(("kind", "depth"), CASES)
def test_vectorized_outputs_are_those_of_the_module(kind, depth):
    batch = drawn(kind, depth, seed=7)
    ours = outputs(batch.architecture, batch.parameters, batch.inputs)
    for which in range(2):
        network = module(batch.architecture, batch.parameters, which)
        with torch.no_grad():
            theirs = network(batch.inputs[which]).flatten(1)
        scale = theirs.abs().max().clamp(min=1e-300)
        assert ((ours[which] - theirs) / scale).abs().max() < 1e-12


@pytest.mark.slow
def test_no_bound_breaks_and_tight_ones_are_reached():
    found = search(2500, seed=1).set_index("theorem")
    assert (found["violations"] == 0).all()
    assert (found["largest"] <= 1 + 1e-12).all()
    assert (found.loc[["T2", "T3 product form", "T5 product form"], "largest"] > 0.999).all()


@pytest.mark.slow
def test_the_search_repeats_itself():
    first, second = (search(600, seed=3) for _ in range(2))
    assert first.equals(second)


def test_ascent_climbs():
    (theorem,) = [t for t in on_error() if t.key == "T5 mean form"]
    batch = drawn("dense", 3, seed=5, count=8)
    before, after = (_log_ratio(b, theorem) for b in (batch, ascend(batch, theorem, steps=30)))
    assert after > before


def test_the_stored_search_covers_every_bound():
    path = Path(__file__).parents[2] / "data/falsification.json"
    stored = {row["theorem"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    assert stored.keys() == {theorem.key for theorem in on_error()}
    assert max(row["networks"] for row in stored.values()) > 90_000
    for row in stored.values():
        assert row["violations"] == 0
        assert 0 < row["largest"] <= 1 + 1e-12
        assert row["largest"] == max(row["by_depth"].values())
    for key in ("T2", "T3 product form", "T4 mean form", "T5 product form", "T5 mean form"):
        assert stored[key]["largest"] > 0.999
    assert stored["T6 mean form"]["largest"] > 0.999


def test_the_command_writes_its_table(tmp_path, capsys):
    path = tmp_path / "found.json"
    assert command.main(["--networks", "300", "--seed", "1", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    assert all(row["violations"] == 0 for row in rows)
    assert {row["theorem"] for row in rows} >= {"P1", "T2", "T5 mean form"}
    assert "violations" in capsys.readouterr().out


def test_a_wrong_call(capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--networks", "0"])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "usage" in printed.err


def test_exit_codes_of_the_command(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    kept, path = search, tmp_path / "found.json"
    monkeypatch.setattr(command, "search", interrupted)
    assert command.main(["--json", str(path)]) == 130 and not path.exists()
    assert "interrupted" in capsys.readouterr().err
    monkeypatch.setattr(command, "search", lambda *_, **__: kept(300).assign(violations=1))
    assert command.main([]) == 1
    assert command.main(["--json", str(tmp_path / "missing" / "found.json")]) == 2
    assert "missing" in capsys.readouterr().err
