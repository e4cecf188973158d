"""The stored bounds: what they are about, that they agree, and that they can be computed again."""

import math
from dataclasses import astuple, fields

import pandas as pd
import pytest
import torch

import qnotes as qn
from data import measure_around, measure_certified
from data.measure_certified import (
    ASKED,
    AT,
    CHEAP,
    DESCENT,
    FULL_SIZE,
    KEY,
    TOLERANCE,
    TOO_LARGE,
    Network,
    Row,
    Table,
    tasks,
)
from qnotes.networks.weights import read_manifest
from qnotes.propagation.profiles import profiles_folder

TABLE = qn.certified_table()
SMALLEST = TABLE.groupby(["network", "bits", "method"])["log10"].min()
#: T14 is rounded up, and rows to six digits.
SLACK = 2e-6


def test_every_row_says_what_it_is_about():
    manifest = read_manifest(profiles_folder().parent / "manifest.json")
    assert list(TABLE.columns) == list(Row.__dataclass_fields__)
    assert not TABLE.duplicated(list(KEY)).any() and TABLE["log10"].notna().all()
    assert set(TABLE["method"]) <= {*CHEAP, "ellipsoids", "best"}
    for row in TABLE.itertuples():
        large = row.network in FULL_SIZE
        drawn = FULL_SIZE.get(row.network) == "random"
        assert pd.isna(row.sha256) if drawn else row.sha256 == manifest[row.network]["sha256"]
        kind = "imagenet" if large else "digits"
        assert row.radius == qn.preprocessing(row.network, kind).radius
        assert (row.descent == 0) or row.method in ("ellipsoids", "best")


def test_the_table_is_complete():
    keys = set(TABLE[list(KEY)].itertuples(index=False, name=None))
    assert set(tasks(list(DESCENT), DESCENT)) <= keys
    for name in DESCENT.keys() - TOO_LARGE:
        assert {*CHEAP, "ellipsoids"} <= set(SMALLEST[name, AT].index)


def test_the_best_is_never_worse_than_a_part():
    best = TABLE[TABLE["method"] == "best"]
    assert len(best)
    for row in best.itertuples():
        parts = TABLE[(TABLE["network"] == row.network) & (TABLE["bits"] == row.bits)]
        parts = parts[parts["descent"].isin([0, row.descent]) & parts["method"].isin(CHEAP)]
        T14 = TABLE[
            (TABLE[list(KEY)] == [row.network, row.bits, "ellipsoids", row.descent]).all(axis=1)
        ]
        others = [*parts["log10"], *T14["log10"]]
        assert row.log10 <= min(others) + SLACK, (row, others)


def test_no_error_that_was_found_exceeds_a_bound():
    for (name, bits, method), log10 in SMALLEST.items():
        if bits in (4, 8) and name not in FULL_SIZE:
            assert math.log10(qn.known_errors(name, bits=bits).observed) < log10, (name, method)


def test_signs_help():
    for name in ("resnet20", "resnet56", *(FULL_SIZE.keys() - TOO_LARGE)):
        found = SMALLEST[name, AT]
        assert found["ellipsoids"] < found["euclidean"] < found["channels"] < found["norms"]


def test_bits_make_bounds_smaller_as_steps_do():
    """A bit halves a rounding step; where errors are small, bounds follow.

    Roundings differ in direction, too: without a descent four bits take 1.1 to 1.4 decades off, and
    descents end a tenth or two apart.
    """
    T14 = SMALLEST.xs("ellipsoids", level="method")
    for name in T14.index.unique("network"):
        found = T14[name]
        if {8, 12, 16} <= set(found.index):
            falls = [found[8] - found[12], found[12] - found[16]]
            assert falls == pytest.approx([4 * math.log10(2)] * 2, abs=0.4), (name, falls)


@pytest.mark.medium
@pytest.mark.parametrize("method", CHEAP)
@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_x0_25"])
def test_cheap_rows_are_fresh(name, method):
    (fresh,) = Network(name).rows(4, method)
    assert fresh.log10 == pytest.approx(SMALLEST[name, 4, method], abs=SLACK)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["resnet20", "resnet110"])
def test_rows_of_T14_without_descent_are_fresh(name):
    """With one they depend on the machine."""
    stored = TABLE.set_index(list(KEY))["log10"]
    for fresh in Network(name).rows(AT, "best"):
        assert fresh.log10 == pytest.approx(stored[name, AT, fresh.method, 0], abs=SLACK)


@pytest.mark.parametrize("name", ASKED)
def test_certified_bits_are_the_fewest(name):
    rows = TABLE[(TABLE["network"] == name) & (TABLE["method"] == "ellipsoids")]
    for descent, found in rows.groupby("descent"):
        found = found.set_index("bits")["log10"]
        enough = found.index[found <= math.log10(TOLERANCE)].min()
        assert found[enough - 1] > math.log10(TOLERANCE), (descent, found)


def test_a_network_is_certified_with_fewer_bits_than_it_was_stored_in():
    """The front page and the changelog say so."""
    rows = TABLE[(TABLE["network"] == "resnet20") & (TABLE["log10"] <= math.log10(TOLERANCE))]
    assert rows["bits"].min() < 32


# ---------------------------------------------------------------- how they are made


def test_finer_grids_than_quantize_makes(monkeypatch):
    """Its own rounding, at a number of bits that `qn.quantize` makes too."""
    folded = qn.fold(qn.load("resnet20"))
    monkeypatch.setattr(measure_certified, "QUANTIZED_BITS", 0)
    ours = measure_certified.rounded(folded, 8)
    theirs = qn.quantize(folded, bits=8).model
    changed = 0
    for name, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, rtol=1e-6, atol=1e-12), name
        changed += not torch.equal(value, folded.state_dict()[name])
    assert changed > 20
    with pytest.raises(qn.QnotesError, match="at most 51"):
        measure_certified.rounded(folded, 52)


def test_finer_grids_are_nearer():
    folded = qn.fold(qn.load("resnet20"))
    weight = folded.conv1.weight
    gaps = [(measure_certified.rounded(folded, b).conv1.weight - weight).abs().max().item()
            for b in (16, 20, 24)]  # fmt: skip
    assert gaps[0] / 12 > gaps[1] > gaps[2] * 12 > 0


@pytest.mark.medium
def test_a_row_that_is_there_is_not_computed_again(tmp_path, monkeypatch):
    call = ["resnet20", "--methods", "channels", "--bits", "8", "--data", str(tmp_path)]
    measure_certified.main(call)
    written = (tmp_path / "certified.csv").read_text()
    assert len(pd.read_csv(tmp_path / "certified.csv")) == 1
    monkeypatch.setattr(Network, "rows", None)  # a call would be an error
    measure_certified.main(call)
    assert (tmp_path / "certified.csv").read_text() == written
    with pytest.raises(TypeError):
        measure_certified.main([*call, "--again"])
    assert (tmp_path / "certified.csv").read_text() == written


@pytest.mark.parametrize("module", [measure_certified, measure_around])
def test_rows_that_are_computed_again_replace_the_others_when_all_are_there(module, tmp_path):
    """Whoever is interrupted has the old ones, and goes on with the new ones."""

    def rows(network, bits):
        values = {"network": network, "bits": bits, "question": "largest", "method": "intervals"}
        kinds = {field.name: field.type for field in fields(module.Row)}
        empty = {name: "" if "str" in kind else 0 for name, kind in kinds.items()}
        return [module.Row(**empty | {k: v for k, v in values.items() if k in kinds})]

    def stored():
        return {(row.network, row.bits) for row in module.Table(tmp_path).kept.values()}

    module.Table(tmp_path).add([*rows("resnet20", 4), *rows("resnet56", 8)])
    before = stored()
    module.Table(tmp_path, again=True).add(rows("resnet20", 5))
    assert stored() == before
    table = module.Table(tmp_path, again=True)
    table.add(rows("resnet20", 6))
    table.finish(["resnet20"])
    assert stored() == {("resnet20", 5), ("resnet20", 6), ("resnet56", 8)}
    assert len(list(tmp_path.iterdir())) == 1
    module.Table(tmp_path).finish(["resnet20"])
    assert len(stored()) == 3


@pytest.mark.medium
def test_what_was_not_computed_again_stays(tmp_path):
    call = ["resnet20", "--data", str(tmp_path), "--bits"]
    measure_certified.main([*call, "4", "8", "--methods", "norms", "channels"])
    before = pd.read_csv(tmp_path / "certified.csv")
    measure_certified.main([*call, "8", "--methods", "channels", "--again"])
    after = pd.read_csv(tmp_path / "certified.csv")
    columns = ["network", "bits", "method", "log10"]
    assert len(before) == 4 and after[columns].equals(before[columns])


@pytest.mark.parametrize("options, kept", [([], 0), (["--seconds", "5"], 1), (["--bits", "8"], 1)])
def test_only_a_whole_run_forgets_what_it_did_not_compute(options, kept, tmp_path, monkeypatch):
    old = TABLE[TABLE["network"] == "resnet20"].iloc[:1].assign(descent=77.0)
    old.to_csv(tmp_path / "certified.csv", index=False)
    monkeypatch.setattr(measure_certified, "tasks", lambda *_: iter(()))
    monkeypatch.setattr(measure_certified, "ASKED", ())
    folder = ["--data", str(tmp_path)]
    Table(tmp_path, again=True).add([])
    measure_certified.main(["resnet20", "--again", *options, *folder])
    assert len(pd.read_csv(tmp_path / "certified.csv")) == kept


class Straight:
    """A network whose bound is a line in bits."""

    name = "resnet20"

    def __init__(self, at_8: float, slope: float) -> None:
        self.at_8, self.slope, self.tried = at_8, slope, []

    def rows(self, bits: int, method: str, descent: float) -> list[Row]:
        self.tried.append(bits)
        log10 = self.at_8 - self.slope * (bits - 8)
        return [Row(self.name, bits, method, descent, log10, 0.0, 1.0, "", "", "")]


@pytest.mark.parametrize("at_8", [1.3, 5.85, 10.53])
@pytest.mark.parametrize("slope", [0.25, math.log10(2), 0.35])
def test_the_search_finds_the_fewest_bits_with_few_tries(tmp_path, at_8, slope):
    network = Straight(at_8, slope)
    found = measure_certified.certified_bits(network, Table(tmp_path), 0)
    assert found == math.ceil(8 + (at_8 + 1) / slope)
    assert len(network.tried) == len(set(network.tried)) <= 12


def test_a_table_is_read_as_it_was_written(tmp_path):
    table, row = (
        Table(tmp_path),
        Row("resnet20", 8, "best", 2, -0.25, 1.5, 1.0, "ab", "0.1.0", "2.13.0"),
    )
    table.add([row])
    assert [astuple(kept) for kept in Table(tmp_path).kept.values()] == [astuple(row)]
