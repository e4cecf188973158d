"""From pixels to inputs: the box of all images, and photographs."""

import pytest
import torch

import qnotes as qn
from qnotes.networks.photographs import PHOTOGRAPHS
from qnotes.networks.preprocessing import DIGITS, IMAGENET, LITE, PLAIN, Preprocessing

KINDS = (DIGITS, IMAGENET, LITE, PLAIN)


def test_each_network_has_its_own():
    assert qn.preprocessing("resnet20") is DIGITS
    assert qn.preprocessing("mobilenet_v2_features", "imagenet") is IMAGENET
    assert qn.preprocessing("efficientnet_lite0", "imagenet") is LITE
    assert qn.preprocessing("resnet18", "imagenet") is IMAGENET
    assert qn.preprocessing("resnet18", "random") is PLAIN  # it has seen no images
    assert qn.preprocessing("resnet20", "random") is DIGITS
    with pytest.raises(qn.QnotesError, match="unknown network 'alexnet'"):
        qn.preprocessing("alexnet", "imagenet")


def test_radii():
    assert DIGITS.radius == PLAIN.radius == 1 and LITE.radius == pytest.approx(1, abs=1e-6)
    assert IMAGENET.radius == pytest.approx((1 - 0.406) / 0.225, rel=1e-6)
    assert IMAGENET.radii == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
    darkest = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert IMAGENET.low.flatten().tolist() == pytest.approx(darkest)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_image_lies_in_the_box(kind, dtype):
    pixels = torch.arange(256, dtype=dtype).div(255).expand(1, len(kind.mean), 1, 256)
    inputs = kind.normalized(pixels).double()
    assert (kind.low <= inputs).all() and (inputs <= kind.high).all()
    assert inputs.abs().max() <= kind.radius


def test_as_torchvision_does():
    from torchvision.transforms import v2  # which `qnotes` makes importable on every machine

    image = torch.randint(256, (3, 300, 400), dtype=torch.uint8, generator=torch.Generator())
    theirs = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.Normalize(IMAGENET.mean, IMAGENET.deviation),
        ]
    )
    assert torch.allclose(IMAGENET(image), theirs(image), atol=1e-6)
    assert torch.allclose(IMAGENET(image.float() / 255), IMAGENET(image), atol=1e-6)


@pytest.mark.parametrize("images", [torch.zeros(1, 30, 30), torch.zeros(30, 30), [[0.0]]])
def test_other_shapes_are_refused(images):
    with pytest.raises(qn.QnotesError, match="images must be a tensor of shape"):
        IMAGENET(images)


def test_numbers_that_are_no_pixels_are_refused():
    with pytest.raises(qn.QnotesError, match="bytes, or numbers from 0 to 1"):
        IMAGENET(torch.full((3, 9, 9), 255.0))


@pytest.mark.medium
def test_photographs():
    whole = {split: qn.photographs(split, preprocessing=IMAGENET) for split in PHOTOGRAPHS}
    assert [len(images) for images in whole.values()] == [4, 3]
    for images in whole.values():
        assert images.shape[1:] == (3, 224, 224) and images.dtype == torch.float32
        assert images.abs().max() <= IMAGENET.radius and images.std() > 0.5


@pytest.mark.medium
def test_draws_of_photographs_repeat_and_are_independent_of_others():
    state = torch.get_rng_state()
    small = Preprocessing(IMAGENET.mean, IMAGENET.deviation, resize=36, crop=32)
    first, again, other = (
        qn.photographs("test", preprocessing=small, count=5, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (5, 3, 32, 32) and first.abs().max() <= small.radius
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_counts(count):
    with pytest.raises(qn.QnotesError, match="count must be a whole number"):
        qn.photographs("test", preprocessing=IMAGENET, count=count)


def test_wrong_splits_and_networks():
    with pytest.raises(qn.QnotesError, match="unknown split 'all'"):
        qn.photographs("all", preprocessing=IMAGENET)
    with pytest.raises(qn.QnotesError, match="three channels"):
        qn.photographs("test", preprocessing=DIGITS)
