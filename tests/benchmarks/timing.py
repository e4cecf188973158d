"""Jobs timed in turn, and compared with the first: machines are noisy, so only ratios count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def compare(title: str, jobs: dict[str, Callable[[], object]], *, rounds: int = 9) -> None:
    """Print the median time of each job and its ratio to the first; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    floor = next(iter(medians.values()))
    print(f"{title}, {torch.get_num_threads()} threads, median of {rounds} rounds")
    for name, seconds in medians.items():
        print(f"{name:46} {1000 * seconds:9.1f} ms {seconds / floor:7.2f} ×")
    print()
