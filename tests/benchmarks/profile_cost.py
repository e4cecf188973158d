"""What a profile costs: profile and bounds of ResNet-152 against one pass over its weights.

Run with ``make bench``. Machines are noisy, so only ratios of times measured side by side count.
"""

import statistics
import time

import torch

import qnotes as qn
from qnotes.networks.operations import AFFINE_MODULES

NETWORK = "resnet152"
ROUNDS = 9


def main() -> None:
    """Print the ratio to a pass of absolute row sums, for two sizes of the input."""
    folded = qn.fold(qn.load(NETWORK, weights="random"))
    quantized = qn.quantize(folded, bits=8).model
    weights = [m.weight.detach() for m in folded.modules() if isinstance(m, AFFINE_MODULES)]

    def row_sums() -> None:
        for weight in weights:
            weight.flatten(1).abs().sum(1)

    def profile_and_bounds(size: int) -> None:
        qn.bounds(qn.profile(folded, quantized, input_shape=(1, 3, size, size)))

    jobs = {
        "one pass of absolute row sums": row_sums,
        "profile and bounds at 224²": lambda: profile_and_bounds(224),
        "profile and bounds at 448²": lambda: profile_and_bounds(448),
    }
    times = {name: [] for name in jobs}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    floor = medians["one pass of absolute row sums"]
    print(f"{NETWORK}, float64, {torch.get_num_threads()} threads, median of {ROUNDS} rounds")
    for name, seconds in medians.items():
        print(f"{name:32} {1000 * seconds:8.1f} ms {seconds / floor:6.2f} ×")


if __name__ == "__main__":
    main()
