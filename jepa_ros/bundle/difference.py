"""What differs between two bundles: fields of the manifests, files, and what the graphs are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from jepa_ros.bundle.flops import operator_counts
from jepa_ros.bundle.graphs import read_signature
from jepa_ros.bundle.loader import Bundle

_ABSENT = "–"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same, and what it is in each bundle."""

    where: str
    first: str
    second: str


def bundle_differences(first: Bundle, second: Bundle) -> list[Difference]:
    """Fields by dotted path, files by hash, and for each graph that both have inputs, outputs, counts of operators and
    weights. Empty where the bundles are the same but for README.md.

    Raises:
        BundleError: a file is not an ONNX graph.
    """
    found = _between(_fields(first), _fields(second))
    files = [{name: text[:12] for name, text in bundle.manifest.files.items()} for bundle in (first, second)]
    found += _between(files[0], files[1])
    if files[0] != files[1]:
        for name in sorted(set(files[0]) & set(files[1])):
            if name.endswith(".onnx"):
                found += _between(_graph(first, name), _graph(second, name), f"{name} ")
                found += _weights(first.path / name, second.path / name, name)
    return found


def _between(first: Mapping[str, str], second: Mapping[str, str], prefix: str = "") -> list[Difference]:
    """Names with other values, in the first's order, then those that only the second has."""
    names = [*first, *(name for name in second if name not in first)]
    return [
        Difference(f"{prefix}{name}", first.get(name, _ABSENT), second.get(name, _ABSENT))
        for name in names
        if first.get(name) != second.get(name)
    ]


def _fields(bundle: Bundle) -> dict[str, str]:
    """The manifest's values by dotted path, but for the files."""
    return dict(_leaves(bundle.manifest.model_dump(mode="json", exclude={"files"})))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and value of everything inside a block; list entries by number, from 0."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    empty = True
    for name, part in inside:
        empty = False
        yield from _leaves(part, f"{path}.{name}" if path else str(name))
    if empty:
        yield path, json.dumps(value, ensure_ascii=False)


def _graph(bundle: Bundle, name: str) -> dict[str, str]:
    """Inputs, outputs and how often each operator stands in a graph."""
    signature = read_signature(bundle.path, name, bundle.manifest.files)
    model = onnx.load_model(str(bundle.path / name), format="protobuf", load_external_data=False)
    return {
        **{f"input {part}": str(tensor) for part, tensor in signature.inputs.items()},
        **{f"output {part}": str(tensor) for part, tensor in signature.outputs.items()},
        **{f"operator {kind}": str(count) for kind, count in operator_counts(model).items()},
    }


def _weights(first: Path, second: Path, name: str) -> list[Difference]:
    """The initializers that one graph lacks or that have another type, shape or values, counted."""
    one, other = _Weights(first), _Weights(second)
    found = _between(one.kinds, other.kinds, f"{name} weight ")
    shared = [key for key, kind in one.kinds.items() if other.kinds.get(key) == kind]
    changed, most = 0, 0.0
    for key in shared:
        a, b = one.values(key), other.values(key)
        if a.tobytes() != b.tobytes():
            changed += 1
            most = max(most, _farthest(a, b))
    if changed:
        says = f"{changed} of {len(shared)} have other values, by at most {most:.3g}"
        found.append(Difference(f"{name} weights", "", says))
    return found


class _Weights:
    """A graph's initializers; `kinds` holds type and shape of each by name."""

    def __init__(self, path: Path) -> None:
        self._folder = str(path.parent)
        graph = onnx.load_model(str(path), format="protobuf", load_external_data=False).graph
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        types = onnx.TensorProto.DataType
        self.kinds = {
            name: f"{types.Name(tensor.data_type).lower()} {list(tensor.dims)}"
            for name, tensor in self._tensors.items()
        }

    def values(self, name: str) -> np.ndarray[Any, Any]:
        """A tensor, read from the file that it is kept in."""
        return np.asarray(numpy_helper.to_array(self._tensors[name], base_dir=self._folder))


def _farthest(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Largest absolute difference; infinite where one is not a number, zero for text."""
    try:
        difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
    except ValueError:
        return 0.0
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))
