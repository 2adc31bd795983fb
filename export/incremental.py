"""The incremental predictor of a causal family: two graphs that compute new steps alone, from what is kept of old ones.

What a causal attention says of a step depends on the keys and values of the steps before it and on nothing else of
them: kept, they need not be computed again (Pope et al., "Efficiently Scaling Transformer Inference", 2023, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from jepa_ros.bundle.model_spec import CacheSpec
from jepa_ros.bundle.signatures import PREDICTOR_STEP
from jepa_ros.errors import BundleError
from jepa_ros.golden import relative_error
from jepa_ros.runtime import Session
from jepa_ros_export.family import Incremental
from jepa_ros_export.graphs import Arrays, as_tuple, write_graph

Inputs = dict[str, Tensor]

FREE_STEPS = {1: "new"}
_FREE_PAST = {1: "past"}
_EXAMPLE = (3, 2)  # new and past steps of what is traced; tracing takes 0 and 1, and sizes that are equal, as fixed


def splits(context: int) -> Iterator[tuple[int, int]]:
    """Every (p, n): p steps seen before, n new ones."""
    return ((past, end - past) for end in range(1, context + 1) for past in range(end))


def cached(spec: CacheSpec) -> list[str]:
    """Names of the inputs that hold what is kept, in the order in which `Incremental.step` takes them."""
    return [f"{part}_{layer}" for layer in range(spec.layers) for part in ("keys", "values")]


def write_step(model: Incremental, spec: CacheSpec, latent: str, size: int, path: Path, opset: int) -> None:
    """Write `predictor_step.onnx`, with any number of rows, new steps and old ones.

    Args:
        model: the modules.
        spec: sizes of what is kept.
        latent: name of the state's tensor; size: D.
        path: of the file.
        opset: of ONNX's own operators.

    Raises:
        BundleError: PyTorch cannot export it.
    """
    new, past, rows = *_EXAMPLE, 4
    inputs = {latent: torch.zeros(rows, new, size), "condition": torch.zeros(rows, new, spec.condition)}
    inputs |= {name: torch.zeros(rows, past, spec.width) for name in cached(spec)}
    free = {name: FREE_STEPS if name in (latent, "condition") else _FREE_PAST for name in inputs}
    outputs = ["next", *(f"new_{name}" for name in cached(spec))]
    with torch.no_grad():
        write_graph(model.step, inputs, outputs, path, opset, free=free)
    _with_sizes(path)


def _with_sizes(path: Path) -> None:
    """Write the graph so that every size follows from those of its inputs, by ONNX's shape inference: the products of a
    plan are then counted, and what remains computes no shapes that a kernel would run for.

    - A Reshape takes free sizes that stand first from what it reshapes (ONNX's 0).
    - What positions are added to and what is masked is said to keep its size: that of a Range is not known.
    """
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    fixed = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Reshape" and (sizes := _sizes(makers.get(node.input[1]), fixed)) is not None:
            node.input[1] = f"{node.output[0]}_shape"
            graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), node.input[1]))
            del node.attribute[:]  # `allowzero` is the only one, and would read a 0 as a size
        if node.op_type == "Where":
            nodes += _sized(node, like=node.input[2])
        elif node.op_type == "Add" and (place := _looked_up(node, makers, fixed)) is not None:
            nodes += _sized(node, like=node.input[1 - place])
        else:
            nodes.append(node)
    needed, kept = {value.name for value in graph.output}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.value_info[:]
    onnx.save(model, str(path))


def _sizes(shape: onnx.NodeProto | None, fixed: Mapping[str, onnx.TensorProto]) -> list[int] | None:
    """A computed shape with 0 for what is free, where that is the first two sizes, rows and steps."""
    if shape is None or shape.op_type != "Concat":
        return None
    sizes = [int(numpy_helper.to_array(fixed[name]).item()) if name in fixed else 0 for name in shape.input]
    return sizes if sizes[:2] == [0, 0] and 0 not in sizes[2:] else None


def _looked_up(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], fixed: Mapping[str, onnx.TensorProto]
) -> int | None:
    """Which input of a sum is looked up in a table."""
    for place, name in enumerate(node.input):
        if name in makers and makers[name].op_type == "Gather" and makers[name].input[0] in fixed:
            return place
    return None


def _sized(node: onnx.NodeProto, like: str) -> list[onnx.NodeProto]:
    """The node, its output said to be of the size of one of its inputs, which it is."""
    output, name = node.output[0], f"{node.output[0]}_unsized"
    node.output[0] = name
    size = helper.make_node("Shape", [like], [f"{output}_size"])
    return [node, size, helper.make_node("Reshape", [name, f"{output}_size"], [output])]


def run_step(model: Incremental, spec: CacheSpec, latent: Tensor, action: Tensor, past: int) -> tuple[Inputs, Arrays]:
    """The step after `past` steps, in PyTorch.

    Args:
        model: the modules. spec: sizes of what is kept.
        latent, action: `[B, p + n, …]`, the steps before with the new ones.
        past: p.

    Returns:
        what the graph takes but for the latent's name, `latent`, and what it gives.
    """
    names, condition = cached(spec), model.condition(action)
    kept = [torch.zeros(len(latent), 0, spec.width) for _ in names]
    if past:
        kept = list(as_tuple(model.step(latent[:, :past], condition[:, :past], *kept))[1:])
    inputs = {"latent": latent[:, past:], "condition": condition[:, past:], **dict(zip(names, kept, strict=True))}
    found = as_tuple(model.step(*inputs.values()))
    outputs = ["next", *(f"new_{name}" for name in names)]
    return inputs, {name: tensor.numpy() for name, tensor in zip(outputs, found, strict=True)}


def check_step(
    path: Path, model: Incremental, spec: CacheSpec, latent: Tensor, action: Tensor, whole: np.ndarray, allowed: float
) -> float:
    """Hold the file against the full predictor on every split of a window, and what it keeps against PyTorch.

    Args:
        path: of the file.
        model: the modules. spec: sizes of what is kept.
        latent, action: windows `[B, T, …]`.
        whole: what the full predictor gives for them, `[B, T, D]`.
        allowed: largest relative error.

    Returns:
        The largest relative error seen.

    Raises:
        BundleError: it is above what is allowed; the split is named.
    """
    session, worst = Session(path, providers=("CPUExecutionProvider",)), 0.0
    name = next(iter(session.inputs))
    for past, new in splits(latent.shape[1]):
        end = past + new
        with torch.no_grad():
            inputs, expected = run_step(model, spec, latent[:, :end], action[:, :end], past)
        expected["next"] = whole[:, end - 1]
        for rows in {1, len(latent)}:
            given = {part: np.ascontiguousarray(tensor[:rows].numpy()) for part, tensor in inputs.items()}
            given[name] = given.pop("latent")
            found = session.run(**given)
            off = max(relative_error(found[part], array[:rows]) for part, array in expected.items())
            worst = max(worst, off)
            if not off <= allowed:
                raise BundleError(
                    f"export: {PREDICTOR_STEP} differs from the full predictor by {off:.1e} relative with {new} new "
                    f"steps after {past}, more than {allowed:.0e}; not written"
                )
    return worst


def golden_step(
    model: Incremental, spec: CacheSpec, latent: str, contexts: dict[str, Inputs]
) -> dict[str, list[np.ndarray]]:
    """What golden.npz has of both graphs: one step after one, on the first row of recorded and of random windows. More
    would be large: each step's condition and keys are thousands of values."""
    rows = [{part: tensor[:1, :2] for part, tensor in contexts[group].items()} for group in ("scene", "random")]
    both = {part: torch.cat([row[part] for row in rows]) for part in rows[0]}
    with torch.no_grad():
        inputs, outputs = run_step(model, spec, both[latent], both["action"], past=1)
    inputs = {latent if part == "latent" else part: tensor for part, tensor in inputs.items()}
    inputs["action"] = both["action"][:, 1:]
    arrays = {part: tensor.numpy() for part, tensor in inputs.items()} | outputs
    return {f"step_{part}": [array] for part, array in arrays.items()}
