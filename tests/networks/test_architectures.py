"""Architectures: depth, shapes, covered modules, traceability, random state."""

import subprocess
import sys

import pytest
import torch
from torch import fx, nn

from qnotes.errors import QnotesError
from qnotes.networks import _torchvision
from qnotes.networks.architectures import FULL, SMALL, BasicBlock, seeded, small_resnet

COVERED = (
    nn.Conv2d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.ReLU6,
    nn.AdaptiveAvgPool2d,
    nn.MaxPool2d,
    nn.Flatten,
    nn.Linear,
    nn.Dropout,
    nn.Identity,
)
DEPTH = {"mobilenet_v2": 53, "mobilenet_v2_x0_25": 53, "mobilenet_v2_x0_5": 53} | {
    f"resnet{n}": n for n in (18, 20, 32, 34, 44, 50, 56, 101, 110, 152)
}
FUNCTIONS = {"add", "iadd", "flatten", "adaptive_avg_pool2d"}


def affine_layers_on_main_path(model):
    layers = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [name for name in layers if "shortcut" not in name and "downsample" not in name]


@pytest.mark.parametrize("name", list(SMALL))
def test_small_networks_map_images_to_ten_scores(name):
    model = SMALL[name].build()
    assert not model.training
    with torch.no_grad():
        assert model(torch.zeros(3, 1, 32, 32)).shape == (3, 10)


@pytest.mark.parametrize("name", DEPTH)
def test_nominal_depth(name):
    architecture = (SMALL | FULL)[name]
    with torch.device("meta"):  # only the structure: initializing ResNet-152 takes seconds
        model = architecture.builder(**architecture.arguments)
    assert len(affine_layers_on_main_path(model)) == DEPTH[name]


def test_every_architecture_has_a_depth_in_this_test():
    assert DEPTH.keys() == SMALL.keys() | FULL.keys()


@pytest.mark.parametrize("name", [*SMALL, "resnet18", "mobilenet_v2"])
def test_traceable_and_made_of_covered_operations(name):
    traced = fx.symbolic_trace((SMALL | FULL)[name].build())
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        if node.op == "call_module":
            assert type(modules[node.target]) in COVERED
        else:
            functional = node.op == "call_function" and node.target.__name__ in FUNCTIONS
            assert functional or node.op in ("placeholder", "output"), node


def test_width_of_the_small_networks():
    assert SMALL["resnet20"].build().fc.in_features == 32
    stems = {name: SMALL[name].build().features[0][0] for name in SMALL if "mobile" in name}
    assert stems["mobilenet_v2_x0_25"].out_channels == 8
    assert stems["mobilenet_v2_x0_5"].out_channels == 16
    assert all(stem.stride == (1, 1) and stem.in_channels == 1 for stem in stems.values())


def test_mobilenet_keeps_a_feature_map_of_4_by_4():
    model = SMALL["mobilenet_v2_x0_25"].build()
    with torch.no_grad():
        assert model.features(torch.zeros(1, 1, 32, 32)).shape == (1, 1280, 4, 4)


def test_block_is_what_its_formula_says():
    block = BasicBlock(3, 5, stride=2).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        inner = torch.relu(block.bn1(block.conv1(x)))
        expected = torch.relu(block.bn2(block.conv2(inner)) + block.shortcut(x))
        assert torch.equal(block(x), expected)
    assert expected.shape == (2, 5, 4, 4)


def test_shortcut_is_a_projection_only_where_the_shape_changes():
    model = SMALL["resnet32"].build()
    projections = [n for n, m in model.named_modules() if n.endswith("shortcut.0")]
    assert projections == ["stage2.0.shortcut.0", "stage3.0.shortcut.0"]


def test_build_is_seeded_and_leaves_the_global_state():
    before = torch.get_rng_state()
    first, again, other = (SMALL["resnet20"].build(seed=s).conv1.weight for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True, 2**63])
def test_bad_seed(seed):
    with pytest.raises(QnotesError, match="seed must be an integer"), seeded(seed):
        pass


@pytest.mark.parametrize("depth", [2, 9, 21, -4])
def test_bad_depth(depth):
    with pytest.raises(QnotesError, match=r"6n \+ 2"):
        small_resnet(depth=depth)


# -- the import of torchvision ---------------------------------------------------------------------


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.medium
def test_torchvision_imports_after_a_failed_attempt_and_stays_imported():
    result = _python(
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass\n"
        "from qnotes.networks._torchvision import torchvision as ours\n"
        "import torchvision, torchvision.transforms\n"
        "assert ours is torchvision\n"
        "torchvision.models.mobilenet_v2(weights=None)"
    )
    assert result.returncode == 0, result.stderr


def test_working_torchvision_is_left_alone(monkeypatch):
    declared = []
    monkeypatch.setattr(_torchvision, "_declare_missing_operators", lambda: declared.append(1))
    assert _torchvision._import() is _torchvision.torchvision
    assert declared == []


def test_other_failures_of_the_import_are_not_hidden(monkeypatch):
    def fail(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(_torchvision.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        _torchvision._import()
