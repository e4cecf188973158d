"""Boxes, balls and ellipses of the chapter contain what can occur, and not much more."""

import numpy as np
import pytest

import qnotes as qn
from tests.book.cells import definitions

cells = definitions(
    "signs",
    "box",
    "ball",
    "ellipse",
    "after_relu",
    "good_diagonal",
    "block",
    "three_bounds",
    "blocks",
    "outline",
    "small",
    "truth",
    "certified",
    setup={"seed": 0},
)
SEEDS = range(20)


def discs(random, count=4000):
    """Points of the unit disc, more of them near its edge."""
    points = random.normal(size=(2, count))
    return points / np.linalg.norm(points, axis=0) * random.uniform(0, 1, count) ** 0.1


def slopes(random, shape):
    return np.where(random.random(shape) < 0.5, random.integers(0, 2, shape), random.random(shape))


def reach(points, Q):
    """The largest of δ' Q⁻¹ δ: at most 1 inside of the ellipse."""
    return np.einsum("ip,ip->p", points, np.linalg.solve(Q, points)).max()


def drawn(seed):
    random = np.random.default_rng(seed)
    return random, random.normal(size=(2, 2)), random.normal(size=(2, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_shapes_contain_what_a_layer_and_a_relu_make(seed):
    random, W1, W2 = drawn(seed)
    start = discs(random)
    Z = cells.ellipse(W1, np.eye(2))
    D = cells.good_diagonal(Z, lambda D: np.trace(cells.after_relu(Z, D)))
    cut = slopes(random, start.shape) * (W1 @ start)
    made = W2 @ cut
    assert reach(W1 @ start, Z) <= 1 + 1e-9
    assert reach(cut, cells.after_relu(Z, D)) <= 1 + 1e-9
    assert reach(made, cells.ellipse(W2, cells.after_relu(Z, D))) <= 1 + 1e-9
    assert (abs(made) <= cells.box(W2, cells.box(W1, np.ones(2)))[:, None] + 1e-9).all()
    assert np.linalg.norm(made, axis=0).max() <= cells.ball(W2, cells.ball(W1, 1)) + 1e-9


def test_a_matrix_that_is_too_small_is_noticed():
    """So the test above can fail: without the factor 2 the formula is wrong."""
    found = []
    for seed in SEEDS:
        random, W1, _ = drawn(seed)
        start = discs(random)
        Z = cells.ellipse(W1, np.eye(2))
        D = cells.good_diagonal(Z, lambda D: np.trace(cells.after_relu(Z, D)))  # noqa: B023
        cut = slopes(random, start.shape) * (W1 @ start)
        found.append(reach(cut, cells.after_relu(Z, D) / 2))
    assert min(found) > 1


def test_a_diagonal_below_half_of_Z_is_refused():
    with pytest.raises(AssertionError):
        cells.after_relu(np.diag([1.0, 4.0]), np.eye(2))


def test_multiples_of_the_largest_eigenvalue_lie_between():
    """The exercise: inside of the ball, and around the ellipse before the ReLU."""
    for seed in SEEDS:
        _, W, _ = drawn(seed)
        Z = W @ W.T
        top = np.linalg.eigvalsh(Z).max()
        found = cells.after_relu(Z, top * np.eye(2))
        assert np.linalg.eigvalsh(found).max() == pytest.approx(top)
        assert np.linalg.eigvalsh(found - Z).min() >= -1e-9 * top


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_stay_inside(seed):
    random, A, B = drawn(seed)
    start = discs(random)
    made = start + B @ (slopes(random, start.shape) * (A @ start))
    side, radius, Q = cells.three_bounds(A, B)
    assert reach(made, Q) <= 1 + 1e-9
    assert np.linalg.norm(made, axis=0).max() <= radius + 1e-9
    assert (abs(made) <= side[:, None] + 1e-9).all()
    assert np.sqrt(np.linalg.eigvalsh(Q).max()) <= radius * 1.05  # of a grid of diagonals


def test_a_gradient_step_moves_nothing_apart():
    """The exercise: D = I / c gives the unit ball."""
    for seed in SEEDS:
        _, A, _ = drawn(seed)
        c = 1.7 / np.linalg.norm(A, 2) ** 2
        assert cells.block(A, -c * A.T, np.eye(2) / c) == pytest.approx(np.eye(2), abs=1e-9)


def test_the_first_block_of_the_figure_is_bounded_by_the_truth():
    A, B = cells.blocks["branch against skip"]
    _, radius, Q = cells.three_bounds(A, B)
    assert np.sqrt(np.linalg.eigvalsh(Q).max()) == pytest.approx(1, abs=0.02)
    assert radius == pytest.approx(2)


def test_a_branch_that_helps_is_as_far_as_adding_sizes_says():
    """The exercise about one's own block."""
    A, B = cells.blocks["branch against skip"]
    _, radius, Q = cells.three_bounds(A, -B)
    assert np.sqrt(np.linalg.eigvalsh(Q).max()) == pytest.approx(radius, rel=0.01)


def test_outlines_are_those_of_the_shapes():
    Q = np.array([[2.0, 0.5], [0.5, 1.0]])
    path = cells.outline("ellipse (T14)", Q)
    assert np.einsum("ip,ip->p", path, np.linalg.solve(Q, path)) == pytest.approx(1)
    assert np.linalg.norm(cells.outline("ball (T11)", 3.0), axis=0) == pytest.approx(3)
    assert abs(cells.outline("box (T8)", np.array([1.0, 2.0]))).max(axis=1).tolist() == [1, 2]


@pytest.mark.medium
def test_a_small_network_is_bounded_by_every_method():
    found = cells.certified(cells.small(blocks=2), seconds=0.2)
    truth = found.pop("truth")
    assert (found >= truth).all() and truth > 0
    assert found["best"] <= found.min() * (1 + 1e-9)
    assert found["ellipsoids"] < found["euclidean"] and found["channels"] < found["norms"]


def test_the_truth_is_that_of_a_grid():
    network = cells.small(blocks=1)
    rounded = qn.quantize(network, bits=3).model
    coarse, fine = (cells.truth(network, rounded, steps) for steps in (5, 81))
    assert 0 < coarse <= fine  # the points of the coarse grid are among those of the fine one
