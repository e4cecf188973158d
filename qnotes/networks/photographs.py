"""Photographs that ship with scikit-image and scikit-learn: real inputs, without a download."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from qnotes.errors import QnotesError, check_whole
from qnotes.networks.architectures import seeded
from qnotes.networks.preprocessing import Preprocessing

#: By split, so that what a quantizer looks at is not what errors are measured on.
PHOTOGRAPHS = {
    "train": ("astronaut", "coffee", "motorcycle", "rocket"),
    "test": ("chelsea", "china", "flower"),
}
#: Share of a photograph's area that a random crop has.
AREA = (0.25, 1.0)


def photographs(
    split: str, *, preprocessing: Preprocessing, count: int | None = None, seed: int = 0
) -> Tensor:
    """Photographs as inputs of a network, of shape (images, 3, crop, crop), float32.

    Without ``count`` each photograph of the split once: resized, and cropped in the middle. With it
    so many independent draws: a photograph of the split at random, a random part of it that has a
    quarter of its area or more (`torchvision.transforms.v2.RandomResizedCrop`), mirrored or not.
    They are a distribution of inputs, and a narrow one: few scenes. None of the networks was
    trained on them as far as is known; no labels come with them.

    Args:
        split: ``train`` (astronaut, coffee, motorcycle, rocket) or ``test`` (chelsea, china,
            flower). China and flower ship with scikit-learn, the others with scikit-image.
        preprocessing: of the network, from `qnotes.preprocessing`.
        count: how many random parts.
        seed: of their draw.

    Raises:
        QnotesError: for another split, for fewer than one, or a network of gray images.
    """
    if split not in PHOTOGRAPHS:
        raise QnotesError(f"unknown split {split!r} of the photographs; pass 'train' or 'test'.")
    if len(preprocessing.mean) != 3:
        raise QnotesError("photographs have three channels; this network reads others")
    names = PHOTOGRAPHS[split]
    if count is None:
        return torch.stack([preprocessing(_photograph(name)) for name in names])
    check_whole("count", count, 1)
    from torchvision.transforms import v2 as transforms  # slow to import

    drawn = transforms.Compose(
        [
            transforms.RandomResizedCrop(preprocessing.crop, scale=AREA, antialias=True),
            transforms.RandomHorizontalFlip(),
        ]
    )
    with seeded(seed):
        which = torch.randint(len(names), (count,)).tolist()
        parts = torch.stack([drawn(_photograph(names[index])) for index in which])
    return preprocessing.normalized(parts.float() / 255)


@cache
def _photograph(name: str) -> Tensor:
    """Bytes of shape (3, h, w)."""
    return torch.from_numpy(_pixels(name).copy()).permute(2, 0, 1)


def _pixels(name: str):
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return load_sample_image(f"{name}.jpg")
    import skimage.data

    if name == "motorcycle":
        return skimage.data.stereo_motorcycle()[0]
    return getattr(skimage.data, name)()
