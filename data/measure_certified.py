"""Write the table of certified bounds again: `python -m data.measure_certified`, `make certified`.

Rows that are there stay as they are, so that an interrupted run goes on; `--again` computes them
anew, and without other options nothing else is kept of these networks.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

import qnotes as qn
from qnotes.experiments import versions
from qnotes.files import data_folder
from qnotes.measurements import CERTIFIED as FILE
from qnotes.networks import provenance
from qnotes.networks.operations import operations
from qnotes.propagation.ellipsoids import Diagonals
from qnotes.threads import one_thread

from .tables import Rows

#: What decides a row of the table.
KEY = ("network", "bits", "method", "descent")
#: Seconds of descent for the diagonals of T14, at `AT` bits; others go on from there for a `SHARE`.
DESCENT = {
    "resnet20": 120,
    "resnet32": 90,
    "resnet44": 90,
    "resnet56": 240,
    "resnet110": 600,
    "mobilenet_v2_x0_25": 120,
    "mobilenet_v2_x0_5": 60,
    "resnet18": 0,
    "resnet50": 0,
    "mobilenet_v2_features": 0,
}
#: Their weights. On images of 224 × 224: no descent, up to 12 GB in use; random ones at `AT` bits.
FULL_SIZE = {"resnet18": "random", "resnet50": "random", "mobilenet_v2_features": "imagenet"}
#: Networks that T14 has no memory for.
TOO_LARGE = ("resnet50",)
MEMORY = 20 * 2**30
AT, SHARE = 8, 0.2
BITS = (AT, 12, 16, 4)
LARGE_BITS = {"random": (AT,), "imagenet": (AT, 12, 16)}
CHEAP = ("norms", "channels", "intervals", "euclidean")
#: Networks whose certified bits are looked for: the fewest whose bound is at most `TOLERANCE`.
ASKED = ("resnet20", "resnet56")
TOLERANCE = 0.1
#: float64 resolves a step of such a grid four times; `qn.quantize` makes those of up to 16 bits.
MOST_BITS, QUANTIZED_BITS = 51, 16


@dataclass(frozen=True)
class Row:
    """A bound on the errors of a network, for all inputs of the box of all images.

    Attributes:
        network, bits: what was rounded to nearest: symmetric, a scale a channel. Weights are those
            for digits, or those in `FULL_SIZE`.
        method: of `qnotes.certify`.
        descent: seconds for the diagonals of T14, at `AT` bits, and a `SHARE` of them more at
            others; 0 for multiples of λ_max.
        log10: of the bound on the largest output error, rounded up.
        seconds: that the row took, with the descent if it made one. ``best`` and ``ellipsoids``
            with the same bits and descent are one run, and have its seconds.
        radius: D.
        sha256: of the weights' file; none where they are random.
        qnotes, torch: versions.
    """

    network: str
    bits: int
    method: str
    descent: float
    log10: float
    seconds: float
    radius: float
    sha256: str | None
    qnotes: str
    torch: str


class Network:
    """A network and what was found about it: diagonals, and rows as they come."""

    def __init__(self, name: str) -> None:
        self.name, self.large = name, name in FULL_SIZE
        self.weights = FULL_SIZE.get(name, "digits")
        self.folded = qn.fold(qn.load(name, weights=self.weights))
        self.radius = qn.preprocessing(name, "imagenet" if self.large else "digits").radius
        self.diagonals: dict[float, Diagonals] = {}

    def rows(self, bits: int, method: str, descent: float = 0) -> list[Row]:
        """What one run of `certify` says."""
        if descent and descent not in self.diagonals and bits != AT:
            self.rows(AT, "ellipsoids", descent)
        known = self.diagonals.get(descent)
        options = {"diagonals": known, "seconds": SHARE * descent if known else descent}
        found = self.certified(rounded(self.folded, bits), method=method, **options)
        if descent and known is None:
            self.diagonals[descent] = found.diagonals
        said = {method: found.largest}
        if method == "best" and "ellipsoids" in found.said:
            said["ellipsoids"] = found.said["ellipsoids"]
        return [self.row(bits, key, descent, log10, found) for key, log10 in said.items()]

    def certified(self, other: nn.Module, **options) -> qn.Certificate:
        shape = qn.input_shape(self.name, self.weights)
        options = {"input_shape": shape, "radius": self.radius, **options}
        options |= {"memory": MEMORY} if self.large else {}
        return qn.certify(self.folded, other, **options)

    def row(self, bits: int, method: str, descent: float, log10: float, found) -> Row:
        sha256 = provenance(self.name, self.weights, 0)["sha256"]
        about = {key: value for key, value in versions().items() if key != "python"}
        return Row(
            self.name, bits, method, descent, math.ceil(log10 * 1e6) / 1e6, round(found.seconds, 2),
            self.radius, sha256, **about,
        )  # fmt: skip


def rounded(folded: nn.Module, bits: int) -> nn.Module:
    """A copy with weights on symmetric grids, a scale a channel, to nearest, without codes."""
    if bits <= QUANTIZED_BITS:
        return qn.quantize(folded, bits=bits).model
    if bits > MOST_BITS:
        raise qn.QnotesError(f"bits must be at most {MOST_BITS} for float64; got {bits}")
    network = copy.deepcopy(folded)
    with torch.no_grad():
        for layer in (operation.module for operation in operations(network)):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                rows = layer.weight.flatten(1)
                scale = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
                scale = torch.where(scale > 0, scale, 1.0)
                layer.weight.copy_(((rows / scale).round() * scale).view_as(layer.weight))
    return network


# ---------------------------------------------------------------- what is run, and in which order


def tasks(names: list[str], descent: dict[str, float]) -> Iterator[tuple]:
    """(network, bits, method, descent), the cheapest first."""
    large = [
        (name, bits) for name in names if name in FULL_SIZE for bits in LARGE_BITS[FULL_SIZE[name]]
    ]
    yield from ((*which, method, 0) for which in large for method in CHEAP)
    yield from ((*which, "ellipsoids", 0) for which in large if which[0] not in TOO_LARGE)
    names = [name for name in names if name not in FULL_SIZE]
    for method in CHEAP:
        yield from ((name, bits, method, 0) for name in names for bits in BITS)
    yield from ((name, AT, "best", 0) for name in names)
    yield from ((name, bits, "best", descent[name]) for name in names for bits in BITS)


class Table(Rows):
    """`data/certified.csv`."""

    file, row = FILE, Row

    def key(self, row: Row) -> tuple:
        return tuple(getattr(row, name) for name in KEY)

    def ordered(self) -> list[Row]:
        place, rows = list(DESCENT).index, self.kept.values()
        return sorted(rows, key=lambda row: (place(row.network), row.bits, row.method))


def certified_bits(network: Network, table: Table, descent: float) -> int:
    """The fewest bits whose rounded network has a bound of T14 of at most `TOLERANCE`.

    A decade costs about 3.32 bits, so the bound at `AT` bits says where to look. Each number of
    bits that is tried is a certificate of its own: it is checked at these very weights.
    """

    def log10(bits: int) -> float:
        key = (network.name, bits, "ellipsoids", descent)
        if key not in table.kept:
            table.add(network.rows(bits, "ellipsoids", descent))
        return table.kept[key].log10

    asked = math.log10(TOLERANCE)
    bits = math.ceil(AT + (log10(AT) - asked) / math.log10(2))
    while log10(bits) > asked:
        bits += 1
    while log10(bits - 1) <= asked:
        bits -= 1
    return bits


def main(arguments: list[str] | None = None) -> None:
    """Certify all networks, or some of them; each row is stored as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(DESCENT)} (all)")
    methods = [*CHEAP, "ellipsoids", "best"]
    parser.add_argument("--methods", nargs="*", default=methods, help="%(default)s")
    parser.add_argument("--bits", nargs="*", type=int, default=BITS, help="%(default)s")
    parser.add_argument("--seconds", type=float, help="of descent, in place of those of the script")
    parser.add_argument("--again", action="store_true", help="replace the rows that are there")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    names = options.networks or list(DESCENT)
    table = Table(options.data, again=options.again)
    descent = DESCENT if options.seconds is None else dict.fromkeys(names, options.seconds)
    chosen = [
        task for task in tasks(names, descent)
        if task[1] in options.bits and task[2] in options.methods and task not in table.kept
    ]  # fmt: skip
    networks: dict[str, Network] = {}
    with one_thread():
        for name, *task in tqdm(chosen):
            if name not in networks:
                networks[name] = Network(name)
            table.add(networks[name].rows(*task))
        for name in (name for name in ASKED if name in names and "best" in options.methods):
            network = networks.get(name) or Network(name)
            for seconds in (0, descent[name]):
                print(name, seconds, certified_bits(network, table, seconds), "bits")
    all_bits = {*options.bits} >= {*BITS}
    whole = options.seconds is None and all_bits and {*options.methods} >= {*methods}
    table.finish(names if whole else ())


if __name__ == "__main__":
    main()
