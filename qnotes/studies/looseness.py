"""From the typical error up to P1, stage by stage: what each step of looseness costs."""

from __future__ import annotations

import copy
import math

import pandas as pd
import torch
from torch import Tensor, nn

from qnotes.observation import Observation, output_errors
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds

#: The stages, from the truth to the oldest bound, and how a step to each from the one before is
#: called. What lies between two neighbours is one idea of the proofs.
STAGES = {
    "typical": "",
    "sampled": "typical to worst",
    "observed": "search",
    "T8": "signs",
    "T2": "rows",
    "T5 product form": "biases",
    "T5 mean form": "means",
    "P2": "one norm",
    "P3": "width",
    "P1": "entries",
}
#: One sentence for each step.
MEANINGS = {
    "typical to worst": "from the median input to the worst of those that were drawn",
    "search": "an ascent finds a worse input than drawing does",
    "signs": "every summand of every row counts with its worst sign; the largest error that there "
    "is lies somewhere in this step",
    "rows": "one number for a layer: each row counts as the largest, each channel as the loudest",
    "biases": "biases join the norms, no norm is below 1, and fan-in times gap stands for row sums "
    "of changes",
    "means": "the largest gap for all layers, and a mean to a power for products of norms",
    "one norm": "the largest norm and the widest map for all layers, and depth once more (T7)",
    "width": "P3 counts the widest map twice",
    "entries": "full rows of the largest entry stand for norms",
}


def typical_errors(
    network: nn.Module, quantized: nn.Module, inputs: Tensor, *, precision=torch.float32
) -> Tensor:
    """The error on each input, of copies in the given precision."""
    ours, theirs = (copy.deepcopy(net).to(precision) for net in (network, quantized))
    return output_errors(ours, theirs, inputs)


def stages(
    network: nn.Module,
    quantized: nn.Module,
    seen: Observation,
    typical: float,
    *,
    input_shape: tuple[int, ...],
    radius: float = 1.0,
) -> pd.Series:
    """log10 of the error and its bounds, from the truth upward.

    Args:
        network: the reference, with batch norms folded.
        quantized: its quantized copy.
        seen: from `qnotes.observe` on both.
        typical: a typical error, such as the median over images.
        input_shape: shape of one batch.
        radius: D.

    Returns:
        A value for each stage of `STAGES`, in that order, whatever its size; NaN where a
        hypothesis fails.
    """
    domain = {"input_shape": input_shape, "radius": radius}
    ladder = bounds(profile(network, quantized, **domain))
    ladder = ladder.assign(
        stage=[
            f"{row.theorem} {row.bound}" if row.theorem == "T5" else row.theorem
            for row in ladder.itertuples()
        ]
    ).drop_duplicates("stage")
    values = ladder.set_index("stage")["log10"].to_dict()
    values["typical"] = _log10(typical)
    values["sampled"] = _log10(seen.sampled)
    values["observed"] = _log10(seen.error)
    values["T8"] = vector_bound(network, quantized, **domain).max()
    return pd.Series({stage: values[stage] for stage in STAGES}, dtype=float)


def steps(values: pd.Series) -> pd.Series:
    """Decades of each step, from one stage to the next; indexed by the step's name."""
    found = values.diff().iloc[1:]
    found.index = [STAGES[stage] for stage in found.index]
    return found


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
