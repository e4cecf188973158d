"""Work on tensors that are too small to share between threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run a block on one thread.

    The order of sums, and with it every result, then does not depend on the number of cores. On
    small tensors a second thread gains a third at best, and costs several times as much when it has
    to wait for a core that is busy with something else.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
