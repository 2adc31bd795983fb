"""What running a graph once costs: floating-point operations, counted from its shapes, and bytes of weights.

Shapes are ONNX's own inference with the inputs' sizes filled in. Nothing is run, and tensors kept in other files are
not read: their sizes stand in the graph.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, inliner, shape_inference

from jepa_ros.bundle.graphs import tensors_of
from jepa_ros.errors import BundleError

Shape = tuple[int, ...]

# A tensor of more values than this is a weight: shapes, axes and the like, which inference reads, are shorter.
_LONGEST_SHAPE = 1024
_BITS = {
    number: bits
    for name, number in TensorProto.DataType.items()
    for end, bits in (("INT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2))
    if name.endswith(end)
}


@dataclass(frozen=True)
class GraphCost:
    """Of one run of a graph.

    Attributes:
        flops: two for every multiply-add.
        weight_bytes: of the tensors that the graph holds or names.
        operators: how often each operator stands in the graph and its functions, as written.
    """

    flops: int
    weight_bytes: int
    operators: dict[str, int]


def graph_cost(path: Path, shapes: Mapping[str, Shape]) -> GraphCost:
    """Count a graph whose inputs have these shapes.

    Counted, at two operations a multiply-add: MatMul, Gemm, Conv, ConvTranspose, Einsum, RNN, GRU, LSTM, Attention,
    their integer forms (MatMulInteger, QLinearMatMul, ConvInteger, QLinearConv), and com.microsoft's MatMulNBits and
    DynamicQuantizeMatMul. Everything else (sums, activations, norms, softmax, reshapes, other operators that are not
    ONNX's own) is left out: it is a few operations an element, against the hundreds of a product.

    Functions are counted wherever they are called. Of an If the dearer branch counts; the body of a Scan, or of a Loop
    with a constant trip count, counts once a turn, that of any other Loop once.

    Args:
        path: the `.onnx` file.
        shapes: of every input, by name.

    Raises:
        BundleError: not an ONNX graph, no such input, or a counted operator whose shapes do not follow from these.
    """
    try:
        model = onnx.load_model(str(path), format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf's and onnx's errors share no base class
        raise BundleError(f"graph {path}: is not an ONNX graph") from error
    weights = sum(_bytes(tensor) for tensor in tensors_of(model))
    operators = operator_counts(model)
    for tensor in tensors_of(model):
        if math.prod(tensor.dims) > _LONGEST_SHAPE:
            _empty(tensor)
    try:
        model = inliner.inline_local_functions(model)
        _as_standard_operators(model.graph)
        _fill_in(model.graph, shapes, path)
        model = shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except BundleError:
        raise
    except Exception as error:  # as above
        raise BundleError(f"graph {path}: its shapes cannot be inferred ({str(error).splitlines()[0]})") from error
    return GraphCost(2 * _Counter(path).graph(model.graph, {}), weights, operators)


def operator_counts(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator stands in a model: its graph, subgraphs and functions. Those that are not ONNX's own
    have their domain before them."""
    found: Counter[str] = Counter()

    def look(nodes: Sequence[onnx.NodeProto]) -> None:
        for node in nodes:
            found[node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"] += 1
            for body in _bodies(node).values():
                look(body.node)

    look(model.graph.node)
    for function in model.functions:
        look(function.node)
    return dict(sorted(found.items()))


class _Counter:
    """Multiply-adds of graphs whose shapes are inferred."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def graph(self, graph: onnx.GraphProto, outer: Mapping[str, Shape]) -> int:
        """Multiply-adds of one run.

        Args:
            graph: or the body of a node.
            outer: shapes that a body sees from outside.
        """
        shapes = {**outer, **_shapes(graph)}
        numbers = {tensor.name: tensor for tensor in graph.initializer}
        numbers |= {
            node.output[0]: a.t
            for node in graph.node
            if node.op_type == "Constant"
            for a in node.attribute
            if a.name == "value"
        }
        return sum(self._node(node, shapes, numbers) for node in graph.node)

    def _node(self, node: onnx.NodeProto, shapes: Mapping[str, Shape], numbers: Mapping[str, onnx.TensorProto]) -> int:
        if node.domain not in ("", "ai.onnx"):
            return 0
        inside = {name: self.graph(body, shapes) for name, body in _bodies(node).items()}
        if inside:
            return max(inside.values()) * _turns(node, shapes, numbers) if any(inside.values()) else 0
        if node.op_type not in _COUNTED:
            return 0
        try:
            return _COUNTED[node.op_type](node, shapes)
        except KeyError as error:
            raise BundleError(
                f"graph {self._path}: {node.op_type} {node.name!r} cannot be counted, the shape of {error} does not "
                "follow from the inputs; save the graph with the shapes of its values"
            ) from error


def _product(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    first = shapes[node.input[0]]
    return math.prod(shapes[node.output[0]]) * first[0 if _attribute(node, "transA", 0) else 1]


def _convolution(kernel: int) -> Callable[[onnx.NodeProto, Mapping[str, Shape]], int]:
    """Output elements times what each is made of; the kernel `[out, in / groups, …]` is the input of this number."""
    return lambda node, shapes: math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[kernel]][1:])


def _transposed(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Input elements times what each is spread over; the kernel is `[in, out / groups, …]`."""
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _recurrent(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Steps × batch × (weights on the input and on the last output); `[directions, gates × hidden, …]` each."""
    rows = math.prod(shapes[node.input[0]][:2])
    return rows * (math.prod(shapes[node.input[1]]) + math.prod(shapes[node.input[2]]))


def _attention(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Queries by keys, and weights by values; heads apart `[B, heads, L, d]` or together `[B, L, heads × d]`."""
    keys = shapes[node.input[1]][-2]
    if len(node.input) > 4 and node.input[4]:
        keys += shapes[node.input[4]][-2]
    return (math.prod(shapes[node.input[0]]) + math.prod(shapes[node.output[0]])) * keys


def _einsum(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Every index's size, multiplied: exact for two operands, as one product of all of them for more."""
    equation = _attribute(node, "equation", b"").decode().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if len(terms) < 2:
        return 0
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        front, dots, back = term.partition("...")
        shape, hidden = shapes[name], len(shapes[name]) - len(front) - len(back) if dots else 0
        # Axes that dots stand for are named from behind, so that broadcasting lines them up.
        labels = [*front, *(f"...{hidden - i}" for i in range(hidden)), *back]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return math.prod(sizes.values()) * (len(terms) - 1)


_COUNTED: dict[str, Callable[[onnx.NodeProto, Mapping[str, Shape]], int]] = {
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _gemm,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "Attention": _attention,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
}


def _turns(node: onnx.NodeProto, shapes: Mapping[str, Shape], numbers: Mapping[str, onnx.TensorProto]) -> int:
    """How often the body of a node is run."""
    if node.op_type == "Loop" and node.input[0] in numbers:
        return int(onnx.numpy_helper.to_array(numbers[node.input[0]]).item())
    if node.op_type == "Scan":
        count = _attribute(node, "num_scan_inputs", 1)
        axis = (_attribute(node, "scan_input_axes", None) or [0])[0]
        return shapes[node.input[-int(count)]][int(axis)]
    return 1


def _as_standard_operators(graph: onnx.GraphProto) -> None:
    """Put ONNX's product in the place of com.microsoft's, whose shapes its inference does not know."""
    for node in graph.node:
        for body in _bodies(node).values():
            _as_standard_operators(body)
        if node.domain != "com.microsoft" or node.op_type not in ("MatMulNBits", "DynamicQuantizeMatMul"):
            continue
        weight = node.input[1]
        if node.op_type == "MatMulNBits":
            # Packed into blocks of bits; what they stand for is a matrix of this size.
            weight = f"{node.output[0]}/unpacked"
            size = (_attribute(node, "K", 0), _attribute(node, "N", 0))
            graph.initializer.append(TensorProto(name=weight, data_type=TensorProto.FLOAT, dims=size))
        node.CopyFrom(helper.make_node("MatMul", [node.input[0], weight], [node.output[0]], name=node.name))


def _fill_in(graph: onnx.GraphProto, shapes: Mapping[str, Shape], path: Path) -> None:
    """Give the inputs their sizes, and wherever the graph names one of them, the same."""
    sizes: dict[str, int] = {}
    given = {value.name: value for value in graph.input}
    if set(shapes) - set(given):
        raise BundleError(f"graph {path}: has no input {', '.join(sorted(set(shapes) - set(given)))}")
    for name, shape in shapes.items():
        dims = given[name].type.tensor_type.shape.dim
        if len(dims) != len(shape):
            raise BundleError(f"graph {path}: input {name} has {len(dims)} axes, not the {len(shape)} of {list(shape)}")
        for dim, size in zip(dims, shape, strict=True):
            if dim.dim_param:
                sizes[dim.dim_param] = size
            dim.dim_value = size
    for value in (*graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Shapes of a graph's own values, where every size is known."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            if all(dim.HasField("dim_value") for dim in dims):
                found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _bodies(node: onnx.NodeProto) -> dict[str, onnx.GraphProto]:
    """The graphs inside a node."""
    return {a.name: a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH}


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _bytes(tensor: onnx.TensorProto) -> int:
    """Size of a tensor's values, by its type and sizes."""
    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    values: int = math.prod(tensor.dims)
    bits: int = _BITS.get(tensor.data_type) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return -(-values * bits // 8)


def _empty(tensor: onnx.TensorProto) -> None:
    """Take a tensor's values away; its name, type and sizes stay."""
    kept = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    tensor.CopyFrom(kept)
