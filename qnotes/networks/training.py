"""Training a classifier of small images; `data/train.py` and fine-tuning share it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

BATCH = 64
LARGEST_SHIFT = 3  # pixels of 32: less than one of the original 8×8
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    learning_rate: float = LEARNING_RATE,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Train a classifier in place, as `qnotes.finetune` explains; it is left in training mode."""
    batches = max(1, len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=epochs * batches
    )
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images))[: batches * BATCH].chunk(batches):
            optimizer.zero_grad()
            cross_entropy(model(_shifted(images[rows])), labels[rows]).backward()
            optimizer.step()
            schedule.step()
        progress()


def _shifted(images: Tensor) -> Tensor:
    """Each image moved by its own random number of pixels; background (-1) comes in."""
    n, channels, height, width = images.shape
    padded = pad(images, (LARGEST_SHIFT,) * 4, value=-1.0)
    down, right = torch.randint(2 * LARGEST_SHIFT + 1, (2, n, 1))
    rows = (down + torch.arange(height))[:, None, :, None]
    columns = (right + torch.arange(width))[:, None, None, :]
    image, channel = torch.arange(n)[:, None, None, None], torch.arange(channels)[:, None, None]
    return padded[image, channel, rows, columns]
