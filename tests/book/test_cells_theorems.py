"""The allowance for the computer's own rounding, as the chapter writes it down."""

import sys

import numpy as np
import pytest

import qnotes as qn
from tests.book.cells import definitions

slack = definitions("theorems", "slack").slack
rounding_slack = sys.modules[qn.Theorem.__module__].rounding_slack


@pytest.mark.parametrize("depth", [1, 20, 152])
def test_slack_is_what_the_package_adds(depth):
    logs = {"small": np.array([-3.0]), "largest": np.array([300 * np.log(10), 2.0])}
    expected = rounding_slack(logs, depth)
    assert slack(depth, 300 * np.log(10)) == pytest.approx(expected, rel=1e-12)
