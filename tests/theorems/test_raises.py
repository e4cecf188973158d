"""Every refusal in the rules is needed: without it a false claim goes through."""

import ast
import copy
import inspect

import pytest

from qnotes.theorems import rules
from tests.theorems.test_rules import FALSE, _passes

#: Without these another exception would come, which says less.
ONLY_SAY_MORE = {
    ("Algebra.derive", "{len(weights)} weights for {len(used)} facts"),
    ("Induction.verify", "an induction needs a start and a step, and an index"),
    ("_must_be_so_many", "needs {count} facts, got {len(used)}"),
}


def _refusals():
    """Each `raise StepError(...)`: the class around it, the function, which of them, its words."""
    for node in ast.parse(inspect.getsource(rules)).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for function in (x for x in inside if isinstance(x, ast.FunctionDef)):
            for at, refusal in enumerate(filter(_refuses, ast.walk(function))):
                owner = node.name if isinstance(node, ast.ClassDef) else None
                words = ast.unparse(refusal.exc.args[0]).removeprefix("f").strip("'\"")
                yield owner, function, at, words


def _refuses(node) -> bool:
    return isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)


def _without(function, at: int):
    """The function with one refusal replaced by `pass`."""
    new = copy.deepcopy(function)
    refusal = list(filter(_refuses, ast.walk(new)))[at]
    for node in ast.walk(new):
        for body in (getattr(node, name, None) for name in ("body", "orelse")):
            if isinstance(body, list) and refusal in body:
                body[body.index(refusal)] = ast.copy_location(ast.Pass(), refusal)
    found: dict = {}
    code = compile(ast.fix_missing_locations(ast.Module([new], [])), rules.__file__, "exec")
    exec(code, vars(rules), found)
    return found[function.name]


CASES = {
    (".".join(filter(None, (owner, function.name))), words): (owner, function, at)
    for owner, function, at, words in _refusals()
}


def test_all_refusals_are_found():
    source = inspect.getsource(rules)
    assert len(CASES) == source.count("raise StepError(") >= 50
    assert CASES.keys() >= ONLY_SAY_MORE


@pytest.mark.medium
@pytest.mark.parametrize("case", CASES, ids=": ".join)
def test_no_refusal_can_be_left_out(case, monkeypatch):
    owner, function, at = CASES[case]
    where = getattr(rules, owner) if owner else rules
    monkeypatch.setattr(where, function.name, _without(function, at))
    passed = [name for name in FALSE if _passes(*FALSE[name])]
    assert bool(passed) == (case not in ONLY_SAY_MORE)
