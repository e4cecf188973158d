"""Proofs checked many times: what a step says of the same facts is remembered."""

from contextlib import contextmanager

from qnotes.theorems.facts import StepError
from qnotes.theorems.rules import Apply, Falling, Limit, Primitive
from qnotes.theorems.theorem import Step


@contextmanager
def remembered():
    """Within it, a step that meets the same facts again is not derived again."""
    known, original = {}, Step.verify

    def verify(step, facts, fixed):
        rule = _content(step.rule)
        if rule is None:
            return original(step, facts, fixed)
        met = fixed if isinstance(step.rule, Limit | Falling | Primitive) else None
        used = tuple(
            (facts.get(name), () if isinstance(use, str) else tuple(use[1].items()))
            for name, use in zip(step.names, step.uses, strict=True)
        )
        key = (step.fact, rule, used, step.name in facts, met)
        if key not in known:
            try:
                original(step, facts, fixed)
                known[key] = None
            except StepError as error:
                known[key] = error
        if known[key] is not None:
            raise known[key]

    Step.verify = verify
    try:
        yield
    finally:
        Step.verify = original


def _content(rule):
    """A rule as a key: of another theorem with what stands for its symbols; None for functions."""
    if not isinstance(rule, Apply):
        return rule
    if any(callable(new) and not hasattr(new, "args") for new in rule.meanings.values()):
        return None
    return Apply, rule.theorem, tuple(rule.meanings.items())
