"""From pixels to the numbers that a network reads, and the box that they fill."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qnotes.errors import QnotesError


@dataclass(frozen=True)
class Preprocessing:
    """What a network was trained to expect of an image.

    A pixel p in [0, 1] of channel c becomes (p - mean_c) / deviation_c, so that every image lies in
    a box: between `low` and `high`, channel by channel, and in [-radius, radius] altogether.

    Attributes:
        mean: of each channel.
        deviation: of each channel.
        resize: shorter side of an image before it is cropped, in pixels.
        crop: side of the square that the network reads.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    resize: int
    crop: int

    def __call__(self, images: Tensor) -> Tensor:
        """Images of shape (..., channels, h, w), bytes or numbers in [0, 1], as float32 inputs."""
        channels = len(self.mean)
        if not isinstance(images, Tensor) or images.dim() < 3 or images.shape[-3] != channels:
            came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise QnotesError(
                f"images must be a tensor of shape (..., {channels}, h, w); got {came}"
            )
        numbers = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        if not (numbers.min() >= 0 and numbers.max() <= 1):  # NaN is refused too
            raise QnotesError("images must be bytes, or numbers from 0 to 1")
        from torchvision.transforms.v2 import functional  # slow to import

        resized = functional.resize(numbers, [self.resize], antialias=True).clamp(0, 1)
        return self.normalized(functional.center_crop(resized, [self.crop]))

    def normalized(self, numbers: Tensor) -> Tensor:
        """Numbers in [0, 1] of shape (..., channels, h, w), channel by channel; no other size."""
        mean, deviation = (self._channels(v).to(numbers) for v in (self.mean, self.deviation))
        return (numbers - mean) / deviation

    @property
    def low(self) -> Tensor:
        """What black becomes, of shape (1, channels, 1, 1), float64."""
        return torch.minimum(*self._extreme(0.0))

    @property
    def high(self) -> Tensor:
        """What white becomes, of shape (1, channels, 1, 1), float64."""
        return torch.maximum(*self._extreme(1.0))

    @property
    def radii(self) -> tuple[float, ...]:
        """The largest absolute number of each channel."""
        largest = torch.maximum(self.low.abs(), self.high.abs())
        return tuple(largest.flatten().tolist())

    @property
    def radius(self) -> float:
        """The largest absolute number that a pixel becomes, so that [-radius, radius] has all."""
        return max(self.radii)

    def _extreme(self, number: float) -> tuple[Tensor, Tensor]:
        """What a number becomes in float32 and in float64, where it rounds otherwise.

        Rounded subtraction and division keep the order, so nothing passes what 0 and 1 become.
        """
        numbers = self._channels([number] * len(self.mean))[None]
        return self.normalized(numbers.float()).double(), self.normalized(numbers)

    def _channels(self, values) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)


#: Of the digits, and of random networks: pixels scaled to [-1, 1].
DIGITS = Preprocessing((0.5,), (0.5,), resize=32, crop=32)
PLAIN = Preprocessing((0.5,) * 3, (0.5,) * 3, resize=256, crop=224)
#: Of torchvision's weights, and of many others: mean and deviation of ImageNet's pixels.
IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize=256, crop=224)
#: Of EfficientNet-Lite: (byte - 127) / 128.
LITE = Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, resize=256, crop=224)
