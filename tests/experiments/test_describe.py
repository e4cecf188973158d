"""The line under a figure."""

import pandas as pd
import torch

import qnotes as qn

ROW = {"weights": "digits", "bits": 8, "symmetric": True, "granularity": "channel", "radius": 1.0}


def described(*rows: dict) -> str:
    return qn.describe(pd.DataFrame([{**ROW, "seed": 0, **row} for row in rows]))


def test_one_scheme():
    assert described({}) == (
        "Weights: digits. Grid: 8 bits, symmetric, a scale per channel, rounded to nearest. "
        f"Inputs in [-1, 1]. Seed 0. qnotes {qn.__version__}, torch {torch.__version__}."
    )


def test_all_of_several_values():
    plain = {"rounding": "nearest", "clip": "minmax"}
    other = {"bits": 4, "symmetric": False, "rounding": "floor", "clip": "mse"}
    text = described(plain, other)
    assert "Grid: 4, 8 bits, symmetric, a scale per channel, rounded to nearest; affine" in text
    assert "floor rounding, clip mse." in text
    text = described({**plain, "clip": "percentile", "percentile": 99.0})
    assert "rounded to nearest, clip percentile, percentile 99." in text
    text = described({}, {"seed": 3, "radius": 0.5, "weights": "random"})
    assert "Weights: digits, random." in text
    assert "Inputs in [-0.5, 0.5] or [-1, 1]. Seeds 0, 3." in text


def test_a_table_of_a_sweep():
    table = qn.sweep("resnet20", bits=[4, 8], inputs=2, progress=False)
    assert qn.describe(table) == described({}, {"bits": 4})


def test_equalization_is_named():
    assert "Equalization: none, cle." in described({}, {"equalization": "cle"})
    assert "Equalization" not in described({"equalization": None})
