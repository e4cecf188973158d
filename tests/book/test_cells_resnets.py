"""The ResNet chapter: its table of norms; its networks without skips, which are plain chains."""

import math

import pytest
import torch
from torch import nn

import qnotes as qn
from qnotes.errors import QnotesError
from tests.book.cells import definitions
from tests.random_networks import Residual

cells = definitions("resnets", "facts", "without_skips")
without_skips = cells.without_skips


def block(skip: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    return nn.Sequential(nn.Linear(2, 3), Residual(body, skip, nn.ReLU()), nn.Linear(3, 2)).eval()


@pytest.mark.parametrize("skip", [nn.Identity(), nn.Linear(3, 3)])
def test_the_main_path_is_left(skip):
    network = block(skip)
    body = network[1].body
    chain = nn.Sequential(network[0], *body, nn.ReLU(), network[2]).eval()
    inputs = torch.rand(4, 2, dtype=torch.float64)
    plain = without_skips(qn.fold(network))
    torch.testing.assert_close(plain(inputs), qn.fold(chain)(inputs))


def test_an_identity_skip_adds_one_to_the_norm_of_its_last_layer():
    folded = qn.fold(block(nn.Identity()))
    with_skip, plain = (
        qn.profile(net, net, input_shape=(1, 2)).layers for net in (folded, without_skips(folded))
    )
    assert len(with_skip) == len(plain) == 4
    assert plain[1].norm < 1 and with_skip[1].norm == pytest.approx(1, rel=1e-12)
    assert with_skip[2].norm == pytest.approx(plain[2].norm + 1, rel=1e-12)
    assert with_skip[3] == plain[3]


@pytest.mark.parametrize(("name", "layers"), [("resnet20", 20), ("resnet56", 56)])
def test_depth_stays_nominal_and_the_network_is_not_changed(name, layers):
    folded = qn.fold(qn.load(name, weights="random"))
    before = str(folded.graph)
    plain = without_skips(folded)
    assert qn.profile(plain, plain, input_shape=(1, 1, 32, 32)).depth == layers
    assert str(folded.graph) == before
    assert "add" not in str(plain.graph)


def test_two_branches_alike_are_refused():
    torch.manual_seed(0)
    twins = Residual(nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()).eval()
    with pytest.raises(QnotesError, match="equally many layers"):
        without_skips(qn.fold(twins))


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_the_norms_in_the_table_are_those_that_P2_and_T5_take(name):
    """P2 takes weights alone, T5 weights and biases, whose largest norm is another number."""
    profile = qn.stored_profile(name, bits=8)
    found = cells.facts(profile)
    largest, mean = found["largest norm (P2)"], found["mean norm (T5)"]
    decades = (profile.depth - 1) * math.log10(largest / mean)
    assert decades == pytest.approx(qn.gain_factors(profile)["norms"], abs=1e-9)
    assert largest < max(layer.joint_norm for layer in profile.layers)
