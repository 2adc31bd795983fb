"""A bundle's graphs as functions that a plan graph calls, with their weights kept once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
import onnx.version_converter
from onnx import TensorProto, helper

from jepa_ros.errors import BundleError
from jepa_ros.planning.compiled.gelu import name_gelu
from jepa_ros.planning.compiled.half import to_half

_DOMAIN = "jepa_ros.bundle"


@dataclass(frozen=True)
class GraphFunction:
    """A graph as a model-local function.

    Attributes:
        name: of the function, an identifier.
        inputs, outputs: of the graph, in the function's order; the weights follow the inputs.
        weights: initializers by the name they have in every graph that calls the function.
        proto: the function.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: dict[str, TensorProto]
    proto: onnx.FunctionProto


def opset_of(path: Path) -> int:
    """Of ONNX's own operators in a graph."""
    return _opset(onnx.load(str(path), load_external_data=False))


def graph_function(path: Path, name: str, opset: int, half: bool = False) -> GraphFunction:
    """Read a graph. Weights become arguments: as constants inside they would be copied with every call.

    Args:
        path: of the graph.
        name: of the function.
        opset: to which the graph is converted, if it has a lower one.
        half: whether it computes in fp16; inputs and outputs stay fp32.

    Raises:
        BundleError: not a graph, or one that cannot be converted.
    """
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's and onnx's errors share no base class
        raise BundleError(f"graph {path}: cannot be read ({error})") from error
    if _opset(model) != opset:
        try:
            model = onnx.version_converter.convert_version(model, opset)
        except Exception as error:  # as above
            raise BundleError(f"graph {path}: cannot be converted to opset {opset} ({error})") from error
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    name_gelu(model.graph)
    if half:
        try:
            model = to_half(model)
        except Exception as error:  # as above
            raise BundleError(f"graph {path}: cannot be converted to fp16 ({error})") from error
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in held]
    weights: dict[str, TensorProto] = {}
    for tensor in graph.initializer:
        kept = TensorProto()
        kept.CopyFrom(tensor)
        kept.name = f"{name}/{tensor.name}"
        weights[kept.name] = kept
    proto = helper.make_function(
        _DOMAIN,
        name,
        inputs=[*inputs, *(tensor.name for tensor in graph.initializer)],
        outputs=[value.name for value in graph.output],
        nodes=list(graph.node),
        opset_imports=list(model.opset_import),
    )
    return GraphFunction(name, tuple(inputs), tuple(value.name for value in graph.output), weights, proto)


def _opset(model: onnx.ModelProto) -> int:
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
