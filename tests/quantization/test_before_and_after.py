"""The steps together, as Nagel et al. (2019) chain them: equalize, absorb, quantize, correct."""

import pytest
import torch

import qnotes as qn


@pytest.fixture(scope="module")
def equalized():
    return qn.equalize(qn.fold(qn.load("mobilenet_v2_x0_25")), relu6="relu")


@pytest.fixture(scope="module")
def known(equalized):
    """The promises of the batch norms, for the equalized network."""
    promised = qn.batch_norm_statistics(qn.load("mobilenet_v2_x0_25"))
    return {
        name: entry.scaled(equalized.factors[name]) if name in equalized.factors else entry
        for name, entry in promised.items()
    }


@pytest.mark.medium
def test_scaled_statistics_are_near_what_is_measured(equalized, known):
    """ReLU for ReLU6, and fewer images: not the same, but near."""
    measured = qn.measured_statistics(equalized.model, qn.digits("train")[0][:48])
    for name, entry in known.items():
        apart = (entry.mean - measured[name].mean).abs() / measured[name].std
        assert apart.median() < 0.5


@pytest.mark.medium
def test_the_digits_networks_have_no_bias_to_absorb(equalized, known):
    """No mean lies three standard deviations above zero; with fewer, some do, and it is felt."""
    images = qn.digits("train")[0][:8]
    absorbed = qn.absorb_biases(equalized.model, statistics=known)
    assert absorbed.amounts and not any(amounts.any() for amounts in absorbed.amounts.values())
    assert qn.output_errors(equalized.model, absorbed.model, images).max() < 1e-9
    too_much = qn.absorb_biases(equalized.model, statistics=known, deviations=0.0)
    assert any(amounts.any() for amounts in too_much.amounts.values())
    assert qn.output_errors(equalized.model, too_much.model, images).max() > 1e-3
    assert sum("pads with zeros" in stop.reason for stop in absorbed.stops) == 16  # all depthwise


@pytest.mark.medium
def test_correction_works_on_equalized_networks(equalized, known):
    quantized = qn.quantize(equalized.model, bits=4, granularity="tensor").model
    corrected = qn.correct_bias(equalized.model, quantized, statistics=known)
    assert {stop.source for stop in corrected.stops} == {"features.0.0"}
    images = qn.digits("train")[0][:32]
    before, after = (
        qn.output_errors(equalized.reference, net, images).mean()
        for net in (quantized, corrected.model)
    )
    assert after < before
    assert torch.equal(
        quantized.get_submodule("classifier.1").weight,
        corrected.model.get_submodule("classifier.1").weight,
    )
