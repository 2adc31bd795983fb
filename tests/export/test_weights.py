"""Large weights lie beside the graphs, each once, where the loader finds and checks them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jepa_ros.runtime import Session
from jepa_ros_export import weights
from jepa_ros_export.weights import WEIGHTS, save_graph

MATRIX = np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)
OTHER = MATRIX + 1


def graph(*matrices):
    nodes, given, constants = [], "x", []
    for number, matrix in enumerate(matrices):
        constants.append(numpy_helper.from_array(matrix, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [given, f"w{number}"], [f"y{number}"]))
        given = f"y{number}"
    constants.append(numpy_helper.from_array(np.float32(2), "two"))
    nodes.append(helper.make_node("Mul", [given, "two"], ["y"]))
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["N", 40])], [value("y", TensorProto.FLOAT, ["N", 40])], constants
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def says(path):
    return Session(path).run(x=np.eye(40, dtype=np.float32))["y"]


@pytest.fixture
def outside(monkeypatch):
    monkeypatch.setattr(weights, "_INSIDE", 1000)


def test_a_small_graph_keeps_its_weights(tmp_path):
    save_graph(graph(MATRIX), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    np.testing.assert_allclose(says(tmp_path / "a.onnx"), 2 * MATRIX, rtol=1e-5)


def test_what_two_graphs_share_is_kept_once(tmp_path, outside):
    save_graph(graph(MATRIX), tmp_path / "a.onnx")
    size = (tmp_path / WEIGHTS).stat().st_size
    assert size == MATRIX.nbytes
    save_graph(graph(MATRIX, OTHER, MATRIX), tmp_path / "b.onnx")
    assert (tmp_path / WEIGHTS).stat().st_size == 8192 + OTHER.nbytes, "one more, at the next page"
    np.testing.assert_allclose(says(tmp_path / "a.onnx"), 2 * MATRIX, rtol=1e-5)
    np.testing.assert_allclose(says(tmp_path / "b.onnx"), 2 * MATRIX @ OTHER @ MATRIX, rtol=1e-3, atol=1e-3)


def test_small_tensors_stay_inside(tmp_path, outside):
    save_graph(graph(MATRIX), tmp_path / "a.onnx")
    stored = onnx.load(str(tmp_path / "a.onnx"), load_external_data=False).graph.initializer
    assert {tensor.name: bool(tensor.external_data) for tensor in stored} == {"w0": True, "two": False}
