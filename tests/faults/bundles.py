"""Bundles whose predictor goes wrong on command: once it has seen a white picture.

A model that is wrong from the start never loads (its golden outputs differ) or never sets the dog walking. These copies
of a bundle predict as the original does, until a latent of the history is that of a white picture.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from jepa_ros.bundle.loader import ENCODER, PREDICTOR, PREDICTOR_VJP, load_bundle, write_manifest
from jepa_ros.world_model import OnnxWorldModel

KINDS = ("nan", "inf", "constant")
_NEAR = 1e-3  # relative distance at which a latent counts as the white picture's


def white_latent(bundle: Path) -> np.ndarray:
    """The encoder's `[D]` for a white picture."""
    opened = load_bundle(bundle)
    camera = opened.manifest.camera
    return np.asarray(OnnxWorldModel(opened).encode(np.full((camera.height, camera.width, 3), 255, np.uint8)))


def spoiled(bundle: Path, kind: str, folder: Path) -> Path:
    """A copy of `bundle` in `folder` whose predictor returns NaN, infinity or a constant once it has seen white.

    Hashes are made anew; the golden outputs stay as they are, and hold. The derivative is left out: CEM needs none.
    """
    shutil.copytree(bundle, folder)
    (folder / PREDICTOR_VJP).unlink()
    latent = white_latent(bundle)
    assert (folder / ENCODER).is_file()
    model = onnx.load(str(folder / PREDICTOR))
    _spoil(model.graph, latent, {"nan": np.float32(math.nan), "inf": np.float32(math.inf), "constant": latent}[kind])
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / PREDICTOR))
    write_manifest(folder, load_bundle(bundle).manifest)
    return folder


def _spoil(graph: onnx.GraphProto, white: np.ndarray, instead: np.ndarray | np.float32) -> None:
    """`next` becomes `instead` `[D]` or a scalar where a row of the input `latent` `[B, H, D]` is near `white`."""
    (output,) = (entry.name for entry in graph.output)
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == output:
                    names[i] = "as_it_was"
    constants = {
        "white": white.astype(np.float32),
        "near": np.float32((_NEAR * np.linalg.norm(white)) ** 2),
        "instead": np.asarray(instead, np.float32),
        "of_latent": np.array([2], np.int64),
        "of_history": np.array([1], np.int64),
        "half": np.float32(0.5),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Sub", ["latent", "white"], ["away"]),
            helper.make_node("Mul", ["away", "away"], ["squares"]),
            helper.make_node("ReduceSum", ["squares", "of_latent"], ["distance"], keepdims=0),
            helper.make_node("Less", ["distance", "near"], ["is_near"]),
            helper.make_node("Cast", ["is_near"], ["nearness"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["nearness", "of_history"], ["nearest"], keepdims=1),
            helper.make_node("Greater", ["nearest", "half"], ["seen_white"]),
            helper.make_node("Where", ["seen_white", "instead", "as_it_was"], [output]),
        ]
    )
