"""The caller's networks are what they were, byte for byte, whatever is done with them."""

import copy

import pytest
import torch
from torch import nn

import qnotes as qn
from tests.random_networks import Residual

SHAPE = (1, 2, 6, 6)


def network() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))
    return nn.Sequential(
        Residual(body, nn.Identity(), nn.ReLU(inplace=True)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(2, 3),
    ).eval()


def state(model: nn.Module) -> dict:
    """All that a caller could see change."""
    modules = dict(model.named_modules())
    return {
        "values": {name: (v.clone(), v.dtype) for name, v in model.state_dict().items()},
        "types": {name: type(module) for name, module in modules.items()},
        "training": {name: module.training for name, module in modules.items()},
        "hooks": {name: len(module._forward_hooks) for name, module in modules.items()},
        "grad": {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()},
        "storage": {name: p.data_ptr() for name, p in model.named_parameters()},
    }


def same(before: dict, after: dict) -> bool:
    values = zip(before.pop("values").items(), after.pop("values").items(), strict=True)
    equal = all(a == b and torch.equal(x, y) and p == q for (a, (x, p)), (b, (y, q)) in values)
    return equal and before == after


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks_are_not_changed(dtype):
    model = network().to(dtype)
    untouched = state(model)
    folded = qn.fold(model)
    assert same(untouched, state(model))
    before_folded, untouched = state(folded), state(model)
    quant = qn.quantize(folded, bits=3)
    assert same(before_folded, state(folded))
    before = state(folded), state(quant.model), state(model)
    profile = qn.profile(folded, quant.model, input_shape=SHAPE)
    qn.bounds(profile)
    qn.observe(folded, quant.model, input_shape=SHAPE, samples=4, steps=2)
    qn.output_errors(folded, quant.model, torch.zeros(SHAPE))
    qn.tolerance(folded, quant.model, torch.zeros(SHAPE), fraction=0.1, confidence=0.1)
    after = state(folded), state(quant.model), state(model)
    assert all(same(one, two) for one, two in zip(before, after, strict=True))


def test_results_share_nothing_with_what_they_came_from():
    model = network().double()
    folded = qn.fold(model)
    quant = qn.quantize(folded)
    storage = [
        {tensor.untyped_storage().data_ptr() for tensor in net.state_dict().values()}
        for net in (model, folded, quant.model)
    ]
    assert not storage[0] & storage[1] and not storage[1] & storage[2]


def test_networks_without_gradients():
    model = network().requires_grad_(False)
    quant = qn.quantize(qn.fold(model), bits=4)
    assert qn.observe(qn.fold(model), quant.model, input_shape=SHAPE, samples=4, steps=2).error > 0


def test_results_can_be_copied():
    folded = qn.fold(network())
    quant = qn.quantize(copy.deepcopy(folded), bits=4)
    again = copy.deepcopy(quant.model)
    x = torch.ones(SHAPE, dtype=torch.float64)
    assert torch.equal(quant.model(x), again(x))


def test_all_that_is_promised_is_there():
    assert all(hasattr(qn, name) for name in qn.__all__)
    assert len(set(qn.__all__)) == len(qn.__all__)


def test_names_are_imported_when_used():
    assert set(qn.__all__) <= set(dir(qn))
    with pytest.raises(AttributeError, match="module 'qnotes' has no attribute 'bound'"):
        qn.bound  # noqa: B018


def test_errors_are_value_errors():
    assert issubclass(qn.UnsupportedOperation, qn.QnotesError)
    assert issubclass(qn.QnotesError, ValueError)
