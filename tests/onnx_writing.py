"""ONNX files that tests write themselves, and what ONNX's own implementation says they compute."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator


def numbers(*shape: int, seed: int = 0, kind: str = "float32") -> np.ndarray:
    """Normal random numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(kind)


def node(kind: str, inputs: str, output: str = "y", **options) -> onnx.NodeProto:
    """``node("Conv", "x w b", "y", pads=...)``, called as its output is."""
    made = output.split()
    reads = inputs.split(" ") if inputs else []
    return helper.make_node(kind, reads, made, name=f"node_{made[0]}", **options)


def model(nodes, shape, constants=None, *, opset=21, kind=TensorProto.FLOAT, outputs=("y",)):
    """A model that reads ``x`` and ends with ``outputs``."""
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(output, kind, None) for output in outputs],
        stored,
    )
    opsets = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=opsets)
    made.ir_version = min(made.ir_version, 10)
    for output, found in zip(
        made.graph.output, shape_inference.infer_shapes(made).graph.output, strict=True
    ):
        # A shape has to be there, right or not.
        output.type.tensor_type.shape.CopyFrom(found.type.tensor_type.shape)
    return made


def written(path, *args, **options):
    """The same in a file, whose path comes back."""
    onnx.save(model(*args, **options), path)
    return path


def reference(path, inputs: np.ndarray, output: str | None = None) -> np.ndarray:
    """What a file computes."""
    (result,) = ReferenceEvaluator(onnx.load(path)).run(output and [output], {"x": inputs})
    return result
