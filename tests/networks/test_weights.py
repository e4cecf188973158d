"""Loading named networks from the three sources, and every way in which it can fail."""

import hashlib
import json
import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from qnotes.errors import QnotesError, WeightsUnavailable
from qnotes.files import data_folder
from qnotes.networks import weights as module
from qnotes.networks._torchvision import torchvision
from qnotes.networks.architectures import FULL, SMALL, STORED
from qnotes.networks.digits import digits
from qnotes.networks.photographs import photographs
from qnotes.networks.weights import (
    input_shape,
    load,
    names,
    preprocessing,
    provenance,
    read_manifest,
)
from qnotes.observation import accuracy

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(autouse=True)
def own_data_folder(monkeypatch):
    monkeypatch.delenv("QNOTES_DATA", raising=False)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of one checkpoint and the manifest, that a test may damage."""
    for file in ("manifest.json", "resnet20.safetensors"):
        shutil.copy(DATA / file, tmp_path)
    monkeypatch.setenv("QNOTES_DATA", str(tmp_path))
    return tmp_path


# -- names and shapes ------------------------------------------------------------------------------


def test_names_of_each_source():
    assert names() == names("digits") == tuple(SMALL)
    assert names("imagenet") == (*STORED, *FULL)
    assert set(names("random")) == {*SMALL, *STORED, *FULL}


def test_input_shapes():
    assert input_shape("resnet20") == (1, 1, 32, 32)
    assert input_shape("resnet20", "random") == (1, 1, 32, 32)
    assert input_shape("mobilenet_v2", "imagenet") == (1, 3, 224, 224)


@pytest.mark.parametrize("function", [load, lambda n, weights: input_shape(n, weights)])
@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet-20", "digits", r"unknown network 'resnet-20'.*known are resnet20, .*'resnet20'\?"),
        ("ResNet20", "digits", r"Did you mean 'resnet20'\?"),
        ("resnet50", "digits", "resnet50 exists with weights='imagenet' and weights='random'"),
        ("resnet20", "imagenet", "known are mobilenet_v2_features.*exists with weights='digits'"),
        ("alexnet", "random", "unknown network 'alexnet'"),
        (None, "digits", "unknown network None"),
        (
            "resnet20",
            "cifar",
            "unknown source of weights 'cifar'; .*'digits', 'imagenet', 'random'",
        ),
        ("resnet20", None, "unknown source of weights None"),
    ],
)
def test_unknown_names(function, name, weights, message):
    with pytest.raises(QnotesError, match=message):
        function(name, weights=weights)


# -- digits ----------------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("name", list(SMALL))
def test_stored_network_has_the_accuracy_of_the_manifest(name):
    model = load(name)
    assert not model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    measured = accuracy(model, *digits("test"))
    images = 599
    # Another processor may round the other way on an image that two digits almost share.
    assert (
        abs(measured - read_manifest(DATA / "manifest.json")[name]["test_accuracy"]) < 1.5 / images
    )
    assert measured >= 0.97


def test_manifest_describes_every_network():
    manifest = read_manifest(DATA / "manifest.json")
    assert tuple(manifest) == (*SMALL, *STORED)
    for name, entry in manifest.items():
        content = (DATA / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        built = (SMALL | STORED)[name].build()
        assert entry["parameters"] == sum(p.numel() for p in built.parameters())
    for name, entry in ((name, manifest[name]) for name in SMALL):
        assert entry["architecture"] == {
            "name": SMALL[name].builder.__name__,
            "arguments": SMALL[name].arguments,
        }
        assert entry["versions"].keys() == {"python", "torch", "torchvision", "scikit-learn"}
        assert isinstance(entry["seed"], int) and entry["epochs"] > 0


def test_data_folder_is_small_and_holds_nothing_else():
    files = {
        "README.md",
        "manifest.json",
        "falsification.json",
        "attacked.csv",
        "tiny_truth.csv",
        "profiles",
        "kept",
        "train.py",
        "measure.py",
        "tables.py",
        "convert.py",
        "measure_errors.py",
        "open_nsfw.py",
        "measure_architectures.py",
        "architectures.csv",
        "errors.csv",
        "measure_promised.py",
        "promised.csv",
        "measure_certified.py",
        "certified.csv",
        "measure_around.py",
        "__init__.py",
        "around_an_image.csv",
        "around_an_image.safetensors",
        "around_an_image_resnet20.safetensors",
        "paper_numbers.csv",
        "LICENSE-weights.txt",
    }
    files |= {f"{name}.safetensors" for name in (*SMALL, *STORED)}
    assert {path.name for path in DATA.iterdir()} - {"__pycache__"} == files
    assert sum(path.stat().st_size for path in DATA.rglob("*")) < 40e6


def test_loading_leaves_the_random_state():
    before = torch.get_rng_state()
    load("resnet20")
    load("resnet20", weights="random", seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_two_loads_share_nothing():
    first, second = load("resnet20"), load("resnet20")
    with torch.no_grad():
        first.conv1.weight.zero_()
    assert second.conv1.weight.abs().sum() > 0


def test_data_folder_can_be_named(copy):
    assert data_folder() == copy
    x = digits("test")[0][:2]
    with torch.no_grad():
        assert load("resnet20")(x).shape == (2, 10)


def test_one_flipped_bit_is_noticed(copy):
    path = copy / "resnet20.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    expected = read_manifest(copy / "manifest.json")["resnet20"]["sha256"]
    with pytest.raises(
        WeightsUnavailable, match=f"expects sha256 {expected}, the file has {found}"
    ):
        load("resnet20")


def test_missing_checkpoint(copy):
    with pytest.raises(
        WeightsUnavailable, match=r"'resnet32' is missing.*resnet32\.safetensors.*make"
    ):
        load("resnet32")


def test_missing_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QNOTES_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsUnavailable, match=r"nowhere.*`make checkpoints`.*QNOTES_DATA"):
        load("resnet20")


def test_missing_manifest(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(WeightsUnavailable, match=r"no manifest: no file .*manifest\.json"):
        load("resnet20")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"networks": 3}', '{"other": {}}'])
def test_damaged_manifest(copy, content):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(WeightsUnavailable, match=r"manifest\.json"):
        load("resnet20")


@pytest.mark.parametrize("networks", [{}, {"resnet20": {"file": "resnet20.safetensors"}}])
def test_manifest_without_the_network_or_its_hash(copy, networks):
    (copy / "manifest.json").write_text(json.dumps({"networks": networks}))
    with pytest.raises(WeightsUnavailable, match="no entry with file and sha256 for 'resnet20'"):
        load("resnet20")


def _enter(folder, content):
    """Store other bytes as the checkpoint of resnet20, with their right hash in the manifest."""
    (folder / "resnet20.safetensors").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["networks"]["resnet20"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_weights_that_do_not_fit(copy):
    state = load_file(copy / "resnet20.safetensors")
    state["fc.weight"] = torch.zeros(10, 7)
    save_file(state, copy / "other.safetensors")
    _enter(copy, (copy / "other.safetensors").read_bytes())
    with pytest.raises(WeightsUnavailable, match=r"do not fit the SmallResNet(.|\n)*fc\.weight"):
        load("resnet20")


def test_file_of_another_format(copy):
    _enter(copy, b"not a checkpoint")
    with pytest.raises(WeightsUnavailable, match="no safetensors file"):
        load("resnet20")


def test_provenance_of_digits():
    entry = read_manifest(DATA / "manifest.json")["resnet20"]
    found = provenance("resnet20")
    assert found["weights"] == "digits" and found["name"] == "resnet20"
    for key in ("file", "sha256", "seed", "test_accuracy"):
        assert found[key] == entry[key]


# -- random ----------------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "resnet56", "mobilenet_v2_x0_25"])
def test_random_weights_follow_the_seed(name):
    first, again, other = (
        load(name, weights="random", seed=seed).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    weights = next(key for key in first if key.endswith("weight"))
    assert not torch.equal(first[weights], other[weights])


@pytest.mark.parametrize("name", ["resnet18", "resnet110"])
def test_random_batch_norm_is_calibrated(name):
    model = load(name, weights="random")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.momentum == 0.1 and not norm.training for norm in norms)
    x = module.noise(input_shape(name, "random"), 0)
    seen = {}
    for norm in norms:
        norm.register_forward_hook(lambda m, _, out: seen.__setitem__(m, out.clone()))
    with torch.no_grad():
        model(x)
    for out in seen.values():  # normalized on the images it was calibrated with
        assert out.mean(dim=(0, 2, 3)).abs().max() < 0.1  # uncalibrated: 5 and more
        assert (out.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1


def test_noise_lies_in_the_domain_and_is_seeded():
    noise = module.noise((1, 3, 224, 224), 5)
    assert noise.shape == (2, 3, 224, 224)
    assert noise.abs().max() <= 1
    assert torch.equal(noise, module.noise((1, 3, 224, 224), 5))


def test_provenance_of_random():
    found = provenance("resnet152", "random", 7)
    assert found["seed"] == 7
    assert found["test_accuracy"] is None and found["file"] is None
    assert (
        found.keys() == provenance("resnet20").keys() == provenance("resnet18", "imagenet").keys()
    )


def test_bad_seed():
    with pytest.raises(QnotesError, match="seed must be an integer"):
        load("resnet20", weights="random", seed=-1)


# -- stored: ImageNet's weights that packages ship -------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "outputs"), [("mobilenet_v2_features", 1280), ("efficientnet_lite0", 1000)]
)
def test_imagenet_weights_are_there_without_a_network(name, outputs, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    model = load(name, weights="imagenet")
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, outputs)
    about = provenance(name, "imagenet")
    assert len(about["sha256"]) == 64 and "Apache-2.0" in about["source"]
    assert about["file"] == f"{name}.safetensors" and about["test_accuracy"] is None


@pytest.mark.medium
def test_classes_of_photographs():
    """The classes of ImageNet: what the photographs show."""
    kind = preprocessing("efficientnet_lite0", "imagenet")
    model = load("efficientnet_lite0", weights="imagenet")
    shown = {"tiger cat": 282, "palace": 698, "daisy": 985}
    found = model(photographs("test", preprocessing=kind)).argmax(1)
    assert found.tolist() == list(shown.values())


@pytest.mark.medium
def test_mobilenet_has_the_features_of_torchvision():
    """Where torchvision's own weights are there, names and shapes are the same."""
    ours = load("mobilenet_v2_features", weights="imagenet").features.state_dict()
    theirs = torchvision.models.mobilenet_v2().features.state_dict()
    assert [(k, v.shape) for k, v in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


def test_damaged_imagenet_weights(tmp_path, monkeypatch):
    shutil.copy(DATA / "manifest.json", tmp_path)
    (tmp_path / "efficientnet_lite0.safetensors").write_bytes(b"half")
    monkeypatch.setenv("QNOTES_DATA", str(tmp_path))
    with pytest.raises(WeightsUnavailable, match=r"lite0\.safetensors is damaged.*make weights"):
        load("efficientnet_lite0", weights="imagenet")
    with pytest.raises(WeightsUnavailable, match="'mobilenet_v2_features' is missing"):
        load("mobilenet_v2_features", weights="imagenet")


# -- imagenet: a local hub folder, and files that this test made -----------------------------------


@pytest.fixture(scope="module")
def pretrained():
    """A state dict that fits mobilenet_v2, as bytes, with its sha256."""
    import io

    stream = io.BytesIO()
    torch.save(load("mobilenet_v2", weights="random", seed=11).state_dict(), stream)
    content = stream.getvalue()
    return content, hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def _publish(monkeypatch, url):
    """Let torchvision believe that the weights of mobilenet_v2 are at another address."""
    entry = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
    monkeypatch.setattr(entry.value, "url", url)


def _offline(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no network here")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)


def _assert_pretrained(model):
    expected = load("mobilenet_v2", weights="random", seed=11).state_dict()
    found = model.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not model.training


def test_imagenet_reads_the_hub_folder_without_network(hub, monkeypatch, pretrained):
    content, digest = pretrained
    file = f"mobilenet_v2-{digest[:8]}.pth"
    (hub / file).write_bytes(content)
    _publish(monkeypatch, f"https://download.example/{file}")
    _offline(monkeypatch)
    _assert_pretrained(load("mobilenet_v2", weights="imagenet"))


def test_imagenet_downloads_into_the_hub_folder(hub, tmp_path, monkeypatch, pretrained):
    content, digest = pretrained
    source = tmp_path / f"mobilenet_v2-{digest[:8]}.pth"
    source.write_bytes(content)
    _publish(monkeypatch, source.as_uri())
    _assert_pretrained(load("mobilenet_v2", weights="imagenet"))
    assert (hub / source.name).read_bytes() == content


def test_imagenet_refuses_a_damaged_download(hub, tmp_path, monkeypatch, pretrained):
    source = tmp_path / "mobilenet_v2-0badc0de.pth"
    source.write_bytes(pretrained[0])
    _publish(monkeypatch, source.as_uri())
    with pytest.raises(WeightsUnavailable, match=r"invalid hash value .*0badc0de"):
        load("mobilenet_v2", weights="imagenet")
    assert list(hub.iterdir()) == []


def test_imagenet_refuses_a_damaged_file_in_the_hub_folder(hub, monkeypatch, pretrained):
    content, digest = pretrained
    path = hub / f"mobilenet_v2-{digest[:8]}.pth"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    _publish(monkeypatch, f"https://download.example/{path.name}")
    with pytest.raises(
        WeightsUnavailable, match=f"{path.name} is damaged.*{digest[:8]}.*Delete it"
    ):
        load("mobilenet_v2", weights="imagenet")


def test_imagenet_offline_is_one_clear_sentence(hub, monkeypatch):
    _offline(monkeypatch)
    with pytest.raises(WeightsUnavailable) as caught:
        load("resnet18", weights="imagenet")
    message = str(caught.value)
    assert "\n" not in message and message.count(". ") == 0
    for part in ("resnet18-f37072fd.pth", str(hub), "put the file there", '"random"', '"digits"'):
        assert part in message


def test_imagenet_weights_that_do_not_fit(hub, monkeypatch, tmp_path):
    torch.save({"some.weight": torch.zeros(1)}, tmp_path / "state")
    content = (tmp_path / "state").read_bytes()
    path = hub / f"mobilenet_v2-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path.write_bytes(content)
    _publish(monkeypatch, f"https://download.example/{path.name}")
    with pytest.raises(WeightsUnavailable, match=f"{path.name} do not fit the MobileNetV2"):
        load("mobilenet_v2", weights="imagenet")


@pytest.mark.parametrize("name", list(FULL))
def test_provenance_of_imagenet(name):
    found = provenance(name, "imagenet")
    assert found["file"].startswith(name) and found["sha256"] in found["file"]
    assert len(found["sha256"]) == 8
    assert "IMAGENET1K_V1" in found["source"]
    assert 0.69 < found["test_accuracy"] < 0.79
