"""Statistics of channels: what batch norms promise, and what is measured."""

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.quantization.equalization import equalize
from qnotes.quantization.statistics import batch_norm_statistics, measured_statistics
from tests.random_networks import Net


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 + 2 * torch.randn(shape, generator=generator, dtype=torch.float64)


def test_batch_norm_promises_what_is_measured_on_its_own_data():
    """Exactly, the small eps and a channel that does not vary included."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3, eps=0.1)).double()
    norm = network[1]
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    network[0].weight.data[1] = 0
    inputs = noise(100, 2, 6, 6)
    outputs = network[0](inputs).detach()
    norm.running_mean.copy_(outputs.mean((0, 2, 3)))
    norm.running_var.copy_(outputs.var((0, 2, 3), unbiased=False))
    network.eval()
    promised = batch_norm_statistics(network)
    measured = measured_statistics(qn.fold(network), inputs)
    assert promised.keys() == measured.keys() == {"0"}
    assert torch.allclose(promised["0"].mean, measured["0"].mean, rtol=1e-12)
    assert torch.allclose(promised["0"].std, measured["0"].std, rtol=1e-12, atol=1e-14)
    assert promised["0"].std[1] == 0
    assert (promised["0"].std <= norm.weight.abs()).all()


def test_layers_without_a_batch_norm_are_not_listed():
    folded = qn.load("resnet20")
    found = batch_norm_statistics(folded)
    assert "fc" not in found and len(found) == 21
    assert found["conv1"].mean.dtype == torch.float64
    assert torch.equal(found["conv1"].mean, folded.bn1.bias.detach().double())


def test_batch_norms_without_parameters_and_in_a_row():
    network = nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False, eps=0)
    ).eval()
    found = batch_norm_statistics(network)
    assert torch.equal(found["0"].mean, torch.zeros(3).double())
    assert torch.equal(found["0"].std, torch.ones(3).double())


def test_a_batch_norm_that_cannot_be_folded_is_refused():
    with pytest.raises(qn.UnsupportedOperation, match="0: whether this BatchNorm1d reads a vector"):
        batch_norm_statistics(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).eval())


def test_measured_over_batches_and_positions():
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 2)
    ).double().eval()  # fmt: skip
    inputs = noise(150, 2, 4, 4)
    before = inputs.clone()
    found = measured_statistics(network, inputs)
    first = network[0](inputs)
    last = network[3](first.relu().flatten(1))
    for name, outputs, axes in (("0", first, (0, 2, 3)), ("3", last, 0)):
        assert torch.allclose(found[name].mean, outputs.mean(axes), rtol=1e-12)
        assert torch.allclose(found[name].std, outputs.std(axes, unbiased=False), rtol=1e-12)
    assert torch.equal(inputs, before)


def test_a_large_mean_does_not_hide_the_spread():
    network = nn.Sequential(nn.Linear(1, 1)).double().eval()
    nn.init.ones_(network[0].weight)
    nn.init.constant_(network[0].bias, 1e8)
    inputs = noise(500, 1)
    found = measured_statistics(network, inputs)["0"]
    assert found.std.item() == pytest.approx(inputs.std(unbiased=False).item(), rel=1e-7)


def test_a_layer_that_is_used_twice_counts_both_uses():
    network = Net(lambda s, x: s.a(torch.relu(s.a(x))), a=nn.Linear(2, 2)).double().eval()
    inputs = noise(10, 2)
    once = network.a(inputs)
    both = torch.cat([once, network.a(once.relu())])
    assert torch.allclose(measured_statistics(network, inputs)["a"].mean, both.mean(0))


def test_scaled_are_the_statistics_of_the_equalized_network():
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    inputs = noise(30, 2)
    equalized = equalize(network)
    known = measured_statistics(network, inputs)["0"].scaled(equalized.factors["0"])
    after = measured_statistics(equalized.model, inputs)["0"]
    assert torch.allclose(known.mean, after.mean) and torch.allclose(known.std, after.std)


@pytest.mark.parametrize(
    "inputs, match",
    [
        ([[1.0, 2.0]], "inputs must be a tensor.*got list"),
        (torch.zeros(0, 2), r"got \(0, 2\)"),
        (torch.zeros(2), r"got \(2,\)"),
        (torch.zeros(3, 4, 2), r"0: gives a tensor of shape \(3, 4, 1\); expected 2 dimensions"),
    ],
)
def test_inputs_that_do_not_fit(inputs, match):
    with pytest.raises(qn.QnotesError, match=match):
        measured_statistics(nn.Sequential(nn.Linear(2, 1)).eval(), inputs)
