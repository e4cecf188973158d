"""GELU as exporters write it where ONNX had no such node yet: ½ x (1 + erf(x / √2))."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np


def with_gelu(nodes: Sequence, constants: Mapping[str, np.ndarray]) -> list:
    """The nodes of a file, with that product around each ``Erf`` as one ``Gelu``.

    Factors may come in any order. What only looks like it stays as it is.
    """
    found = list(nodes)
    for erf in (node for node in nodes if node.op_type == "Erf"):
        source, inside = _Product(found, constants).around(erf)
        if source:
            *_, last = inside
            gelu = type(erf)(op_type="Gelu", name=erf.name, input=[source], output=last.output)
            found = [gelu if node is last else node for node in found if node not in inside[:-1]]
    return found


class _Product:
    """What is a multiple of what, in a list of nodes."""

    def __init__(self, nodes: Sequence, constants: Mapping[str, np.ndarray]) -> None:
        self.nodes, self.constants = nodes, constants
        self.makers = {name: node for node in nodes for name in node.output}

    def around(self, erf) -> tuple[str, list]:
        """The x of a GELU, and the nodes from its ``Erf`` to the product; no name for all else."""
        source, scale = self.multiple(erf.input[0])
        (plus, one), inside = self.reader(erf), [erf]
        if plus is None or plus.op_type != "Add" or self.number(one) != 1:
            return "", inside
        near = 2 * float(np.finfo(self.number(one).dtype).eps)
        if not math.isclose(scale, 1 / math.sqrt(2), rel_tol=near):
            return "", inside
        inside, factor, times = [erf, plus], 1.0, 0
        while (factor, times) != (0.5, 1):
            node, other = self.reader(inside[-1])
            if node is None or node.op_type not in ("Mul", "Div") or times > 1:
                return "", inside
            number = self.number(other)
            values, often = (source, 1.0) if other == source else self.multiple(other)
            if number is not None and (node.op_type == "Mul" or node.input[1] == other):
                factor = factor * float(number) if node.op_type == "Mul" else factor / float(number)
            elif values == source and node.op_type == "Mul":
                factor, times = factor * often, times + 1
            else:
                return "", inside
            inside.append(node)
        return source, inside

    def reader(self, node) -> tuple[object, str]:
        """The one node that reads another, and the other thing that it reads; None for several."""
        readers = [other for other in self.nodes if node.output[0] in other.input]
        others = [name for one in readers for name in one.input if name != node.output[0]]
        return (readers[0], others[0]) if len(readers) == len(others) == 1 else (None, "")

    def multiple(self, name: str) -> tuple[str, float]:
        """What a value is a multiple of, and how often."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type not in ("Mul", "Div"):
            return name, 1.0
        first, second = maker.input
        if maker.op_type == "Mul" and self.number(first) is not None:
            first, second = second, first
        number = self.number(second)
        if number is None or not number:
            return name, 1.0
        return first, float(number) if maker.op_type == "Mul" else 1 / float(number)

    def number(self, name: str) -> np.ndarray | None:
        """The one number that a name stands for; None for all else."""
        found = self.constants.get(name)
        return found.reshape(()) if found is not None and found.size == 1 else None
