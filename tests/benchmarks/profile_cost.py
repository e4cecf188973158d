"""What a profile costs: profile and bounds of ResNet-152 against one pass over its weights.

And what T8 and T10 cost by `qnotes.certify`, against a forward pass of the network in float64.

Run with ``make bench``.
"""

import copy

import torch

import qnotes as qn
from qnotes.networks.operations import AFFINE_MODULES
from tests.benchmarks.timing import compare

NETWORK = "resnet152"


def main() -> None:
    """Print ratios: to a pass of absolute row sums, and to a forward pass."""
    folded = qn.fold(qn.load(NETWORK, weights="random"))
    quantized = qn.quantize(folded, bits=8).model
    weights = {
        network: [m.weight.detach() for m in network.modules() if isinstance(m, AFFINE_MODULES)]
        for network in (folded, quantized)
    }

    def row_sums(*networks) -> None:
        for network in networks:
            for weight in weights[network]:
                weight.flatten(1).abs().sum(1)

    def profile_and_bounds(size: int) -> None:
        qn.bounds(qn.profile(folded, quantized, input_shape=(1, 3, size, size)))

    jobs = {
        "one pass of absolute row sums": lambda: row_sums(folded),
        "the same over both sets of weights": lambda: row_sums(folded, quantized),
        "profile and bounds at 224²": lambda: profile_and_bounds(224),
        "profile and bounds at 448²": lambda: profile_and_bounds(448),
    }
    compare(f"{NETWORK}, float64", jobs)

    shape = (1, 3, 224, 224)
    double, image = copy.deepcopy(folded).double(), torch.zeros(shape, dtype=torch.float64)

    def certified(method: str) -> None:
        qn.certify(folded, quantized, input_shape=shape, method=method)

    with torch.no_grad():
        jobs = {
            "forward pass in float64": lambda: double(image),
            "one read of both sets of weights": lambda: [
                weight.abs().sum() for layers in weights.values() for weight in layers
            ],
            "T8": lambda: certified("channels"),
            "T10": lambda: certified("intervals"),
        }
        compare(f"{NETWORK} at 224², certify", jobs, rounds=5)


if __name__ == "__main__":
    main()
