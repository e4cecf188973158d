"""Weights of a layer by output channel (rows) and by input channel (columns)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_channelwise(module: nn.Module) -> bool:
    """Whether each channel has one weight, and reads itself: a batch norm that was not folded."""
    weight = module.weight
    if isinstance(module, nn.Linear):
        square = weight.shape[0] == weight.shape[1] > 1
        return square and torch.equal(weight, torch.diag(weight.diagonal()))
    return module.groups == len(weight) > 1 and weight[0].numel() == 1


def groups_of(module: nn.Module) -> int:
    """Groups of a convolution; 1 for a linear layer."""
    return getattr(module, "groups", 1)


def by_channel(weight: Tensor, groups: int, channels: int) -> Tensor:
    """Weights as (groups, outputs of a group, input channels of a group, weights of a channel).

    A linear layer has one group; on a flattened image it reads several values of each channel.
    """
    return weight.reshape(groups, len(weight) // groups, channels // groups, -1)


def scaled_rows(weight: Tensor, factors: Tensor) -> Tensor:
    """Weights with each output channel multiplied by its factor."""
    return weight * factors.view(-1, *[1] * (weight.ndim - 1))


def scaled_columns(weight: Tensor, factors: Tensor, groups: int) -> Tensor:
    """Weights with each input channel multiplied by its factor."""
    columns = by_channel(weight, groups, len(factors)) * factors.view(groups, 1, -1, 1)
    return columns.view_as(weight)


def product(weight: Tensor, values: Tensor, groups: int) -> Tensor:
    """W v for input channels that are constant: one value a channel, away from the border."""
    return scaled_columns(weight, values, groups).flatten(1).sum(1)


def replace(module: nn.Module, name: str, values: Tensor) -> None:
    """Give a copied layer a parameter of its own, in the precision of its weights."""
    trainable = module.weight.requires_grad
    setattr(module, name, nn.Parameter(values.to(module.weight), trainable))
