"""The digits: shapes, range, split."""

import pytest
import torch
from sklearn.datasets import load_digits

from qnotes.errors import QnotesError
from qnotes.networks.digits import digits


@pytest.mark.parametrize(("split", "count"), [("train", 1198), ("test", 599)])
def test_shapes_types_and_range(split, count):
    images, labels = digits(split)
    assert images.shape == (count, 1, 32, 32)
    assert images.dtype == torch.float32
    assert labels.shape == (count,)
    assert labels.dtype == torch.int64
    assert images.min() == -1 and images.max() == 1


def test_split_is_a_partition_of_the_data_set():
    train, test = digits("train"), digits("test")
    labels = torch.cat([train[1], test[1]])
    assert torch.equal(labels.bincount(), torch.tensor(load_digits().target).bincount())
    images = torch.cat([train[0], test[0]]).flatten(1)
    original = {tuple(row) for row in load_digits().data}
    assert len(images.unique(dim=0)) == len(original)


def test_split_is_stratified():
    shares = digits("test")[1].bincount() / (
        digits("test")[1].bincount() + digits("train")[1].bincount()
    )
    assert (shares - 1 / 3).abs().max() < 0.01


def test_upsampling_keeps_the_picture():
    images, labels = digits("test")
    small = torch.nn.functional.avg_pool2d(images, 4).flatten(1)
    originals = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
    nearest = torch.cdist(small, originals).argmin(dim=1)
    assert torch.equal(torch.tensor(load_digits().target)[nearest], labels)


def test_same_split_every_time_and_fresh_tensors():
    first, again = digits("test")[0], digits("test")[0]
    assert torch.equal(first, again)
    first.zero_()
    assert not torch.equal(first, digits("test")[0])


@pytest.mark.parametrize("split", ["validation", "", None, 0])
def test_unknown_split(split):
    with pytest.raises(QnotesError, match=r"unknown split .*'train' or 'test'"):
        digits(split)
