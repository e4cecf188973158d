"""A second judge: z3 finds that algebra over the reals follows, and refutes what does not."""

from dataclasses import replace

import pytest
import sympy as sp

import qnotes as qn
from qnotes.theorems.rules import Algebra

pytestmark = pytest.mark.medium

z3 = pytest.importorskip("z3")


def _cases():
    for theorem in (*qn.theorems.LEMMAS, *qn.theorems()):
        known = {**theorem.facts(), **theorem.definition_facts()} if theorem.prove else {}
        for step in theorem.proof:
            facts = [(known[name], use) for name, use in zip(step.names, step.uses, strict=True)]
            if isinstance(step.rule, Algebra) and _fits(step.fact, *[fact for fact, _ in facts]):
                yield pytest.param(step, facts, id=f"{theorem.key}: {step.name}")
            known[step.name] = step.fact


def _fits(*facts) -> bool:
    """Without sums, products over layers, matrices and other functions of numbers."""
    sides = [side for fact in facts for side in (fact.left, fact.right)]
    return all(
        side.is_commutative
        and not side.has(sp.Sum, sp.Product, sp.exp, sp.log, sp.erfc, sp.Derivative)
        for side in sides
    )


class Judge:
    """Facts as formulae over real numbers: what is no arithmetic becomes a number with its sign."""

    def __init__(self):
        self.solver, self.numbers = z3.Solver(), {}
        self.solver.set("timeout", 5000)

    def term(self, part):
        if part.is_Rational:
            return z3.RealVal(f"{part.p}/{part.q}")
        if part.is_Add or part.is_Mul:
            terms = [self.term(arg) for arg in part.args]
            total = terms[0]
            for term in terms[1:]:
                total = total + term if part.is_Add else total * term
            return total
        if part.is_Pow and part.exp.is_Integer:
            base, power = self.term(part.base), z3.RealVal(1)
            for _ in range(abs(int(part.exp))):
                power = power * base
            return power if part.exp > 0 else 1 / power
        if part.is_Pow and part.exp.is_Add and part.exp.args[0].is_Integer:
            shift, rest = part.exp.as_coeff_Add()
            return self.term(part.base**rest) * self.term(part.base**shift)
        if part not in self.numbers:
            number = z3.Real(f"x{len(self.numbers)}")
            self.numbers[part] = number
            if part.is_positive and part.is_integer:
                self.solver.add(number >= 1)
            elif part.is_positive:
                self.solver.add(number > 0)
            elif part.is_nonnegative:
                self.solver.add(number >= 0)
        return self.numbers[part]

    def formula(self, fact):
        left, right = self.term(sp.expand(fact.left)), self.term(sp.expand(fact.right))
        return {
            "=": left == right,
            "<=": left <= right,
            ">=": left >= right,
            "<": left < right,
            ">": left > right,
        }[fact.sign]

    def refutes(self, claim, facts):
        """Numbers for which the facts hold and the claim does not; unsat where there are none."""
        opened, images = claim.opened()
        for fact, use in facts:
            own = {index: index for index, *_ in fact.each}
            own |= {} if isinstance(use, str) else use[1]
            here = {i: sp.sympify(x).subs(images, simultaneous=True) for i, x in own.items()}
            left, right = fact.at(here)
            self.solver.add(self.formula(replace(fact, left=left, right=right)))
        self.solver.add(z3.Not(self.formula(opened)))
        return self.solver.check()


CASES = list(_cases())


def test_many_steps_fit():
    assert len(CASES) >= 30


@pytest.mark.parametrize(("step", "facts"), CASES)
def test_algebra_follows_for_z3_too(step, facts):
    assert Judge().refutes(step.fact, facts) != z3.sat


@pytest.mark.parametrize(("step", "facts"), CASES)
def test_z3_does_not_accept_less(step, facts):
    side = "left" if step.fact.sign in (">=", ">") else "right"
    whole = getattr(step.fact, side)
    smaller = [replace(step.fact, **{side: new}) for new in (whole / 1000, whole - 1)]
    assert any(Judge().refutes(broken, facts) != z3.unsat for broken in smaller)
