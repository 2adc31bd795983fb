"""A predictor's graph in fp16, with fp32 inputs and outputs."""

from __future__ import annotations

import onnx

# Sums over many values, squares and exponentials stay fp32: they leave fp16's range (65504), or vanish below it. Not so
# LayerNormalization and Softmax, which compute in fp32 inside: with casts around each, a GPU ran as many kernels more.
FP32_OPERATORS = (
    "GroupNormalization", "InstanceNormalization", "RMSNormalization", "LogSoftmax", "ReduceSum", "ReduceMean",
    "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "Pow", "Sqrt", "Exp", "Log",
)  # fmt: skip


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights and arithmetic in fp16, but for `FP32_OPERATORS`; its inputs and outputs stay fp32.

    Nothing here looks at ranges: a weight beyond 65504 becomes 65504. Who asks for fp16 compares what comes out.

    Args:
        model: without functions of its own, at most 2 GiB; it is changed.

    Raises:
        Exception: ONNX Runtime's tools cannot convert it, or are not installed; what they raise shares no base class.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    for number, node in enumerate(model.graph.node):  # by name the converter tells nodes from one another
        node.name = node.name or f"node_{number}"
    model = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FP32_OPERATORS],
        node_block_list=told_statistics(model.graph),
    )
    stay_wide(model.graph)
    OnnxModel.graph_topological_sort(model.graph)
    return model


def told_statistics(graph: onnx.GraphProto) -> list[str]:
    """Names of the normalisations that give their mean and deviation too, which are fp32 whatever the rest is."""
    return [node.name for node in graph.node if node.op_type == "LayerNormalization" and len(node.output) > 1]


def stay_wide(graph: onnx.GraphProto) -> None:
    """Take away every way through fp16 between two operators in fp32: a sum of squares must not pass it to its root."""
    narrow = {node.output[0]: node.input[0] for node in graph.node if _casts_to(node, onnx.TensorProto.FLOAT16)}
    for node in graph.node:
        if _casts_to(node, onnx.TensorProto.FLOAT) and node.input[0] in narrow:
            node.input[0] = narrow[node.input[0]]
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [node for node in graph.node if node.output[0] in set(narrow) - used]:
        graph.node.remove(node)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == kind for a in node.attribute)
