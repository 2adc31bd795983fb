"""A bundle whose graphs take a fixed number of rows, made of one whose graphs take any."""

from __future__ import annotations

from pathlib import Path

import onnx

from jepa_ros.bundle.loader import write_manifest
from jepa_ros.bundle.manifest import read_manifest


def fix_graph(path: Path, rows: int) -> None:
    """Give the graph's inputs and outputs this first size."""
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = rows
    onnx.save(model, str(path))


def fix_batch(folder: Path, rows: int, said: int | None = None) -> Path:
    """Fix the encoder's batch at 1 and that of every other graph at `rows`; the manifest says `said`, or that."""
    for path in folder.rglob("*.onnx"):
        fix_graph(path, 1 if path.name == "encoder.onnx" else rows)
    manifest = read_manifest(folder)
    predictor = manifest.predictor.model_copy(update={"batch": said or rows})
    write_manifest(folder, manifest.model_copy(update={"predictor": predictor}))
    return folder
