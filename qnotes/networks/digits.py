"""The handwritten digits that ship with scikit-learn, as 32×32 images in [-1, 1]."""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from qnotes.errors import QnotesError

SPLITS = ("train", "test")
_SEED = 0
_TEST_SHARE = 1 / 3
_BRIGHTEST = 16  # the pixels of the data set are integers from 0 to 16


def digits(split: str) -> tuple[Tensor, Tensor]:
    """Images and labels of one part of the digits, split once and for all, a third held out.

    ``split`` is "train" (1198 images) or "test" (599). Images are float32 (n, 1, 32, 32) in
    [-1, 1], upsampled bilinearly from 8×8; labels are int64 (n,), 0 to 9. The split is stratified
    by digit and the same on every call; the tensors are fresh copies. Raises
    :class:`~qnotes.errors.QnotesError` for another ``split``.

    Source: scikit-learn's copy of the test part of *Optical Recognition of Handwritten Digits*
    (Alpaydin and Kaynak 1998, UCI Machine Learning Repository).
    """
    if split not in SPLITS:
        raise QnotesError(f"unknown split {split!r} of the digits; pass 'train' or 'test'.")
    images, labels = _all_digits()
    rows = _rows(split)
    return images[rows], labels[rows]


@cache
def _all_digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # slow to import, and most of qnotes needs it not

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / _BRIGHTEST * 2 - 1
    images = interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    # Weights of the interpolation are rounded, so their sum may pass 1 by a last digit.
    return images.clamp(-1, 1), torch.tensor(data.target, dtype=torch.int64)


@cache
def _rows(split: str) -> Tensor:
    from sklearn.model_selection import train_test_split

    labels = _all_digits()[1].numpy()
    train, test = train_test_split(
        range(len(labels)), test_size=_TEST_SHARE, stratify=labels, random_state=_SEED
    )
    return torch.tensor(sorted(train if split == "train" else test))
