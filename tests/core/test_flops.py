"""Counts against ones worked out by hand: two operations a multiply-add."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jepa_ros.bundle.flops import graph_cost
from jepa_ros.errors import BundleError

FLOAT = TensorProto.FLOAT


def weights(**sizes):
    """Initializers of zeros, by name."""
    return [numpy_helper.from_array(np.zeros(size, np.float32), name) for name, size in sizes.items()]


def save(path, nodes, inputs, constants=(), functions=(), kind=FLOAT, opset=18, **how):
    """A graph with these inputs, whose output is `y` of unknown shape."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value(name, kind, shape) for name, shape in inputs.items()], [value("y", FLOAT, None)], constants
    )
    domains = {"": opset, **dict.fromkeys(("local", "com.microsoft"), 1)}
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*pair) for pair in domains.items()], functions=list(functions)
    )
    onnx.save(model, str(path), **how)
    return path


node = helper.make_node


@pytest.mark.parametrize(
    ("made", "inputs", "constants", "shapes", "flops"),
    [
        # [5, 3] × [3, 4]
        (node("MatMul", ["x", "w"], ["y"]), {"x": ["N", 3]}, {"w": (3, 4)}, {"x": (5, 3)}, 2 * 5 * 3 * 4),
        # [2, 7, 5, 3] × [7, 3, 4], broadcast over the 2
        (
            node("MatMul", ["x", "z"], ["y"]),
            {"x": ["N", 7, 5, 3], "z": [7, 3, 4]},
            {},
            {"x": (2, 7, 5, 3), "z": (7, 3, 4)},
            2 * 2 * 7 * 5 * 3 * 4,
        ),
        # a vector times a matrix
        (node("MatMul", ["x", "w"], ["y"]), {"x": [3]}, {"w": (3, 4)}, {"x": (3,)}, 2 * 3 * 4),
        (
            node("Gemm", ["x", "w", "b"], ["y"], transB=1),
            {"x": ["N", 3]},
            {"w": (4, 3), "b": (4,)},
            {"x": (6, 3)},
            2 * 6 * 3 * 4,
        ),
        (node("Gemm", ["x", "w"], ["y"], transA=1), {"x": [3, "N"]}, {"w": (3, 4)}, {"x": (3, 6)}, 2 * 6 * 3 * 4),
        # 8 × 8 → 4 × 4 with stride 2; each of 10 channels from 6 / 2 channels of 3 × 3
        (
            node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], group=2),
            {"x": ["N", 6, 8, 8]},
            {"w": (10, 3, 3, 3)},
            {"x": (2, 6, 8, 8)},
            2 * (2 * 10 * 4 * 4) * (3 * 3 * 3),
        ),
        # each of 6 × 4 × 4 values is spread over 5 channels of 2 × 2
        (
            node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
            {"x": ["N", 6, 4, 4]},
            {"w": (6, 5, 2, 2)},
            {"x": (1, 6, 4, 4)},
            2 * (6 * 4 * 4) * (5 * 2 * 2),
        ),
        # 9 steps, batch 2, forward and backward, 4 gates of hidden 5 on input 3
        (
            node("LSTM", ["x", "w", "r"], ["y"], hidden_size=5, direction="bidirectional"),
            {"x": [9, "N", 3]},
            {"w": (2, 20, 3), "r": (2, 20, 5)},
            {"x": (9, 2, 3)},
            2 * 9 * 2 * (2 * 4 * 5 * (3 + 5)),
        ),
        (
            node("GRU", ["x", "w", "r"], ["y"], hidden_size=5),
            {"x": [9, "N", 3]},
            {"w": (1, 15, 3), "r": (1, 15, 5)},
            {"x": (9, 2, 3)},
            2 * 9 * 2 * (3 * 5 * (3 + 5)),
        ),
        (
            node("Einsum", ["x", "z"], ["y"], equation="bhid, bhjd -> bhij"),
            {"x": ["N", 2, 5, 3], "z": ["N", 2, 7, 3]},
            {},
            {"x": (4, 2, 5, 3), "z": (4, 2, 7, 3)},
            2 * 4 * 2 * 5 * 7 * 3,
        ),
        # dots: [4, 2] on one side, [2] on the other
        (
            node("Einsum", ["x", "z"], ["y"], equation="...ij,...jk->...ik"),
            {"x": ["N", 2, 5, 3], "z": [2, 3, 7]},
            {},
            {"x": (4, 2, 5, 3), "z": (2, 3, 7)},
            2 * 4 * 2 * 5 * 3 * 7,
        ),
        (node("Einsum", ["x"], ["y"], equation="ij->ji"), {"x": ["N", 3]}, {}, {"x": (4, 3)}, 0),
        (node("Softmax", ["x"], ["y"]), {"x": ["N", 3]}, {}, {"x": (4, 3)}, 0),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)
def test_one_operator(tmp_path, made, inputs, constants, shapes, flops):
    path = save(tmp_path / "g.onnx", [made], inputs, weights(**constants))
    found = graph_cost(path, shapes)
    assert found.flops == flops
    assert found.operators == {made.op_type: 1}
    assert found.weight_bytes == sum(4 * int(np.prod(size)) for size in constants.values())


def test_it_grows_with_the_batch(tmp_path):
    path = save(tmp_path / "g.onnx", [node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 3]}, weights(w=(3, 4)))
    assert graph_cost(path, {"x": (50, 3)}).flops == 10 * graph_cost(path, {"x": (5, 3)}).flops


def test_shapes_are_followed_through_the_graph(tmp_path):
    """A reshape by sizes that are worked out in the graph, as PyTorch exports it."""
    nodes = [
        node("Shape", ["x"], ["size"], end=1),
        node("Concat", ["size", "rest"], ["wanted"], axis=0),
        node("Reshape", ["x", "wanted"], ["flat"]),
        node("MatMul", ["flat", "w"], ["y"]),
    ]
    rest = numpy_helper.from_array(np.array([-1], np.int64), "rest")
    path = save(tmp_path / "g.onnx", nodes, {"x": ["N", 2, 3]}, [rest, *weights(w=(6, 4))])
    assert graph_cost(path, {"x": (5, 2, 3)}).flops == 2 * 5 * 6 * 4


def test_a_function_is_counted_at_each_call_and_its_weights_once(tmp_path):
    twelve = helper.make_tensor("twelve", FLOAT, [3, 4], np.zeros(12))
    square = helper.make_function(
        "local",
        "thrice",
        ["a"],
        ["b"],
        [
            node("Constant", [], ["w"], value=twelve),
            node("MatMul", ["a", "w"], ["wide"]),
            node("Transpose", ["w"], ["back"], perm=[1, 0]),
            node("MatMul", ["wide", "back"], ["b"]),
        ],
        [helper.make_opsetid("", 18)],
    )
    calls = [node("thrice", ["x"], ["h"], domain="local"), node("thrice", ["h"], ["y"], domain="local")]
    found = graph_cost(save(tmp_path / "g.onnx", calls, {"x": ["N", 3]}, functions=[square]), {"x": (5, 3)})
    assert found.flops == 2 * (2 * 2 * 5 * 3 * 4)
    assert found.weight_bytes == 12 * 4
    assert found.operators == {"Constant": 1, "MatMul": 2, "Transpose": 1, "local.thrice": 2}


def body(nodes, output, inputs=()):
    value = helper.make_tensor_value_info
    return helper.make_graph(nodes, "body", list(inputs), [value(output, FLOAT, None)])


def test_of_a_condition_the_dearer_branch_counts(tmp_path):
    cheap = body([node("MatMul", ["x", "small"], ["a"])], "a")
    dear = body([node("MatMul", ["x", "big"], ["b"])], "b")
    condition = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    made = node("If", ["yes"], ["y"], then_branch=cheap, else_branch=dear)
    path = save(tmp_path / "g.onnx", [made], {"x": ["N", 3]}, [condition, *weights(small=(3, 2), big=(3, 50))])
    assert graph_cost(path, {"x": (5, 3)}).flops == 2 * 5 * 3 * 50


def test_a_loop_counts_its_turns(tmp_path):
    value = helper.make_tensor_value_info
    turn = helper.make_graph(
        [node("MatMul", ["x", "w"], ["row"]), node("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])],
        [value("on", TensorProto.BOOL, []), value("row", FLOAT, None)],
    )
    count = numpy_helper.from_array(np.array(7, np.int64), "count")
    path = save(
        tmp_path / "g.onnx",
        [node("Loop", ["count", ""], ["y"], body=turn)],
        {"x": ["N", 3]},
        [count, *weights(w=(3, 4))],
    )
    assert graph_cost(path, {"x": (5, 3)}).flops == 7 * 2 * 5 * 3 * 4


def test_a_scan_counts_its_turns(tmp_path):
    value = helper.make_tensor_value_info
    turn = helper.make_graph(
        [node("MatMul", ["row", "w"], ["out"])], "body", [value("row", FLOAT, None)], [value("out", FLOAT, None)]
    )
    made = node("Scan", ["x"], ["y"], body=turn, num_scan_inputs=1, scan_input_axes=[1])
    path = save(tmp_path / "g.onnx", [made], {"x": ["N", 6, 3]}, weights(w=(3, 4)))
    assert graph_cost(path, {"x": (5, 6, 3)}).flops == 6 * 2 * 5 * 3 * 4


INPUTS = (["x", "w", "s"], ["h"], None, None, "com.microsoft")


@pytest.mark.parametrize(
    ("made", "weight", "size"),
    [
        (node("MatMulNBits", *INPUTS, K=32, N=4, bits=4, block_size=32), (4, 1, 16), 64),
        (node("DynamicQuantizeMatMul", *INPUTS), (32, 4), 128),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)
def test_products_that_onnx_does_not_know(tmp_path, made, weight, size):
    """And what comes after them."""
    packed = numpy_helper.from_array(np.zeros(weight, np.uint8), "w")
    path = save(
        tmp_path / "g.onnx",
        [made, node("MatMul", ["h", "v"], ["y"])],
        {"x": ["N", 32]},
        [packed, *weights(s=(4,), v=(4, 8))],
    )
    found = graph_cost(path, {"x": (5, 32)})
    assert found.flops == 2 * 5 * 32 * 4 + 2 * 5 * 4 * 8
    assert found.weight_bytes == size + 4 * 4 + 4 * 8 * 4
    assert found.operators == {"MatMul": 1, f"com.microsoft.{made.op_type}": 1}


def test_integer_forms(tmp_path):
    nodes = [node("ConvInteger", ["x", "w"], ["h"]), node("Cast", ["h"], ["y"], to=FLOAT)]
    kernel = numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.uint8), "w")
    path = save(tmp_path / "g.onnx", nodes, {"x": ["N", 3, 6, 6]}, [kernel], kind=TensorProto.UINT8)
    found = graph_cost(path, {"x": (1, 3, 6, 6)})
    assert (found.flops, found.weight_bytes) == (2 * (8 * 4 * 4) * (3 * 3 * 3), 8 * 27)


@pytest.mark.parametrize("together", [False, True], ids=["4 axes", "3 axes"])
def test_attention(tmp_path, together):
    """5 queries of 4 heads of 8, 7 keys of the same, values of 6: each query with each key, and each weight with its
    value. The two forms of the operator are the same work."""
    sizes = {"q": (2, 4, 5, 8), "k": (2, 4, 7, 8), "v": (2, 4, 7, 6)}
    heads = {}
    if together:
        sizes, heads = {"q": (2, 5, 32), "k": (2, 7, 32), "v": (2, 7, 24)}, {"q_num_heads": 4, "kv_num_heads": 4}
    made = node("Attention", ["q", "k", "v"], ["y"], **heads)
    path = save(tmp_path / "g.onnx", [made], sizes, opset=23)
    assert graph_cost(path, sizes).flops == 2 * 2 * 4 * (5 * 7 * 8 + 5 * 7 * 6)


def test_weights_of_four_bits(tmp_path):
    tensor = helper.make_tensor("w", TensorProto.INT4, [3, 3], np.zeros(9, np.int8))
    path = save(tmp_path / "g.onnx", [node("Identity", ["x"], ["y"])], {"x": ["N"]}, [tensor])
    assert graph_cost(path, {"x": (1,)}).weight_bytes == 5  # nine halves of a byte


def test_tensors_in_other_files_are_not_read(tmp_path):
    path = save(
        tmp_path / "g.onnx",
        [node("MatMul", ["x", "w"], ["y"])],
        {"x": ["N", 64]},
        weights(w=(64, 64)),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    (tmp_path / "weights.bin").unlink()
    found = graph_cost(path, {"x": (2, 64)})
    assert (found.flops, found.weight_bytes) == (2 * 2 * 64 * 64, 4 * 64 * 64)


def test_a_shape_that_does_not_follow(tmp_path):
    nodes = [node("Mystery", ["x"], ["h"], domain="com.microsoft"), node("MatMul", ["h", "w"], ["y"], name="second")]
    path = save(tmp_path / "g.onnx", nodes, {"x": ["N", 3]}, weights(w=(3, 4)))
    with pytest.raises(BundleError, match=r"g\.onnx: MatMul 'second' cannot be counted, the shape of 'y' does not"):
        graph_cost(path, {"x": (5, 3)})


@pytest.mark.parametrize(
    ("shapes", "says"),
    [({"z": (1,)}, "has no input z"), ({"x": (1, 2, 3)}, r"input x has 2 axes, not the 3 of")],
)
def test_shapes_that_are_not_the_graphs(tmp_path, shapes, says):
    path = save(tmp_path / "g.onnx", [node("Identity", ["x"], ["y"])], {"x": ["N", 3]})
    with pytest.raises(BundleError, match=says):
        graph_cost(path, shapes)


def test_no_graph(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"g\.onnx: is not an ONNX graph"):
        graph_cost(tmp_path / "g.onnx", {})
