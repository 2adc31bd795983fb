"""Weights to go on from: a training checkpoint, or a bundle of this family, whose graphs keep their weights' names."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from jepa_ros.bundle.loader import ENCODER, PREDICTOR, load_bundle
from jepa_ros.errors import JepaRosError
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.model import ModelConfig, WorldModel


def load_weights(path: Path, config: ModelConfig | None = None) -> WorldModel:
    """A model with the averaged weights of a checkpoint file, or with those of a bundle's folder.

    Args:
        path: checkpoint file or bundle folder.
        config: sizes that a bundle is expected to have; default: those of the default bundle.

    Raises:
        JepaRosError: neither, or a bundle of another family or of other sizes; the weight is named.
    """
    if not path.is_dir():
        return load_average(path)
    bundle = load_bundle(path)
    found = {}
    for graph, prefix in ((ENCODER, "encoder."), (PREDICTOR, "predictor.")):
        for weight in onnx.load(str(bundle.file(graph))).graph.initializer:
            found[prefix + weight.name] = torch.from_numpy(numpy_helper.to_array(weight).copy())
    model = WorldModel(config or ModelConfig())
    for name, parameter in model.named_parameters():
        given = found.get(name)
        if given is None or given.shape != parameter.shape:
            has = "is missing" if given is None else f"has shape {list(given.shape)}"
            raise JepaRosError(f"bundle {path}: weight {name} {has}, this family has {list(parameter.shape)}")
        parameter.data.copy_(given)
    return model
