"""Write the stored profiles again: `python data/measure.py`, or `make profiles`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from qnotes.experiments import versions
from qnotes.networks import fold, input_shape, load, names, provenance
from qnotes.propagation.measuring import profile
from qnotes.propagation.profiles import STORED_BITS, Profile, profiles_folder, stored_name
from qnotes.quantization import quantize


def measure(name: str, bits: int) -> Profile:
    """The profile of a digits network, quantized as `quantize` does by default."""
    folded = fold(load(name))
    quantized = quantize(folded, bits=bits)
    return profile(
        folded,
        quantized.model,
        input_shape=input_shape(name),
        provenance={**provenance(name), **quantized.scheme, "versions": versions()},
    )


def store(folder: Path) -> None:
    """Measure every profile of the book and write it into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, bits in tqdm([(name, bits) for name in names() for bits in STORED_BITS]):
        measure(name, bits).save(folder / stored_name(name, bits))


def main(arguments: list[str] | None = None) -> None:
    """Write all profiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=profiles_folder(), help="where to (%(default)s)"
    )
    store(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
