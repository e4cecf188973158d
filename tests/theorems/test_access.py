"""How chapters and users reach the theorems, and the numbers that belong to them."""

import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import qnotes as qn
from qnotes.theorems import notation as sy
from qnotes.theorems.T12_bits import BITS
from tests.random_profiles import layer, random_profile
from tests.variants import variant

FILES = sorted((Path(qn.theorems.__file__).parent).glob("[PT][0-9]*.py"))


@pytest.mark.medium
@pytest.mark.parametrize(
    "first",
    ["import qnotes.theorems", "import qnotes.theorems.T2_recursion", "qnotes.theorems()"],
)
def test_the_package_is_a_function_whatever_is_imported_first(first, root):
    program = f"""
import qnotes
{first}
import qnotes.theorems
from qnotes import theorems
assert qnotes.theorems is theorems is qnotes.__getattr__("theorems")
assert isinstance(theorems(), tuple) and theorems() is qnotes.theorems()
assert theorems()["T2"] is theorems.T2_recursion.RECURSION
"""
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)


@pytest.mark.medium
def test_theorems_need_no_torch_and_nothing_else_of_the_package(root):
    program = (
        "import sys; sys.modules['torch'] = None; import qnotes; qnotes.theorems(); "
        "print(*(name for name in sys.modules if name.startswith('qnotes.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[1] for name in done.stdout.split()}
    assert loaded == {"errors", "theorems"}


def test_every_number_has_one_file_and_every_file_its_theorem():
    rooms = {path.stem: getattr(qn.theorems, path.stem) for path in FILES}
    numbers = [name.split("_")[0] for name in rooms]
    assert sorted(numbers) == sorted({theorem.number for theorem in qn.theorems()})
    for name, room in rooms.items():
        here = [x for x in vars(room).values() if isinstance(x, qn.theorems.Result)]
        assert any(theorem.number == name.split("_")[0] for theorem in here)
        assert room.__doc__.startswith(name.split("_")[0] + ",")


def test_a_theorem_by_its_key():
    registry = qn.theorems()
    assert registry[0].key == "P1" and len(registry[:3]) == 3
    assert registry["T5 mean form"].form == "mean form"
    assert registry["T4"] is registry["T4 mean form"]
    with pytest.raises(qn.QnotesError, match="'T99' names 0 theorems; choose one of 'P1'"):
        registry["T99"]
    with pytest.raises(qn.QnotesError, match=r"'T5' names 2 .*'T5 product form', 'T5 mean form'$"):
        registry["T5"]


def test_quantities_of_a_theorem():
    sizes = (0.5, 3.0, 2.0)
    profile = qn.Profile(tuple(layer(joint_norm=size) for size in sizes), 5, 1.0)
    mean_form = qn.theorems()["T5 mean form"]
    assert mean_form.quantity(profile, sy.r_joint).tolist() == [1.0, 3.0, 2.0]
    assert mean_form.quantity(profile, sy.r_joint_min) == 1.0
    assert mean_form.quantity(profile, sy.r_joint_mean) == pytest.approx(2.5)
    alone = qn.Profile(profile.layers[:1], 5, 1.0)
    assert math.isnan(mean_form.quantity(alone, sy.r_joint_mean))
    counts = qn.theorems()["T7 gain"].quantity(profile, sy.n_mean)
    assert counts == pytest.approx(np.mean(mean_form.quantity(profile, sy.n_joint)))


def test_variants_have_values_and_no_proof():
    profile = random_profile(random.Random(1), depth=4, biases=False)
    theorem = qn.theorems()["T5 product form"]
    one_gap = variant(theorem, replacing={sy.eps_layer: sy.eps}, form="one gap")
    assert one_gap.key == "T5 one gap" and not one_gap.proof
    assert theorem.evaluate(profile) < one_gap.evaluate(profile)
    assert one_gap.evaluate(profile) <= qn.theorems()["T5 mean form"].evaluate(profile)
    assert one_gap.shares(profile).sum() == pytest.approx(1)
    uniform = qn.theorems()["P2"]
    factors = sp.Mul.make_args(uniform.value)
    decades = [variant(uniform, factor).evaluate(profile) for factor in factors]
    assert sum(decades) == pytest.approx(uniform.evaluate(profile))
    mean = sp.Sum(sy.r[sy.j], (sy.j, 1, sy.L)) / sy.L
    plain = variant(qn.theorems()["T4"], definitions={sy.r_mean: mean})
    assert plain.evaluate(profile) < qn.theorems()["T4"].evaluate(profile)


def test_bits_and_what_they_certify_are_inverse():
    assert BITS.half_step(3.0, 8) == 3.0 / 254
    for constant in (-2.0, 3.0, 80.0):
        bits = BITS.bits(constant, largest=0.7, tolerance=1e-3)
        assert BITS.log10_error(constant, largest=0.7, bits=bits) == pytest.approx(-3)
    deep = BITS.bits(400.0, largest=1.0, tolerance=0.5)
    assert deep == pytest.approx(1 + 400 * math.log2(10))
    expected = 1 + math.log2(1 + 100 * 0.7 / 0.02)
    assert BITS.bits(2.0, largest=0.7, tolerance=0.01) == pytest.approx(expected)
    several = BITS.bits(np.array([2.0, -math.inf]), largest=0.7, tolerance=0.01)
    assert several.tolist() == [pytest.approx(expected), 1.0]
