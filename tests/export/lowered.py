"""Bundles to convert, and recordings to convert them by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jepa_ros.bundle.loader import write_manifest
from jepa_ros.bundle.manifest import read_manifest

SIDE, LATENT, CONTEXT = 16, 8, 3
DEFAULT = Path(__file__).resolve().parents[2] / "bundles" / "default"
BAG = DEFAULT.parents[1] / "bags" / "go2_room0"


def rewrite(folder: Path, **changes) -> Path:
    """Hash the files again, with some fields of the manifest changed."""
    write_manifest(folder, read_manifest(folder).model_copy(update=changes))
    return folder


def change_golden(folder: Path, **arrays: np.ndarray) -> None:
    with np.load(folder / "golden.npz") as found:
        np.savez(folder / "golden.npz", **{**found, **arrays})


def add_derivative(folder: Path) -> Path:
    """`predictor_vjp.onnx` of the tiny bundle's linear predictor, and its golden values."""
    push = np.eye(3, LATENT, dtype=np.float32)
    mask = np.zeros((1, CONTEXT, 1), np.float32)
    mask[:, -1] = 1
    value = helper.make_tensor_value_info
    inputs = [("latent", [CONTEXT, LATENT]), ("action", [CONTEXT, 3]), ("cotangent_next", [LATENT])]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["cotangent_next", "pull"], ["pulled"]),
            helper.make_node("Unsqueeze", ["cotangent_next", "time"], ["c"]),
            helper.make_node("Unsqueeze", ["pulled", "time"], ["p"]),
            helper.make_node("Mul", ["c", "mask"], ["grad_latent"]),
            helper.make_node("Mul", ["p", "mask"], ["grad_action"]),
        ],
        "vjp",
        [value(name, TensorProto.FLOAT, ["B", *shape]) for name, shape in inputs],
        [value(f"grad_{name}", TensorProto.FLOAT, ["B", *shape]) for name, shape in inputs[:2]],
        [
            numpy_helper.from_array(np.ascontiguousarray(push.T), "pull"),
            numpy_helper.from_array(np.array([1]), "time"),
            numpy_helper.from_array(mask, "mask"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(folder / "predictor_vjp.onnx"))
    cotangent = np.random.default_rng(1).standard_normal((4, LATENT)).astype(np.float32)
    change_golden(
        folder,
        cotangent_next=cotangent,
        grad_latent=cotangent[:, None] * mask,
        grad_action=(cotangent @ push.T)[:, None] * mask,
    )
    return rewrite(folder)


def write_runs(folder: Path, frames: int = 24, step_s: float = 0.2, width: int = 3) -> Path:
    """Two run files of noise; the first pixel of frame i of the first is i."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        images = rng.integers(0, 256, (frames, SIDE, SIDE, 3), dtype=np.uint8)
        images[:, 0, 0, 0] = np.arange(frames)
        actions = rng.uniform(-0.3, 0.3, (frames, width)).astype(np.float32)
        poses = np.zeros((frames, 3), np.float32)
        np.savez(folder / f"run_{number:05d}.npz", images=images, actions=actions, poses=poses, step_s=np.array(step_s))
    return folder


def element_types(path: Path) -> set[int]:
    """Of a graph's weights."""
    return {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}
