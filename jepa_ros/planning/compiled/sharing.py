"""What a plan graph computes once: whether a model's graph takes one row of an input for all rows of the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from jepa_ros.planning.compiled.functions import GraphFunction
from jepa_ros.planning.compiled.tensors import GraphBuilder
from jepa_ros.types import Float32

_ROWS = 3


def takes_one_row(function: GraphFunction, shapes: Mapping[str, tuple[int, ...]], once: str, opset: int = 18) -> bool:
    """Whether a graph gives the same when one of its inputs has a single row: then what depends on it alone, such as a
    goal's embedding, is computed once. A graph that takes the number of rows from that input does not.

    Args:
        function: all its inputs are float32 `[batch, ...]`, and its one output too.
        shapes: of its inputs, without the batch.
        once: the input.
        opset: of ONNX's own operators.
    """
    rng = np.random.default_rng(0)
    rows = {name: rng.standard_normal((_ROWS, *shape)).astype(np.float32) for name, shape in shapes.items()}
    rows[once] = np.repeat(rows[once][:1], _ROWS, axis=0)
    expected = _run(function, rows, opset)
    found = _run(function, {**rows, once: rows[once][:1]}, opset)
    if expected is None or found is None or expected.shape != found.shape:
        return False
    return np.allclose(expected, found, rtol=1e-5, atol=1e-6)


def _run(function: GraphFunction, given: Mapping[str, Float32], opset: int) -> Float32 | None:
    graph = GraphBuilder(opset)
    inputs = {name: graph.input(name, array.shape) for name, array in given.items()}
    name = function.outputs[0]
    graph.output("output", graph.call(function, inputs, {name: (_ROWS,)})[name])
    model = graph.model()
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # that it fails is an answer, not a fault
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, dict(given))[0], np.float32)
    except Exception:  # noqa: BLE001 (ONNX Runtime's exceptions share no base class of their own)
        return None
