"""Write the table of promises again: `python -m data.measure_promised`, or `make errors`.

For the networks with ImageNet weights at several widths: what errors 299 random parts of
photographs show, and what they promise (T16). At 8 bits also what intervals prove about one
photograph alone. The page "How many bits do I need?" reads it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import pandas as pd
import torch

import qnotes as qn
from qnotes.experiments import in_precision, versions
from qnotes.files import data_folder, write_whole
from qnotes.measurements import CONFIDENCE, FEATURES, FRACTION, PARTS
from qnotes.networks.architectures import STORED
from qnotes.observation import distances
from qnotes.observation.promises import least_share, promised_rank
from qnotes.threads import one_thread

FILE = "promised.csv"
WIDTHS = (4, 6, 8, 9, 10, 11, 12)
#: The width at which a bound around one photograph is computed; it takes ten seconds.
AT = 8
SEED = 0


def promised(network: str, *, widths=WIDTHS, count: int = PARTS, seed: int = SEED) -> list[dict]:
    """A row for each width: errors are in the maximum norm of the outputs, networks in float32."""
    if not (rank := promised_rank(count, FRACTION, CONFIDENCE)):
        raise qn.QnotesError(f"{count} inputs are too few to promise anything; draw {PARTS}")
    prepared = qn.preprocessing(network, "imagenet")
    images = qn.photographs("test", preprocessing=prepared, count=count, seed=seed)
    folded = qn.fold(qn.load(network, weights="imagenet"))
    ours = qn.outputs(in_precision(folded, "float32"), images)
    about = {"network": network, "sha256": qn.provenance(network, "imagenet").get("sha256")}
    rows = []
    for bits in widths:
        quantized = qn.quantize(folded, bits=bits).model
        theirs = qn.outputs(in_precision(quantized, "float32"), images)
        errors = distances(ours, theirs).sort(descending=True).values
        row = {
            **about,
            "bits": bits,
            "seed": seed,
            "inputs": count,
            "size": ours.abs().amax(1).median().item(),
            "median": errors.median().item(),
            "largest": errors[0].item(),
            "promised": errors[rank - 1].item(),
            **(_classes(ours, theirs) if network not in FEATURES else {}),
        }
        if bits == AT:
            row |= _around(folded, quantized, prepared)
        rows.append(row)
    return rows


def _classes(ours: torch.Tensor, theirs: torch.Tensor) -> dict:
    """How many inputs keep their class, and the share of the distribution that so many promise."""
    same = int((ours.argmax(1) == theirs.argmax(1)).sum())
    return {"agreed": same, "agreement": least_share(same, len(ours), CONFIDENCE)}


def _around(folded, quantized, prepared) -> dict:
    """The first photograph alone: its error, and log10 of the bound by intervals."""
    one = qn.photographs("test", preprocessing=prepared)[:1]
    bound = qn.certify(folded, quantized, center=one, radius=0.0, method="intervals").largest
    error = qn.output_errors(folded, quantized, one).item()
    return {"image_error": error, "image_log10": math.ceil(bound * 1e4) / 1e4}


def main(arguments: list[str] | None = None) -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    with one_thread():  # sums have one order everywhere
        rows = [row for network in STORED for row in promised(network)]
    of = {name: version for name, version in versions().items() if name != "python"}
    table = pd.DataFrame([{**row, **of} for row in rows])
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_whole(options.data, {FILE: text.encode()})


if __name__ == "__main__":
    main()
