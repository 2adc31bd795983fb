"""Writing ONNX graphs as arithmetic: values with a shape and operators, collected by a builder.

Every shape is known when a plan graph is written, so a value carries it, and a wrong axis is an error here and not in
the runtime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import FunctionProto, TensorProto, helper, numpy_helper

from jepa_ros.planning.compiled.functions import GraphFunction

Shape = tuple[int, ...]
_NAMED = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


class Value:
    """A tensor inside a graph that is being written.

    Attributes:
        name: in the graph.
        shape: all sizes known.
    """

    __slots__ = ("_graph", "name", "shape")

    def __init__(self, graph: GraphBuilder, name: str, shape: Sequence[int]) -> None:
        self._graph, self.name, self.shape = graph, name, tuple(shape)

    def __add__(self, other: Value | float) -> Value:
        return self._pair("Add", self, other)

    def __radd__(self, other: float) -> Value:
        return self._pair("Add", other, self)

    def __sub__(self, other: Value | float) -> Value:
        return self._pair("Sub", self, other)

    def __rsub__(self, other: float) -> Value:
        return self._pair("Sub", other, self)

    def __mul__(self, other: Value | float) -> Value:
        return self._pair("Mul", self, other)

    def __rmul__(self, other: float) -> Value:
        return self._pair("Mul", other, self)

    def __truediv__(self, other: Value | float) -> Value:
        return self._pair("Div", self, other)

    def __neg__(self) -> Value:
        return self._one("Neg")

    def __and__(self, other: Value) -> Value:
        return self._pair("And", self, other)

    def __or__(self, other: Value) -> Value:
        return self._pair("Or", self, other)

    def __lt__(self, other: Value | float) -> Value:
        return self._pair("Less", self, other)

    def __gt__(self, other: Value | float) -> Value:
        return self._pair("Greater", self, other)

    def __le__(self, other: Value | float) -> Value:
        return self._pair("LessOrEqual", self, other)

    def equal(self, other: Value | float) -> Value:
        """Element by element; bool."""
        return self._pair("Equal", self, other)

    def maximum(self, other: Value | float) -> Value:
        """The larger of each."""
        return self._pair("Max", self, other)

    def minimum(self, other: Value | float) -> Value:
        """The smaller of each."""
        return self._pair("Min", self, other)

    def abs(self) -> Value:
        return self._one("Abs")

    def sign(self) -> Value:
        return self._one("Sign")

    def exp(self) -> Value:
        return self._one("Exp")

    def sqrt(self) -> Value:
        return self._one("Sqrt")

    def where(self, yes: Value | float, no: Value | float) -> Value:
        """`yes` where this (bool) holds, else `no`."""
        first, second = self._graph.lift(yes), self._graph.lift(no)
        shape = np.broadcast_shapes(self.shape, first.shape, second.shape)
        return self._graph.op("Where", [self, first, second], shape)

    def to_float(self) -> Value:
        """Numbers of a bool or an integer."""
        return self._graph.op("Cast", [self], self.shape, to=TensorProto.FLOAT)

    def sum(self, *axes: int, keep: bool = False) -> Value:
        return self._reduce("ReduceSum", axes, keep)

    def mean(self, *axes: int, keep: bool = False) -> Value:
        return self._reduce("ReduceMean", axes, keep)

    def max(self, *axes: int, keep: bool = False) -> Value:
        return self._reduce("ReduceMax", axes, keep)

    def min(self, *axes: int, keep: bool = False) -> Value:
        return self._reduce("ReduceMin", axes, keep)

    def reshape(self, *shape: int) -> Value:
        """With every size given."""
        if math.prod(shape) != math.prod(self.shape):
            raise ValueError(f"{self.shape} cannot be reshaped to {shape}")
        if tuple(shape) == self.shape:
            return self
        return self._graph.op("Reshape", [self, self._graph.integers(shape)], shape)

    def expand(self, *shape: int) -> Value:
        """Repeated along axes of size 1."""
        if tuple(shape) == self.shape:
            return self
        np.broadcast_shapes(self.shape, shape)
        return self._graph.op("Expand", [self, self._graph.integers(shape)], shape)

    def part(self, axis: int, begin: int, end: int) -> Value:
        """Rows `begin` to `end` along an axis."""
        if not 0 <= begin <= end <= self.shape[axis]:
            raise ValueError(f"rows {begin} to {end} are not in axis {axis} of {self.shape}")
        if (begin, end) == (0, self.shape[axis]):
            return self
        shape = (*self.shape[:axis], end - begin, *self.shape[axis + 1 :])
        numbers = [self._graph.integers([number]) for number in (begin, end, axis)]
        return self._graph.op("Slice", [self, *numbers], shape)

    def row(self, axis: int, index: int) -> Value:
        """One row along an axis, which goes away."""
        found = self.part(axis, index, index + 1)
        return found.reshape(*(size for i, size in enumerate(self.shape) if i != axis))

    def take(self, indices: Value | Sequence[int], axis: int = 0) -> Value:
        """Rows along an axis; `indices` in one dimension."""
        chosen = indices if isinstance(indices, Value) else self._graph.integers(indices)
        shape = (*self.shape[:axis], *chosen.shape, *self.shape[axis + 1 :])
        return self._graph.op("Gather", [self, chosen], shape, axis=axis)

    def smallest(self, count: int) -> tuple[Value, Value]:
        """The smallest of `[N]`, ascending, and their indices; of equal ones the earlier comes first."""
        shape = (count,)
        values, indices = self._graph.ops(
            "TopK", [self, self._graph.integers(shape)], [shape, shape], axis=0, largest=0, sorted=1
        )
        return values, indices

    def _pair(self, op: str, first: Value | float, second: Value | float) -> Value:
        a, b = self._graph.lift(first), self._graph.lift(second)
        return self._graph.op(op, [a, b], np.broadcast_shapes(a.shape, b.shape))

    def _one(self, op: str) -> Value:
        return self._graph.op(op, [self], self.shape)

    def _reduce(self, op: str, axes: Sequence[int], keep: bool) -> Value:
        chosen = [axis % len(self.shape) for axis in axes]
        sizes = [1 if i in chosen else size for i, size in enumerate(self.shape)]
        shape = sizes if keep else [size for i, size in enumerate(sizes) if i not in chosen]
        return self._graph.reduce(op, self, chosen, shape, keep)


class GraphBuilder:
    """Collects the nodes of one graph.

    Args:
        opset: of ONNX's own operators; 13 at least.
    """

    def __init__(self, opset: int = 18) -> None:
        self.opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: dict[str, onnx.ValueInfoProto] = {}
        self._outputs: dict[str, onnx.ValueInfoProto] = {}
        self._constants: dict[tuple[str, Shape, bytes], Value] = {}
        self._tensors: dict[str, TensorProto] = {}
        self._functions: dict[str, GraphFunction] = {}

    def input(self, name: str, shape: Sequence[int]) -> Value:
        """An input, float32."""
        self._inputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
        return Value(self, name, shape)

    def output(self, name: str, value: Value) -> None:
        """Give a value out under this name, float32."""
        self._nodes.append(helper.make_node("Identity", [value.name], [name]))
        self._outputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape))

    def constant(self, value: ArrayLike) -> Value:
        """A float32 constant; equal ones are one."""
        return self._constant(np.asarray(value, np.float32))

    def integers(self, value: ArrayLike) -> Value:
        """An int64 constant; equal ones are one."""
        return self._constant(np.asarray(value, np.int64))

    def lift(self, value: Value | float) -> Value:
        """The value itself, or a number as a constant."""
        return value if isinstance(value, Value) else self.constant(value)

    def zeros(self, *shape: int) -> Value:
        """A constant of zeros, which takes no room in the graph."""
        return self.constant(0.0).reshape(*(1 for _ in shape)).expand(*shape)

    def concatenate(self, parts: Sequence[Value], axis: int) -> Value:
        """End to end along an axis; parts of no rows are left out."""
        parts = [part for part in parts if part.shape[axis]]
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        for part in parts:
            if [*part.shape[:axis], *part.shape[axis + 1 :]] != [*shape[:axis], *shape[axis + 1 :]]:
                raise ValueError(f"{[part.shape for part in parts]} cannot be joined along axis {axis}")
        return self.op("Concat", parts, shape, axis=axis)

    def stack(self, parts: Sequence[Value], axis: int) -> Value:
        """Along a new axis."""
        shape = parts[0].shape
        return self.concatenate([part.reshape(*shape[:axis], 1, *shape[axis:]) for part in parts], axis)

    def op(self, op: str, inputs: Sequence[Value], shape: Sequence[int], **attributes: Any) -> Value:
        """An operator with one output, of this shape."""
        return self.ops(op, inputs, [shape], **attributes)[0]

    def ops(self, op: str, inputs: Sequence[Value], shapes: Sequence[Sequence[int]], **attributes: Any) -> list[Value]:
        """An operator with several outputs, of these shapes."""
        outputs = [f"{op.lower()}_{len(self._nodes)}_{i}" for i in range(len(shapes))]
        self._nodes.append(helper.make_node(op, [value.name for value in inputs], outputs, **attributes))
        return [Value(self, name, shape) for name, shape in zip(outputs, shapes, strict=True)]

    def reduce(self, op: str, value: Value, axes: Sequence[int], shape: Sequence[int], keep: bool) -> Value:
        """A reduction: since opset 13 (the sum) or 18 (the others) the axes are an input, before an attribute."""
        if op != "ReduceSum" and self.opset < 18:
            return self.op(op, [value], shape, axes=list(axes), keepdims=int(keep))
        return self.op(op, [value, self.integers(axes)], shape, keepdims=int(keep))

    def call(
        self, function: GraphFunction, inputs: Mapping[str, Value], shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, Value]:
        """Call a model's graph; outputs of these names and shapes."""
        self._functions.setdefault(function.name, function)
        outputs = {name: f"{function.name}_{len(self._nodes)}/{name}" for name in shapes}
        # A function's outputs go by position; those that are not wanted are given no name.
        names = [outputs.get(name, "") for name in function.outputs]
        given = [inputs[name].name for name in function.inputs]
        self._nodes.append(
            helper.make_node(function.name, [*given, *function.weights], names, domain=function.proto.domain)
        )
        return {name: Value(self, outputs[name], shape) for name, shape in shapes.items()}

    def model(self) -> onnx.ModelProto:
        """The graph as a model: functions for the parts, one copy of their weights."""
        weights: dict[str, TensorProto] = {}
        domains: dict[str, int] = {"": self.opset}
        functions: list[FunctionProto] = []
        for function in self._functions.values():
            weights |= function.weights
            functions.append(function.proto)
            domains |= {item.domain: item.version for item in function.proto.opset_import if item.domain}
            domains[function.proto.domain] = 1
        graph = helper.make_graph(
            self._nodes,
            "plan",
            list(self._inputs.values()),
            list(self._outputs.values()),
            initializer=[*weights.values(), *self._tensors.values()],
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()],
            functions=functions,
            ir_version=10,
        )

    def _constant(self, array: NDArray[np.generic]) -> Value:
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._tensors[name] = numpy_helper.from_array(array, name)
            self._constants[key] = Value(self, name, array.shape)
        return self._constants[key]
