"""A promise from data: kept as often as it says, and no more cautious than it has to be."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest
from torch import nn

import qnotes as qn
from qnotes.observation.promises import inputs_needed, least_share, promised_rank

REPEATS = 400
SIGMAS = 4


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None).double().eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


#: A network and a copy that differ by the input itself.
IDENTITY, ZERO = linear([[1.0]]), linear([[0.0]])


def promise(errors, **options) -> qn.Tolerance:
    return qn.tolerance(IDENTITY, ZERO, torch.as_tensor(errors)[:, None], **options)


# How often a promise is kept, for distributions whose F is known.

CONTINUOUS = {
    "uniform": (lambda rng, n: rng.random(n), lambda m: m),
    "exponential": (lambda rng, n: rng.exponential(size=n), lambda m: 1 - math.exp(-m)),
    "heavy": (lambda rng, n: rng.random(n) ** -3.0, lambda m: 1 - m ** (-1 / 3)),
}


def discrete(chances: dict[float, float]):
    values, weights = list(chances), list(chances.values())
    return (
        lambda rng, n: rng.choice(values, size=n, p=weights),
        lambda m: sum(chance for value, chance in chances.items() if value <= m),
    )


def share_kept(distribution, n: int, fraction: float, confidence: float) -> float:
    """In how many of the samples the promised error covers the fraction of the distribution."""
    draw, covered = distribution
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(REPEATS):
        found = promise(draw(rng, n), fraction=fraction, confidence=confidence)
        kept += covered(found.error) >= fraction
    return kept / REPEATS


def spread(probability: float) -> float:
    return SIGMAS * math.sqrt(probability * (1 - probability) / REPEATS)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "n", "fraction", "confidence"),
    [
        ("uniform", 4, 0.5, 0.5),
        ("uniform", 1, 0.3, 0.7),
        ("uniform", 60, 0.9, 0.95),
        ("exponential", 30, 0.8, 0.9),
        ("heavy", 4, 0.5, 0.5),
    ],
)
def test_kept_as_often_as_the_theorem_says_where_errors_are_continuous(
    name, n, fraction, confidence
):
    kept = share_kept(CONTINUOUS[name], n, fraction, confidence)
    rank = promised_rank(n, fraction, confidence)
    exact = binom.sf(rank - 1, n, 1 - fraction)
    assert kept >= confidence - spread(confidence)
    assert abs(kept - exact) <= spread(exact)  # too cautious fails, too
    if n == 4:  # the neighbouring ranks would be noticed
        one_less, one_more = binom.sf([rank - 2, rank], n, 1 - fraction)
        assert one_less > exact + spread(exact) and one_more < confidence - spread(confidence)


@pytest.mark.medium
@pytest.mark.parametrize(
    "chances",
    [
        {0.0: 0.7, 1.0: 0.25, 2.0: 0.05},
        {0.0: 0.79, 1.0: 0.21},  # just below the fraction: the worst case, nearly
        {0.0: 0.5, 1.0: 0.29, 2.0: 0.21},
        {3.0: 1.0},
    ],
)
def test_kept_where_errors_are_equal(chances):
    fraction, confidence, n = 0.8, 0.9, 30
    distribution = discrete(chances)
    kept = share_kept(distribution, n, fraction, confidence)
    threshold = min(m for m in chances if distribution[1](m) >= fraction)
    rank = promised_rank(n, fraction, confidence)
    often = sum(chance for m, chance in chances.items() if m >= threshold)
    exact = binom.sf(rank - 1, n, often)
    assert exact >= confidence
    assert abs(kept - exact) <= spread(exact)


@pytest.mark.medium
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_agreement_is_kept_as_often_as_it_says(confidence):
    ours, theirs = linear([[1.0], [0.0]]), linear([[1.0], [0.0]], [-0.05, 0.0])
    rng, n, truth = np.random.default_rng(1), 100, 0.95  # they disagree between 0 and 0.05
    kept = 0
    for _ in range(REPEATS):
        drawn = torch.from_numpy(rng.random((n, 1)))
        found = qn.tolerance(ours, theirs, drawn, fraction=0.5, confidence=confidence)
        kept += found.agreement <= truth
    exact = sum(
        binom.pmf(count, n, truth)
        for count in range(n + 1)
        if least_share(count, n, confidence) <= truth
    )
    assert exact >= confidence and kept / REPEATS >= confidence - spread(confidence)
    assert abs(kept / REPEATS - exact) <= spread(exact)


# Ranks and sizes.


def test_how_many_inputs_a_promise_needs():
    assert inputs_needed(0.99, 0.95) == 299
    assert inputs_needed(0.9, 0.95) == 29
    assert inputs_needed(0.5, 0.5) == inputs_needed(0.01, 0.5) == 1
    assert promised_rank(298, 0.99, 0.95) == 0 and promised_rank(299, 0.99, 0.95) == 1
    assert promised_rank(472, 0.99, 0.95) == 1 and promised_rank(473, 0.99, 0.95) == 2


@pytest.mark.parametrize("fraction", [1e-9, 0.1, 0.5, 0.9, 0.99, 0.999, 1 - 1e-4])
@pytest.mark.parametrize("confidence", [1e-9, 0.19, 0.5, 0.75, 0.95, 0.99, 1 - 1e-9])
def test_one_input_fewer_is_too_few(fraction, confidence):
    needed = inputs_needed(fraction, confidence)
    assert promised_rank(needed, fraction, confidence) >= 1
    assert needed == 1 or promised_rank(needed - 1, fraction, confidence) == 0


def test_it_is_the_kth_largest_error():
    errors = torch.randperm(473, generator=torch.Generator().manual_seed(0)).double()
    found = promise(errors)
    assert found == qn.Tolerance(471.0, 0.99, 0.95, 473, 2, 236.0, 472.0, None, None)
    assert promise(errors[:299]).error == errors[:299].max()


def test_equal_errors_count_one_by_one():
    errors = torch.tensor([5.0, 5.0, 5.0, 4.0] + [1.0] * 26)
    found = [promise(errors, fraction=f, confidence=0.9) for f in (0.92, 0.8, 0.7)]
    assert [(promised.rank, promised.error) for promised in found] == [(1, 5), (3, 5), (6, 1)]


# The same top class.


def test_agreement_is_the_bound_of_clopper_and_pearson():
    for count, n, confidence in ((0, 5, 0.95), (5, 5, 0.95), (3, 10, 0.8), (290, 299, 0.99)):
        test = binomtest(count, n, alternative="greater")
        interval = test.proportion_ci(confidence_level=confidence, method="exact")
        assert least_share(count, n, confidence) == pytest.approx(interval.low, abs=1e-12)


def test_ties_for_the_top_class_count_against_the_promise():
    ours, theirs = linear([[1.0, 0.0], [0.0, 1.0]]), linear([[1.0, 0.0], [0.0, 2.0]])
    agree, ours_tied, theirs_tied, differ = [3.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 2.0]
    both_tied = [0.0, 0.0]
    inputs = torch.tensor([agree, agree, ours_tied, theirs_tied, differ, both_tied])
    found = qn.tolerance(ours, theirs, inputs, fraction=0.5, confidence=0.5)
    assert found.agreed == 2
    assert found.agreement == pytest.approx(least_share(2, 6, 0.5)) and 0 < found.agreement < 2 / 6


def test_agreement_is_of_classifiers_only():
    inputs = torch.ones(3, 2, 4, 4)
    maps = nn.Conv2d(2, 3, 3).eval()
    assert qn.tolerance(maps, maps, inputs, fraction=0.5, confidence=0.5).agreement is None
    assert promise([1.0] * 3, fraction=0.5, confidence=0.5).agreed is None


# How the errors are measured.


def test_errors_are_those_of_copies_in_float64():
    ours, theirs = linear([[1.0]]).float(), linear([[1.0 + 2**-23]]).float()
    found = qn.tolerance(ours, theirs, torch.tensor([[3.0]]), fraction=0.5, confidence=0.5)
    assert found.error == 3 * 2**-23
    third = torch.full((1, 1), 1 / 3, dtype=torch.float64)
    found = qn.tolerance(ours, theirs, third, fraction=0.5, confidence=0.5)
    assert found.error == pytest.approx(2**-23 / 3, rel=1e-6)
    assert ours.weight.dtype == torch.float32


def test_a_network_that_writes_into_its_input_changes_nothing():
    layers = [nn.ReLU(inplace=True), nn.Linear(3, 2)]
    network = qn.fold(nn.Sequential(*layers).eval())
    inputs = torch.randn(70, 3, generator=torch.Generator().manual_seed(0))
    before = inputs.clone()
    changed = qn.quantize(network, bits=3).model
    found = qn.tolerance(network, changed, inputs, fraction=0.9, confidence=0.9)
    assert torch.equal(inputs, before)
    errors = qn.output_errors(network, changed, inputs).sort(descending=True).values
    assert found.error == errors[found.rank - 1] and found.largest == errors[0]


# What is refused.


def test_too_few_inputs_are_told_how_many_are_needed():
    with pytest.raises(qn.QnotesError, match=r"298 inputs are too few .* draw 299,"):
        promise([1.0] * 298)
    with pytest.raises(qn.QnotesError, match=r"1 inputs are too few .* draw 5,"):
        promise([1.0], fraction=0.5, confidence=0.95)


@pytest.mark.parametrize("value", [0, 1, 1.0, -0.1, 99, math.nan, True, "0.9", None])
@pytest.mark.parametrize("option", ["fraction", "confidence"])
def test_refuses_other_shares(option, value):
    with pytest.raises(qn.QnotesError, match=f"{option} must be a number between 0 and 1"):
        promise([1.0] * 300, **{option: value})


NO_SAMPLES = [
    *(None, [1.0], torch.ones(3), torch.ones(0, 1), torch.ones(())),
    torch.ones(300, 1, dtype=torch.complex128),
]


@pytest.mark.parametrize("inputs", NO_SAMPLES)
def test_refuses_what_is_no_sample(inputs):
    with pytest.raises(qn.QnotesError, match=r"inputs must be a real tensor of shape"):
        qn.tolerance(IDENTITY, ZERO, inputs)


def test_refuses_values_that_are_not_finite():
    with pytest.raises(qn.QnotesError, match="inputs have values that are NaN or infinite"):
        promise([1.0, math.nan])
    huge = linear([[1e308]])
    with pytest.raises(qn.QnotesError, match="outputs of the quantized network are complex, NaN"):
        qn.tolerance(IDENTITY, huge, torch.full((300, 1), 10.0))
    with pytest.raises(qn.QnotesError, match="outputs of the network are complex, NaN or inf"):
        qn.tolerance(linear([[math.nan]]), ZERO, torch.ones(300, 1))
    imaginary = nn.Linear(1, 1).to(torch.complex128).eval()
    with pytest.raises(qn.QnotesError, match="outputs of the network are complex"):
        qn.tolerance(imaginary, ZERO, torch.ones(300, 1))


def test_refuses_networks_in_training_mode_and_what_is_no_network():
    inputs = torch.ones(300, 1)
    with pytest.raises(qn.QnotesError):
        qn.tolerance(torch.relu, ZERO, inputs)
    training = nn.Sequential(nn.Linear(1, 1)).train()
    with pytest.raises(qn.QnotesError, match="the network is in training mode"):
        qn.tolerance(training, ZERO, inputs)
    with pytest.raises(qn.QnotesError, match="the quantized network is in training mode"):
        qn.tolerance(ZERO, training, inputs)
    partly = nn.Sequential(nn.Linear(1, 1), nn.Dropout()).eval()
    partly[1].train()
    with pytest.raises(qn.QnotesError, match="training mode"):
        qn.tolerance(partly, ZERO, inputs)


def test_refuses_inputs_and_outputs_that_do_not_fit():
    with pytest.raises(qn.QnotesError, match=r"the network, Linear, cannot take inputs of .* \(64, 2\)"):
        qn.tolerance(IDENTITY, ZERO, torch.ones(300, 2))
    with pytest.raises(qn.QnotesError, match=r"outputs of shapes \(300, 1\) and \(300, 2\)"):
        qn.tolerance(IDENTITY, linear([[1.0], [1.0]]), torch.ones(300, 1))
