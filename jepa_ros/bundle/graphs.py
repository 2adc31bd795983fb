"""What a bundle's graphs take and give, and that every number in them lies in a file whose bytes were checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnx

from jepa_ros.errors import BundleError

# An external file's name of these characters only: ONNX Runtime reads some others, such as `*`, as memory addresses.
_PLAIN = re.compile(r"[\w.\- ]+(/[\w.\- ]+)*")
_GRAPH_BYTES = 2**31  # a protobuf message holds no more
_TYPES = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
_TYPES[onnx.TensorProto.FLOAT] = "float32"  # ONNX says "float"


@dataclass(frozen=True)
class TensorType:
    """An input's or output's element type, as NumPy names it, and shape, None where a size is free; the batch first."""

    element: str
    shape: list[int | None]

    def fits(self, other: TensorType) -> bool:
        """Whether the elements and the batch, fixed or free, are the same, and the shapes wherever both say one."""
        return (
            self.element == other.element
            and len(self.shape) == len(other.shape)
            and self.shape[:1] == other.shape[:1]
            and all(a is None or b is None or a == b for a, b in zip(self.shape, other.shape, strict=True))
        )

    def __str__(self) -> str:
        return f"{self.element} {self.shape}"


@dataclass(frozen=True)
class Signature:
    """A graph's inputs and outputs by name."""

    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]

    def check(self, found: Signature, what: str) -> None:
        """Hold the graph that was found against this one; what it has besides is its own affair.

        Raises:
            BundleError: an input or output is missing or of another type or shape; begins with `what`.
        """
        for kind, wanted, given in (("input", self.inputs, found.inputs), ("output", self.outputs, found.outputs)):
            for name, tensor in wanted.items():
                if name not in given:
                    raise BundleError(f"{what} has no {kind} {name!r}; it has {', '.join(sorted(given)) or 'none'}")
                if not tensor.fits(given[name]):
                    raise BundleError(f"{what}: {kind} {name} is {given[name]}, the manifest implies {tensor}")


def read_signature(folder: Path, name: str, listed: Collection[str]) -> Signature:
    """Inputs and outputs of the graph `folder / name`.

    Args:
        folder: the bundle's.
        name: the graph's file, relative to it.
        listed: files whose bytes were checked; a graph may keep its tensors in these and no others.

    Raises:
        BundleError: not an ONNX graph, or one with tensors in a file that is not listed, or with a compiled part.
    """
    if (folder / name).stat().st_size > _GRAPH_BYTES:
        raise BundleError(f"bundle {folder}: {name} is larger than 2 GiB, which no ONNX graph is")
    try:
        # From bytes: onnx.load would choose a parser by the file's ending, ONNX Runtime would not.
        model = onnx.load_model_from_string((folder / name).read_bytes())
    except Exception as error:  # protobuf's and onnx's errors share no base class
        raise BundleError(f"bundle {folder}: {name} is not an ONNX graph") from error
    for tensor in tensors_of(model):
        for location in _locations(tensor):
            # Relative to the graph's own folder.
            file = (PurePosixPath(name).parent / location).as_posix()
            if not _PLAIN.fullmatch(location) or ".." in PurePosixPath(location).parts or file not in listed:
                raise BundleError(
                    f"bundle {folder}: {name} keeps tensor {tensor.name!r} in {location!r}, which the manifest's files "
                    "do not list; save the graph in one file, or with its data beside it and listed"
                )
            if not _lies_within(tensor, (folder / file).stat().st_size):
                raise BundleError(f"bundle {folder}: {name} keeps tensor {tensor.name!r} outside the bytes of {file}")
    # A part that some other program has compiled: code, maybe in another file, which only some providers would run.
    if any(node.op_type == "EPContext" for node in messages_of(model, onnx.NodeProto)):
        raise BundleError(f"bundle {folder}: {name} holds a compiled part (EPContext); export it as plain ONNX")
    return Signature(_types(model.graph.input), _types(model.graph.output))


def _types(values: Iterable[onnx.ValueInfoProto]) -> dict[str, TensorType]:
    return {
        value.name: TensorType(
            _TYPES.get(value.type.tensor_type.elem_type, "unknown"),
            [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


def tensors_of(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor inside a protobuf message, wherever the format may hold one: initializers, attributes, subgraphs,
    functions."""
    return messages_of(message, onnx.TensorProto)


def messages_of(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Every message of a kind inside another, however deep."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if hasattr(value, "ListFields") else value:  # one message, or many
                yield from messages_of(part, kind)


def _locations(tensor: onnx.TensorProto) -> list[str]:
    """Files that a tensor's values are said to lie in; an empty name where it is kept outside and none is said."""
    named = [entry.value for entry in tensor.external_data if entry.key == "location"]
    outside = tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data) > 0
    return named or [""] if outside else []


def _lies_within(tensor: onnx.TensorProto, size: int) -> bool:
    """Whether the bytes that a tensor claims of its file are there."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset, length = int(said.get("offset", 0)), int(said.get("length", 0))
    except ValueError:
        return False
    return offset >= 0 and length >= 0 and offset + length <= size
