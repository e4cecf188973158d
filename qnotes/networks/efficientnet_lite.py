"""EfficientNet-Lite0: the EfficientNet without gates, made of covered operations."""

from collections import OrderedDict

from torch import Tensor, nn

from qnotes.networks._torchvision import torchvision

# (repeats, kernel, stride, expansion, channels) of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280
EPSILON = 1e-3  # of every batch norm


def efficientnet_lite0(*, classes: int = 1000) -> nn.Module:
    """EfficientNet-Lite0 for (n, 3, 224, 224), outputs (n, classes).

    EfficientNet-B0 (Tan and Le 2019) as its authors released it for mobile devices: without
    squeeze-and-excitation, ReLU6 for Swish. Trained in TensorFlow, so where the stride is 2 an even
    image gets one zero more after it than before it, which a convolution of torch cannot say:
    `torch.nn.ZeroPad2d` does.
    """
    width, blocks = STEM, []
    for repeats, kernel, stride, expansion, channels in STAGES:
        for step in [stride] + [1] * (repeats - 1):
            blocks.append(Block(width, channels, kernel=kernel, stride=step, expansion=expansion))
            width = channels
    layers = {
        "stem": layer(3, STEM, kernel=3, stride=2),
        "blocks": nn.Sequential(*blocks),
        "head": layer(width, HEAD),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(0.2),
        "fc": nn.Linear(HEAD, classes),
    }
    return nn.Sequential(OrderedDict(layers))


class Block(nn.Module):
    """The inverted residual of MobileNetV2, with any kernel; the identity skips it where it can."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = layer(inputs, inner) if expansion > 1 else nn.Identity()
        self.depthwise = layer(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = layer(inner, outputs, activation=None)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        h = self.project(self.depthwise(self.expand(x)))
        return h + x if self.skips else h


def layer(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """Padding, convolution, batch norm and activation; an even image is divided by the stride."""
    zeros = kernel - stride  # before and after, together
    before, after = zeros // 2, zeros - zeros // 2
    convolution = torchvision.ops.Conv2dNormActivation(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=before if before == after else 0,
        groups=groups,
        norm_layer=lambda channels: nn.BatchNorm2d(channels, eps=EPSILON),
        activation_layer=activation,
        inplace=None if activation is None else False,
    )
    if before == after:
        return convolution
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), *convolution)
