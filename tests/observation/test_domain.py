"""Domains, and the random points of them."""

import pytest
import torch

import qnotes as qn
from qnotes.observation.domain import Domain, make_domain

IMAGE = (1, 2, 6, 5)


def test_random_inputs():
    inputs = qn.random_inputs((1, 2, 3), count=10, radius=2.0, seed=1)
    assert inputs.shape == (10, 2, 3) and inputs.dtype == torch.float64
    assert inputs[:5].abs().max() < 2 and (inputs[5:].abs() == 2).all()
    assert torch.equal(inputs, qn.random_inputs((7, 2, 3), count=10, radius=2.0, seed=1))
    assert not torch.equal(inputs, qn.random_inputs((1, 2, 3), count=10, radius=2.0, seed=2))


def test_the_whole_domain():
    domain = make_domain(IMAGE, 2.0, None, None)
    assert (domain.low == -2).all() and (domain.high == 2).all() and domain.low.shape == IMAGE


def test_a_ball_is_not_cut_unless_a_box_is_given():
    center = torch.full(IMAGE, 0.9)
    whole = make_domain(None, 0.25, center, None)
    cut = make_domain(None, 0.25, center, (-1, 1))
    assert whole.high.max() > 1.1 and (cut.high == 1).all() and torch.equal(whole.low, cut.low)


def test_a_box_may_have_a_side_for_each_channel():
    low, high = (torch.tensor(side).view(1, 2, 1, 1) for side in ([-1.0, -2.0], [0.5, 3.0]))
    domain = make_domain(IMAGE, 2.5, None, (low, high))
    assert domain.low[0, :, 0, 0].tolist() == [-1, -2] and domain.low.shape == IMAGE
    assert domain.high[0, :, 0, 0].tolist() == [0.5, 2.5]
    with pytest.raises(qn.QnotesError, match=r"box must be .* of shape \(1, channels, 1, 1\)"):
        make_domain(IMAGE, 2.5, None, (low, -high))
    with pytest.raises(qn.QnotesError, match="box must be"):
        make_domain(IMAGE, 2.5, None, (torch.zeros(3, 1, 1), torch.ones(3, 1, 1)))


def test_placed_and_projected():
    domain = Domain(torch.tensor([[0.0, -3.0]]), torch.tensor([[1.0, 1.0]]))
    unit = torch.tensor([[-1.0, 1.0], [0.0, 0.5]])
    assert domain.placed(unit).tolist() == [[0, 1], [0.5, 0]]
    assert domain.project(torch.tensor([[7.0, -7.0]])).tolist() == [[1, -3]]


@pytest.mark.parametrize("shape", [(1, 7), (1, 2, 9), IMAGE, (1, 1, 3, 4, 5)])
def test_kinds_of_random_points(shape):
    domain = make_domain(shape, 0.3, None, None)
    found = domain.random(20, torch.Generator().manual_seed(0))
    assert set(found) == {"uniform", "corner"} | ({"patches"} if len(shape) > 2 else set())
    assert sum(map(len, found.values())) == 20
    assert all(points.shape[1:] == shape[1:] for points in found.values())
    assert all(points.abs().max() <= 0.3 for points in found.values())
    assert (found["corner"].abs() == 0.3).all()
    assert (found["uniform"].abs() < 0.3).all()


def test_patches_are_of_one_colour():
    found = make_domain((1, 2, 16, 16), 1.0, None, None).random(24, torch.Generator())["patches"]
    colours = {len(image[0].unique()) for image in found}
    assert colours == {1, 4, 16, 64}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points(count):
    found = make_domain(IMAGE, 1.0, None, None).random(count, torch.Generator())
    assert sum(map(len, found.values())) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 1.0, None, None), "give input_shape, such as .* or center, an input"),
        (((3,), 1.0, None, None), r"input_shape must be positive integers.*got \(3,\)"),
        ((7, 1.0, None, None), "input_shape must be positive integers.*got 7"),
        ((IMAGE, -1.0, None, None), "radius must be a positive finite number; got -1"),
        ((IMAGE, 1.0, None, (1, -1)), r"box must be two numbers, the smaller first.*\(1, -1\)"),
        ((IMAGE, 1.0, None, 3), "box must be two numbers.*got 3"),
        ((IMAGE, 1.0, None, (2, 3)), r"box=\(2, 3\) leaves nothing of the inputs within 1 of"),
        ((None, 1.0, torch.ones(2, 3), None), r"center must be one input.*got \(2, 3\)"),
        ((None, 1.0, [1.0], None), "center must be one input as a tensor.*got list"),
        ((IMAGE, 1.0, torch.ones(1, 3), None), "leave input_shape out"),
        ((None, 1.0, torch.full((1, 2), torch.nan), None), "center has values that are NaN"),
    ],
)
def test_domains_that_are_none(arguments, message):
    with pytest.raises(qn.QnotesError, match=message):
        make_domain(*arguments)
