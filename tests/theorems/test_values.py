"""The log-domain value, the SymPy expression and a plain exact computation agree.

The exact values are rational: a profile's numbers are floats, and floats are fractions.
"""

import math
import random
from fractions import Fraction
from math import prod

import mpmath
import pytest
import sympy as sp

import qnotes as qn
from qnotes.theorems import Recursion
from qnotes.theorems import notation as symbols
from tests.random_profiles import layer, random_profile

DIGITS = 60


THEOREMS = [theorem for theorem in qn.theorems() if isinstance(theorem, qn.Theorem)]
BOUNDS = [theorem for theorem in THEOREMS if isinstance(theorem.statement, sp.Le)]


def value(key: str, profile: qn.Profile) -> float:
    (theorem,) = [theorem for theorem in THEOREMS if theorem.key == key]
    return theorem.evaluate(profile)


# -- every formula once more, in fractions, without SymPy and without logarithms -------------------


def exact_values(profile: qn.Profile) -> dict[str, Fraction]:
    layers, depth, radius = profile.layers, profile.depth, Fraction(profile.radius)
    reach = max(radius, Fraction(1))
    r = [Fraction(x.norm) for x in layers]
    joint = [max(Fraction(1), Fraction(x.joint_norm)) for x in layers]
    gaps = [Fraction(max(x.gap, x.bias_gap)) for x in layers]
    n = [x.fan_in for x in layers]
    n_joint = [x.fan_in + (1 if x.bias_gap > 0 else 0) for x in layers]
    widest = max(x.reads for x in layers)
    row = max([profile.input_width, *(x.row for x in layers), *(x.width for x in layers[:-1])])
    peak = Fraction(max([1.0, *(x.peak for x in layers)]))
    one_norm = Fraction(max([1.0, *(max(x.norm, x.bias_norm) for x in layers)]))
    mean = leave_one_out_mean(r)
    joint_mean = leave_one_out_mean(joint)
    p2 = reach * widest * Fraction(depth * (depth + 3), 2) * one_norm ** (depth - 1) * max(gaps)
    t5 = reach * joint_mean ** (depth - 1) * sum(n_joint) * max(gaps)
    return {
        "P1": reach * depth * Fraction(row + 1) ** depth * peak ** (depth - 1) * max(gaps),
        "P2": p2,
        "P3": reach * depth * widest**2 * max(joint) ** (depth - 1) * max(gaps),
        "T2": recursion(profile),
        "T3 product form": radius
        * sum(Fraction(layers[k].gap_norm) * others(r, k) for k in range(depth)),
        "T4 mean form": radius * mean ** (depth - 1) * sum(n) * max(gaps),
        "T5 product form": reach
        * sum(n_joint[k] * gaps[k] * others(joint, k) for k in range(depth)),
        "T5 mean form": t5,
        "T6 mean form": t5,
    }


def others(values: list[Fraction], k: int) -> Fraction:
    return prod((x for j, x in enumerate(values) if j != k), start=Fraction(1))


def leave_one_out_mean(values: list[Fraction]) -> Fraction:
    if len(values) == 1:
        return Fraction(1)
    return (sum(values) - min(values)) / (len(values) - 1)


def recursion(profile: qn.Profile) -> Fraction:
    s, e = Fraction(profile.radius), Fraction(0)
    for x in profile.layers:
        e = Fraction(x.norm) * e + Fraction(x.gap_norm) * s + Fraction(x.bias_gap)
        s = Fraction(x.norm) * s + Fraction(x.bias_norm)
    return e


def log10(exact: Fraction) -> mpmath.mpf:
    with mpmath.workdps(DIGITS):
        return mpmath.log10(mpmath.mpf(exact.numerator) / exact.denominator)


def assert_rounded_up(computed: float, exact: mpmath.mpf, tolerance: float) -> None:
    assert computed >= exact, f"{computed} lies below the exact {exact}"
    assert computed - exact <= tolerance * max(1, abs(exact))


@pytest.mark.parametrize("seed", range(120))
def test_value_is_the_exact_one_rounded_up(seed):
    rng = random.Random(seed)
    profile = random_profile(rng, depth=rng.randint(1, 12), biases=seed % 2 == 0)
    exact = exact_values(profile)
    for theorem in THEOREMS:
        if theorem.key in exact and not theorem.assumptions(profile):
            assert_rounded_up(theorem.evaluate(profile), log10(exact[theorem.key]), 1e-12)


def test_every_bound_is_compared():
    compared = exact_values(random_profile(random.Random(0), depth=2, biases=True))
    assert set(compared) == {theorem.key for theorem in BOUNDS}


# -- the SymPy expression itself, with rational numbers put in -------------------------------------


def rational(profile: qn.Profile, symbol):
    given = symbols.QUANTITIES[symbol].value(profile)
    exact = [sp.Rational(x) for x in (given if isinstance(given, list) else [given])]
    return exact if isinstance(given, list) else exact[0]


def substituted(expression: sp.Expr, profile: qn.Profile, extra=None) -> sp.Rational:
    found = expression.atoms(sp.Symbol, sp.IndexedBase)
    known = {x: rational(profile, x) for x in symbols.QUANTITIES if x in found} | (extra or {})
    scalars = {x: y for x, y in known.items() if not isinstance(y, list)}
    unrolled = expression.subs(symbols.L, profile.depth).doit()
    lookup = lambda x: known[x.base][int(x.indices[0]) - 1]  # noqa: E731
    return unrolled.replace(lambda x: isinstance(x, sp.Indexed), lookup).subs(scalars)


def sympy_value(theorem, profile: qn.Profile) -> sp.Rational:
    if not isinstance(theorem, Recursion):
        return substituted(theorem.value, profile)
    running = {base: [substituted(start, profile)] for base, start in theorem.initial.items()}
    for ell in range(1, profile.depth + 1):
        before = {base: [sp.nan] * (ell - 2) + [x[-1]] for base, x in running.items()}
        for base, step in theorem.steps.items():
            here = shifted(step, running, ell)
            running[base].append(substituted(here, profile, before))
    return running[symbols.e][-1]


def shifted(step: sp.Expr, running, ell: int) -> sp.Expr:
    """A step at one layer, with the running quantities of the layer before put in."""
    previous = {base[symbols.ell - 1]: values[ell - 1] for base, values in running.items()}
    return step.subs(previous).subs(symbols.ell, ell)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("biases", [True, False])
def test_sympy_expression_is_the_exact_value(depth, biases):
    profile = random_profile(random.Random(depth), depth=depth, biases=biases)
    exact = exact_values(profile)
    for theorem in THEOREMS:
        if theorem.key in exact and not (depth == 1 and "mean" in theorem.key):
            assert Fraction(str(sympy_value(theorem, profile))) == exact[theorem.key], theorem.key


def test_gain_is_the_quotient_of_p2_and_t5():
    for seed in range(50):
        rng = random.Random(seed)
        profile = random_profile(rng, depth=rng.randint(1, 9), biases=True)
        exact = exact_values(profile)
        assert_rounded_up(
            value("T7 gain", profile), log10(exact["P2"] / exact["T5 mean form"]), 1e-12
        )


# -- extremes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [1e-300, 1e-3, 0.5, 1.0, 3.7, 1e3, 1e300])
def test_depth_1000_does_not_overflow(norm):
    depth, gap, n = 1000, 1e-3, 7
    layers = [
        layer(fan_in=n, norm=norm, joint_norm=norm, gap=gap, gap_norm=n * gap, bias_norm=0.0)
        for _ in range(depth)
    ]
    profile = qn.Profile(tuple(layers), 5, 1.0)
    with mpmath.workdps(DIGITS):
        log_norm = mpmath.log10(mpmath.mpf(norm))
        log_gap_norm = mpmath.log10(mpmath.mpf(n * gap))
        # n * gap is rounded in the profile; the mean form multiplies exactly.
        log_sum = mpmath.log10(mpmath.mpf(gap)) + mpmath.log10(depth * n)
        exact_product = mpmath.log10(depth) + log_gap_norm + (depth - 1) * log_norm
        exact_mean = log_sum + (depth - 1) * log_norm
    for key in ("T2", "T3 product form"):
        assert_rounded_up(value(key, profile), exact_product, 1e-8)
    assert_rounded_up(value("T4 mean form", profile), exact_mean, 1e-8)


def test_values_far_outside_the_range_of_floats():
    for exponent in (-200, 200):
        norm = 10.0**exponent
        layers = tuple(layer(norm=norm, joint_norm=norm, bias_norm=0.0) for _ in range(40))
        assert value("T2", qn.Profile(layers, 5, 1.0)) == pytest.approx(39 * exponent, abs=2)


def test_zero_gaps_give_a_bound_of_zero():
    for depth in (1, 2, 7):
        layers = tuple(layer(gap=0.0, gap_norm=0.0, bias_norm=0.0) for _ in range(depth))
        profile = qn.Profile(layers, 5, 1.0)
        for theorem in BOUNDS:
            if not theorem.assumptions(profile):
                assert theorem.evaluate(profile) == -math.inf, theorem.key


def test_a_zero_layer_does_not_make_a_nan():
    zero = layer(norm=0.0, joint_norm=0.0, gap=0.0, gap_norm=0.0, bias_norm=0.0, peak=0.0)
    for layers in ([zero, zero], [layer(bias_norm=0.0), zero, layer(bias_norm=0.0)], [zero] * 5):
        profile = qn.Profile(tuple(layers), 5, 1.0)
        for theorem in THEOREMS:
            computed = theorem.evaluate(profile)
            assert math.isnan(computed) == bool(theorem.assumptions(profile)), theorem.key


def test_one_layer():
    one = layer(fan_in=3, gap=0.25, gap_norm=0.75, norm=2.0, joint_norm=2.0, bias_norm=0.0)
    profile = qn.Profile((one,), 3, 2.0)
    for key in ("T2", "T3 product form", "T4 mean form", "T5 product form", "T5 mean form"):
        assert value(key, profile) == pytest.approx(math.log10(2 * 0.75), abs=1e-13)
