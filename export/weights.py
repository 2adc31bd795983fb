"""Where the weights of a graph lie: inside a small one, and of large ones in one file that graphs share.

A predictor and its derivative hold the same weights; kept once, a bundle of a large model is half the size. ONNX files
cannot hold more than 2 GB themselves.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

WEIGHTS = "weights.bin"
_INSIDE = 32 * 2**20  # bytes of weights that a graph keeps inside; the LeWM bundle is 167 MB where all do, else 83
_SMALL = 1024  # bytes of a tensor that never goes outside: shape inference reads those
_PAGE = 4096  # offsets are whole pages, so that ONNX Runtime can map the file


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; one with many weights keeps them in `weights.bin` beside it, each once.

    Args:
        model: changed where its weights go outside.
        path: of the `.onnx` file; graphs in one folder share the weights.
    """
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _INSIDE:
        _move_out(model, path.parent / WEIGHTS)
    onnx.save(model, str(path))


def _move_out(model: onnx.ModelProto, store: Path) -> None:
    index = _known(store)
    with store.open("ab") as file:
        for tensor in model.graph.initializer:
            data = tensor.raw_data
            if len(data) <= _SMALL:
                continue
            key = hashlib.sha256(data).hexdigest()
            if key not in index:
                file.write(b"\0" * (-file.tell() % _PAGE))
                index[key] = file.tell()
                file.write(data)
            set_external_data(tensor, WEIGHTS, offset=index[key], length=len(data))
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL


def _known(store: Path) -> dict[str, int]:
    """Offsets of the tensors that other graphs beside the store keep there, by the hash of their bytes."""
    found: dict[str, int] = {}
    if not store.exists():
        return found
    with store.open("rb") as file:
        for graph in sorted(store.parent.glob("*.onnx")):
            for tensor in onnx.load(str(graph), load_external_data=False).graph.initializer:
                where = {entry.key: entry.value for entry in tensor.external_data}
                if where:
                    offset = int(where["offset"])
                    file.seek(offset)
                    found[hashlib.sha256(file.read(int(where["length"]))).hexdigest()] = offset
    return found
