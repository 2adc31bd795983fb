"""GELU as PyTorch writes it becomes what ONNX Runtime takes for one operator, and says the same."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from jepa_ros.planning.compiled.gelu import name_gelu

ROOT_2 = math.sqrt(2.0)


def model(half: float = 0.5, halves_first: bool = True, read_twice: bool = False) -> onnx.ModelProto:
    """x · (½ · (1 + erf(x / √2))), its factors in either order."""
    value = helper.make_tensor_value_info
    outputs = [value("y", TensorProto.FLOAT, ["N"])]
    if read_twice:
        outputs.append(value("share", TensorProto.FLOAT, ["N"]))
    graph = helper.make_graph(
        [
            helper.make_node("Div", ["x", "root"], ["scaled"]),
            helper.make_node("Erf", ["scaled"], ["erf"]),
            helper.make_node("Add", ["erf", "one"], ["grown"]),
            helper.make_node("Mul", ["half", "grown"] if halves_first else ["grown", "half"], ["share"]),
            helper.make_node("Mul", ["x", "share"] if halves_first else ["share", "x"], ["y"]),
        ],
        "gelu",
        [value("x", TensorProto.FLOAT, ["N"])],
        outputs,
        [
            helper.make_tensor(name, TensorProto.FLOAT, [], [number])
            for name, number in {"root": ROOT_2, "one": 1.0, "half": half}.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def ran(made: onnx.ModelProto, tmp_path, x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What it says, and the operators that ONNX Runtime makes of it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    return session.run(["y"], {"x": x})[0], kinds


@pytest.mark.parametrize("halves_first", [True, False])
def test_five_operators_become_one_and_say_the_same(tmp_path, halves_first):
    x = np.random.default_rng(0).normal(0, 3, 4096).astype(np.float32)
    made = model(halves_first=halves_first)
    before, five = ran(made, tmp_path, x)
    assert name_gelu(made.graph) == 1
    onnx.checker.check_model(made)
    after, one = ran(made, tmp_path, x)
    assert (len(five), one) == (5, ["Gelu"])
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("other", [{"half": 0.25}, {"read_twice": True}])
def test_what_is_no_gelu_or_is_read_elsewhere_stays(other):
    made = model(**other)
    untouched = made.SerializeToString()
    assert name_gelu(made.graph) == 0
    assert made.SerializeToString() == untouched
