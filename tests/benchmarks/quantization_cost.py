"""What quantizing costs: against torch's fake quantization, and for roundings that look at data.

Run with ``make bench``.
"""

import time

import torch

import qnotes as qn
from qnotes.networks.operations import AFFINE_MODULES
from tests.benchmarks.timing import compare

SIX_SCHEMES = (
    {"granularity": "tensor"},
    {"granularity": "channel"},
    {"granularity": "channel", "symmetric": False},
    {"granularity": "channel", "convention": "full"},
    {"granularity": "channel", "grid": "power-of-two"},
    {"granularity": "channel", "rounding": "floor"},
)
WIDTHS = range(2, 17)


def main() -> None:
    """Print ratios for nearest rounding, and seconds for what has no peer."""
    nearest("resnet152")
    all_widths("resnet18")
    on_data("resnet56")


def nearest(name: str) -> None:
    """Per channel, to nearest: torch's own over the same weights, and one copy of them."""
    folded = qn.fold(qn.load(name, weights="random")).float()
    weights = [m.weight.detach() for m in folded.modules() if isinstance(m, AFFINE_MODULES)]
    layers = qn.quantize(folded, bits=8).layers.values()
    grids = [(layer.scale, layer.zero_point) for layer in layers]

    def torch_and_copy() -> None:
        for weight, (scale, zero_point) in zip(weights, grids, strict=True):
            torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, -127, 127)
            weight.clone()

    jobs = {
        "fake quantization by torch, and one copy": torch_and_copy,
        "qn.quantize, ranges and checks included": lambda: qn.quantize(folded, bits=8),
    }
    compare(f"{name}, float32, 8 bits per channel", jobs, rounds=5)


def all_widths(name: str) -> None:
    """Bounds at all bit-widths for six schemes; and widths together against one by one."""
    folded = qn.fold(qn.load(name, weights="random"))
    start = time.perf_counter()
    for scheme in SIX_SCHEMES:
        for quant in qn.quantize_each(folded, WIDTHS, **scheme):
            qn.bounds(qn.profile(folded, quant.model, input_shape=(1, 3, 224, 224)))
    seconds = time.perf_counter() - start
    print(f"{name}: {len(WIDTHS)} bit-widths × {len(SIX_SCHEMES)} schemes: {seconds:.1f} s\n")
    options = {"clip": "percentile"}  # a range that is costly to find
    jobs = {
        "one bit-width after the other": lambda: [
            qn.quantize(folded, bits=width, **options) for width in WIDTHS
        ],
        "together": lambda: list(qn.quantize_each(folded, WIDTHS, **options)),
    }
    compare(f"{name}, {len(WIDTHS)} bit-widths, percentile", jobs, rounds=1)


def on_data(name: str) -> None:
    """Seconds for the roundings that look at 256 images."""
    folded, (images, _) = qn.fold(qn.load(name)), qn.digits("train")
    for rounding in ("gptq", "adaptive", "gpfq"):
        start = time.perf_counter()
        qn.quantize(folded, bits=4, rounding=rounding, calibration=images[:256])
        print(f"{name}, 4 bits, {rounding}, 256 images: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
