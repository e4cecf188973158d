"""Write the table of errors again: `python -m data.measure_errors`, or `make errors`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import product
from pathlib import Path

import joblib
import pandas as pd
from tqdm import tqdm

from qnotes.files import data_folder, write_whole
from qnotes.measurements import FILE, KEY, KnownErrors, as_csv, as_rows, measure_errors
from qnotes.networks import names
from qnotes.networks.architectures import STORED
from qnotes.threads import one_thread

#: network, weights, bits, granularity, seed; the quick ones first.
ROWS = [
    *((name, "digits", bits, "channel", 0) for name, bits in product(names(), (4, 8))),
    ("resnet20", "digits", 6, "channel", 0),
    *((name, "imagenet", bits, "channel", 0) for bits, name in product((8, 6, 4), STORED)),
]


def measured(row: tuple) -> KnownErrors:
    """One row, in a process of its own; one thread, so that sums have one order everywhere."""
    with one_thread():
        return measure_errors(*row)


def main(arguments: list[str] | None = None) -> None:
    """Measure all rows, or those of some networks; each is stored as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="only these; the others stay as they are")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder (%(default)s)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes; -1: one a core")
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if not options.networks or row[0] in options.networks]
    parallel = joblib.Parallel(n_jobs=options.jobs, return_as="generator_unordered", batch_size=1)
    kept = _kept(options.data / FILE)
    for found in tqdm(parallel(joblib.delayed(measured)(row) for row in rows), total=len(rows)):
        kept[_key(found)] = found
        ordered = [kept[row] for row in ROWS if row in kept]
        write_whole(options.data, {FILE: as_csv(ordered).encode()})


def _kept(path: Path) -> dict[tuple, KnownErrors]:
    if not path.is_file():
        return {}
    return {_key(row): row for row in as_rows(pd.read_csv(path))}


def _key(row: KnownErrors) -> tuple:
    return tuple(asdict(row)[key] for key in KEY)


if __name__ == "__main__":
    main()
