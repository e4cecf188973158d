"""Our bounds beside published ones: a dense pair on MNIST, around images.

    python -m tests.benchmarks.peers FILE.npz

The file has weight1 …, bias1 …, rounded_weight1 …, rounded_bias1 …, images (0 to 255) and labels:
the network of NeuroDiff (Paulsen et al. 2020) and its copy in float16. Published, mean over 20
images of the largest bound over outputs, r = 3, 10, 25: ReluDiff 0.00689, 0.0519, 0.178; NeuroDiff
0.00421, 0.0246, 0.0907. Where the file is absent, nothing is run.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import qnotes as qn

RADII = (3, 10, 25)


def read(path: Path) -> tuple[nn.Module, nn.Module, Tensor]:
    """Both networks, and the images in [0, 1]."""
    stored = np.load(path)
    networks = [_network(stored, prefix) for prefix in ("", "rounded_")]
    images = torch.from_numpy(stored["images"]).double().reshape(len(stored["images"]), -1) / 255
    return *networks, images


def _network(stored, prefix: str) -> nn.Module:
    layers: list[nn.Module] = []
    for number in range(1, 5):
        weight, bias = (
            torch.from_numpy(stored[f"{prefix}{kind}{number}"]).double()
            for kind in ("weight", "bias")
        )
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        layer.weight.data, layer.bias.data = weight, bias
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def main() -> None:
    """Print the mean bound and the seconds for one image, for each method, effort and radius."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if path is None or not path.is_file():
        print("skipped: give the file of the pair")
        return
    network, rounded, images = read(path)
    for method, seconds in (("intervals", 0), ("best", 0), ("best", 5)):
        for radius in RADII:
            start = time.perf_counter()
            found = qn.certify(
                network, rounded, center=images, radius=radius / 255, within=(0, 1),
                method=method, seconds=seconds * len(images),
            )  # fmt: skip
            mean = found.bound.max(1).mean()
            each = (time.perf_counter() - start) / len(images)
            print(f"{method:10} r = {radius:2}: {mean:.5f}, {each:.2f} s an image", flush=True)


if __name__ == "__main__":
    main()
