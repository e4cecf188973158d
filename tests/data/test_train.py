"""Training and storing checkpoints, on few images and in a temporary folder."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch.nn.functional import cross_entropy

from data import measure
from data import train as script
from data.train import Trained, keep, main, save, train
from qnotes import files
from qnotes.errors import QnotesError
from qnotes.networks import training
from qnotes.networks.architectures import SMALL, seeded
from qnotes.networks.digits import digits
from qnotes.networks.weights import load, read_manifest
from qnotes.observation import accuracy
from qnotes.propagation.profiles import STORED_BITS, STORED_SEEDS, Layer, Profile, stored_name


def few(count):
    images, labels = digits("train")
    return images[:count], labels[:count]


def fresh(*, accuracy=0.99, seed=0, name="resnet20"):
    return Trained(SMALL[name].build(seed=seed), test_accuracy=accuracy, seed=seed, epochs=1)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def profiles_in(folder):
    return {path.name for path in (folder / "profiles").iterdir()}


@pytest.fixture
def instant(monkeypatch):
    """Training that takes no time and reaches the accuracy that a test sets in ``reached``.

    Nor does measuring what was trained.
    """
    reached = {}

    def pretend(name, *, seed, epochs, progress):
        for _ in range(epochs or 1):
            progress()
        return fresh(accuracy=reached.get((name, seed), 0.99), seed=seed, name=name)

    def measured(name, model, entry):
        layer = Layer("layer", "dense", *[1] * 11)
        about = {"name": name, "seed": entry["seed"], "test_accuracy": entry["test_accuracy"]}
        return [Profile((layer,), 1, 1.0, about | {"bits": bits}) for bits in STORED_BITS]

    monkeypatch.setattr(script, "train", pretend)
    monkeypatch.setattr(measure, "measure_training", measured)
    return reached


# -- training --------------------------------------------------------------------------------------


@pytest.fixture
def few_digits(monkeypatch):
    """A training split and a test split of 64 images each: the same."""
    monkeypatch.setattr(script, "digits", lambda split: few(64))


@pytest.mark.medium
def test_training_learns():
    images, labels = few(64)
    model = SMALL["resnet20"].build().train()
    with torch.no_grad():
        before = cross_entropy(model(images), labels)
    ticks = []
    with seeded(0):
        training.fit(model, images, labels, epochs=15, progress=lambda: ticks.append(1))
    with torch.no_grad():
        after = cross_entropy(model(images), labels)
    assert len(ticks) == 15
    assert after < 0.8 * before  # before: the loss of guessing


def test_training_returns_what_was_measured(few_digits):
    trained = train("resnet20", epochs=1, seed=3)
    assert not trained.model.training
    assert trained.test_accuracy == accuracy(trained.model, *few(64))
    assert (trained.seed, trained.epochs) == (3, 1)
    assert all(p.is_contiguous() for p in trained.model.parameters())


@pytest.mark.medium
def test_training_is_seeded_and_leaves_the_random_state(few_digits):
    before = torch.get_rng_state()
    first, again, other = (
        train("resnet20", epochs=1, seed=seed).model.fc.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.medium
def test_training_does_not_depend_on_the_number_of_threads(few_digits):
    threads = torch.get_num_threads()
    try:
        weights = []
        for number in (1, 2):
            torch.set_num_threads(number)
            weights.append(train("resnet20", epochs=1).model.fc.weight)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*weights)


def test_bad_arguments():
    with pytest.raises(QnotesError, match="unknown network 'resnet18'; trained here are resnet20"):
        train("resnet18")
    with pytest.raises(QnotesError, match="epochs must be at least 1, got 0"):
        train("resnet20", epochs=0)


def test_shifts_move_pictures_and_bring_in_background():
    images = torch.full((50, 1, 32, 32), -1.0)
    images[:, :, 16, 16] = 1.0
    shifted = training._shifted(images)
    assert shifted.shape == images.shape
    places = (shifted == 1).nonzero()
    assert len(places) == 50 and (shifted == -1).sum() == 50 * (32 * 32 - 1)
    moves = places[:, 2:] - 16
    assert moves.min() == -training.LARGEST_SHIFT and moves.max() == training.LARGEST_SHIFT
    assert len(moves.unique(dim=0)) > 10


def test_accuracy_counts_the_right_answers():
    scores = torch.eye(4)
    model = torch.nn.Linear(4, 4, bias=False).eval()
    model.weight.data = torch.eye(4)
    assert accuracy(model, scores, torch.tensor([0, 1, 2, 3])) == 1
    assert accuracy(model, scores, torch.tensor([0, 1, 3, 2])) == 0.5


# -- storing ---------------------------------------------------------------------------------------


def test_what_is_saved_can_be_loaded(tmp_path, monkeypatch):
    trained = fresh(seed=4)
    entry = save("resnet20", trained, tmp_path / "new")
    monkeypatch.setenv("QNOTES_DATA", str(tmp_path / "new"))
    loaded = load("resnet20")
    x = digits("test")[0][:4]
    with torch.no_grad():
        assert torch.equal(loaded(x), trained.model(x))
    assert entry["seed"] == 4 and entry["test_accuracy"] == 0.99
    assert sorted(contents(tmp_path / "new")) == ["manifest.json", "resnet20.safetensors"]


def test_manifest_keeps_the_other_networks(tmp_path):
    save("resnet32", fresh(name="resnet32"), tmp_path)
    save("resnet20", fresh(), tmp_path)
    assert list(read_manifest(tmp_path / "manifest.json")) == ["resnet20", "resnet32"]


def test_manifest_names_no_machine_and_no_time(tmp_path):
    entry = save("resnet20", fresh(), tmp_path)
    assert entry.keys() == {
        "architecture",
        "file",
        "sha256",
        "parameters",
        "test_accuracy",
        "seed",
        "epochs",
        "versions",
    }


def test_saving_over_a_damaged_manifest_makes_a_new_one(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    save("resnet20", fresh(), tmp_path)
    assert list(read_manifest(tmp_path / "manifest.json")) == ["resnet20"]


@pytest.mark.parametrize("failing", ["resnet20.safetensors", "manifest.json"])
def test_interrupted_saving_leaves_everything_as_it_was(tmp_path, monkeypatch, failing):
    save("resnet20", fresh(), tmp_path)
    before = contents(tmp_path)
    write = files.Path.write_bytes
    order = iter(["resnet20.safetensors", "manifest.json"])

    def interrupted(path, content):
        if next(order) == failing:
            raise KeyboardInterrupt
        return write(path, content)

    monkeypatch.setattr(files.Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save("resnet20", fresh(seed=1), tmp_path)
    assert contents(tmp_path) == before


# -- what is kept of each seed ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_of_seed_0_are_kept_and_profiles_of_all(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(measure, "digits", lambda split: few(8))
    trained = fresh(seed=seed)
    keep("resnet20", trained, tmp_path)
    kept = ["manifest.json", "resnet20.safetensors"] if seed == 0 else []
    assert sorted(contents(tmp_path)) == kept
    assert profiles_in(tmp_path) == {stored_name("resnet20", bits, seed) for bits in STORED_BITS}
    about = Profile.read(tmp_path / "profiles" / stored_name("resnet20", 4, seed)).provenance
    content = to_safetensors(trained.model.state_dict())
    assert about["sha256"] == hashlib.sha256(content).hexdigest()
    assert about["file"] == ("resnet20.safetensors" if seed == 0 else None)
    assert (about["seed"], about["epochs"], about["test_accuracy"]) == (seed, 1, 0.99)


def test_other_seeds_leave_weights_and_manifest_alone(tmp_path, instant):
    save("resnet20", fresh(), tmp_path)
    before = contents(tmp_path)
    assert main(["--data", str(tmp_path), "resnet20", "--seeds", "1", "2"]) == 0
    assert contents(tmp_path) == before
    assert len(profiles_in(tmp_path)) == 2 * len(STORED_BITS)


# -- the command -----------------------------------------------------------------------------------


def test_command_trains_stores_and_compares(tmp_path, capsys, instant):
    instant |= {("resnet20", 0): 0.98, ("resnet20", 1): 0.97}
    assert main(["--data", str(tmp_path), "--epochs", "2", "resnet20", "resnet32"]) == 0
    printed = capsys.readouterr().out
    assert "seed 0: test accuracy 98.00%, no earlier one" in printed
    assert "seed 1: test accuracy 97.00%, no earlier one" in printed
    instant |= {("resnet20", 0): 0.99, ("resnet20", 1): 0.99}
    assert main(["--data", str(tmp_path), "resnet20"]) == 0
    printed = capsys.readouterr().out
    assert "seed 0: test accuracy 99.00%, stored 98.00% (+1.00%)" in printed
    assert "seed 1: test accuracy 99.00%, stored 97.00% (+2.00%)" in printed
    assert list(read_manifest(tmp_path / "manifest.json")) == ["resnet20", "resnet32"]


@pytest.mark.medium
def test_command_trains_all_from_all_seeds_by_default(tmp_path, instant):
    assert main(["--data", str(tmp_path), "--epochs", "1"]) == 0
    manifest = read_manifest(tmp_path / "manifest.json")
    assert list(manifest) == list(SMALL)
    assert {entry["seed"] for entry in manifest.values()} == {0}
    assert profiles_in(tmp_path) == {
        stored_name(name, bits, seed)
        for name in SMALL
        for bits in STORED_BITS
        for seed in STORED_SEEDS
    }


def test_command_does_not_store_a_weak_seed(tmp_path, capsys, instant):
    instant["resnet20", 2] = 0.96
    assert main(["--data", str(tmp_path), "--epochs", "1", "resnet20"]) == 1
    assert "below the required 97%, so not stored: resnet20 (seed 2);" in capsys.readouterr().err
    assert profiles_in(tmp_path) == {
        stored_name("resnet20", bits, seed) for bits in STORED_BITS for seed in (0, 1)
    }


def test_command_trains_over_a_damaged_profile(tmp_path, capsys, instant):
    (tmp_path / "profiles").mkdir()
    damaged = tmp_path / "profiles" / stored_name("resnet20", STORED_BITS[0], 1)
    damaged.write_text("{")
    assert main(["--data", str(tmp_path), "--epochs", "1", "resnet20"]) == 0
    assert "seed 1: test accuracy 99.00%, no earlier one" in capsys.readouterr().out
    assert Profile.read(damaged).provenance["seed"] == 1


def test_command_really_trains_but_does_not_store_a_weak_network(tmp_path, capsys, few_digits):
    one = ["--data", str(tmp_path), "--epochs", "1", "resnet20", "--seeds", "0"]
    assert main(one) == 1
    assert "below the required 97%, so not stored: resnet20 (seed 0);" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_checkpoints_and_manifest(tmp_path, capsys, monkeypatch):
    save("resnet20", fresh(), tmp_path)
    before = contents(tmp_path)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "fit", interrupted)
    assert main(["--data", str(tmp_path), "resnet20"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_command_names_what_is_wrong(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "resnet21"]) == 2
    assert "unknown network 'resnet21'" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["--data", str(tmp_path / "file"), "resnet20"]) == 2
    assert "cannot write checkpoints into" in capsys.readouterr().err


def test_command_replaces_a_damaged_manifest(tmp_path, instant):
    (tmp_path / "manifest.json").write_text("damaged")
    assert main(["--data", str(tmp_path), "--epochs", "1", "resnet20"]) == 0
    assert json.loads((tmp_path / "manifest.json").read_text())["networks"].keys() == {"resnet20"}
