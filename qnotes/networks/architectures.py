"""The networks that the book looks at: small-image ResNets, MobileNetV2, and torchvision's own.

Every network is made of the operations that the theory covers: convolution, batch norm, ReLU and
ReLU6, average pooling, flatten, linear layers, dropout and sums; all can be traced by torch.fx.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from qnotes.errors import QnotesError, whole
from qnotes.networks._torchvision import torchvision
from qnotes.networks.efficientnet_lite import efficientnet_lite0
from qnotes.networks.preprocessing import DIGITS, IMAGENET, LITE, Preprocessing

DIGITS_SHAPE = (1, 1, 32, 32)
IMAGENET_SHAPE = (1, 3, 224, 224)

# (expansion, channels, repeats, stride) of Sandler et al., Table 2, with the second stage at
# stride 1. Together with the stem at stride 1 the last feature map of a 32×32 image is 4×4.
_SMALL_STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's CPU random numbers seeded, and put the caller's state back after."""
    number = whole(seed)
    if number is None or not 0 <= number < 2**63:
        raise QnotesError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}.")
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed the GPUs as well, which fork_rng does not restore here.
        torch.default_generator.manual_seed(number)
        yield


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: ``relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))``.

    (n, inputs, h, w) to (n, outputs, h / stride, w / stride). The shortcut is the identity where
    the shape stays, and else a 1×1 convolution with batch norm.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu1(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        return self.relu2(h + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class SmallResNet(nn.Module):
    """The ResNet of He et al. (2016, section 4.2) for 32×32 images.

    (n, 1, 32, 32) to (n, classes). A stem, three stages of (depth - 2) / 6 blocks with ``width``,
    2·``width`` and 4·``width`` channels, and a linear layer: ``depth`` affine layers on the main
    path. Where the number of channels changes, the shortcut is a projection (their option B, a
    1×1 convolution with batch norm) and not zero padding (option A): it is then made of
    operations that the theory covers.
    """

    def __init__(self, *, depth: int, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise QnotesError(f"depth of a small ResNet must be 6n + 2 with n ≥ 1, got {depth!r}.")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.stage1 = _stage(width, width, blocks, stride=1)
        self.stage2 = _stage(width, 2 * width, blocks, stride=2)
        self.stage3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * width, classes)
        self.apply(_he_initialization)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride=stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))


def _he_initialization(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def small_resnet(*, depth: int, width: int = 8, classes: int = 10) -> nn.Module:
    """A :class:`SmallResNet`: (n, 1, 32, 32) to (n, classes), ``depth`` = 6n + 2."""
    return SmallResNet(depth=depth, width=width, classes=classes)


def small_mobilenet_v2(*, width: float, classes: int = 10) -> nn.Module:
    """torchvision's MobileNetV2 (Sandler et al. 2018) for small images.

    (n, 1, 32, 32) to (n, classes), 53 affine layers, ReLU6. ``width`` multiplies the channels of
    every stage but the last convolution, which keeps its 1280. The stem reads one channel; stem
    and second stage have stride 1 in place of 2, so that the last feature map is 4×4.
    """
    model = torchvision.models.MobileNetV2(
        num_classes=classes, width_mult=width, inverted_residual_setting=_SMALL_STAGES
    )
    old = model.features[0][0]
    stem = nn.Conv2d(1, old.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out")  # as torchvision does
    model.features[0][0] = stem
    return model


def mobilenet_v2_features() -> nn.Module:
    """torchvision's MobileNetV2 without its classifier: (n, 3, 224, 224) to (n, 1280), pooled."""
    return nn.Sequential(
        OrderedDict(
            features=torchvision.models.mobilenet_v2().features,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )


@dataclass(frozen=True)
class Architecture:
    """A named network: what builds it with which arguments, the shape of one input, and what its
    trained weights expect of an image."""

    builder: Callable[..., nn.Module]
    input_shape: tuple[int, int, int, int]
    preprocessing: Preprocessing
    arguments: dict[str, Any] = field(default_factory=dict)

    def build(self, *, seed: int = 0) -> nn.Module:
        """The network with freshly seeded weights, in eval mode; global random state is kept."""
        with seeded(seed):
            return self.builder(**self.arguments).eval()


SMALL: dict[str, Architecture] = {
    **{
        f"resnet{depth}": Architecture(
            small_resnet, DIGITS_SHAPE, DIGITS, {"depth": depth, "width": 8}
        )
        for depth in (20, 32, 44, 56, 110)
    },
    "mobilenet_v2_x0_25": Architecture(small_mobilenet_v2, DIGITS_SHAPE, DIGITS, {"width": 0.25}),
    "mobilenet_v2_x0_5": Architecture(small_mobilenet_v2, DIGITS_SHAPE, DIGITS, {"width": 0.5}),
}

#: Those whose ImageNet weights are stored here.
STORED: dict[str, Architecture] = {
    "mobilenet_v2_features": Architecture(mobilenet_v2_features, IMAGENET_SHAPE, IMAGENET),
    "efficientnet_lite0": Architecture(efficientnet_lite0, IMAGENET_SHAPE, LITE),
}

get_model = torchvision.models.get_model

FULL: dict[str, Architecture] = {
    name: Architecture(get_model, IMAGENET_SHAPE, IMAGENET, {"name": name, "weights": None})
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2")
}
