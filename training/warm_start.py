"""Weights to go on from: a training checkpoint, or a bundle of this family, whose graphs keep their weights' names."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from jepa_ros.bundle.loader import ENCODER, PREDICTOR, Bundle, load_bundle
from jepa_ros.errors import JepaRosError
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.model import ModelConfig, Predictor, WorldModel
from jepa_ros_training.value import ValueConfig, ValueHead

_Module = TypeVar("_Module", bound=nn.Module)


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
        found |= {prefix + name: weight for name, weight in _weights(bundle, graph).items()}
    return _filled(WorldModel(config or ModelConfig()), found, bundle)


def load_predictor(bundle: Bundle) -> Predictor:
    """The predictor of a bundle of this family, of whatever size, as it was exported.

    Raises:
        JepaRosError: a bundle of another family; the weight is named.
    """
    found, manifest = _weights(bundle, PREDICTOR), bundle.manifest
    config = ModelConfig(
        latent=manifest.latent.shape[0],
        context=manifest.predictor.max_context,
        width=_size(found, "enter.bias", bundle),
        blocks=len({name.split(".")[1] for name in found if name.startswith("blocks.")}),
        action_low=tuple(manifest.action.low),
        action_high=tuple(manifest.action.high),
    )
    return _filled(Predictor(config), found, bundle).eval()


def load_value_head(bundle: Bundle, file: str) -> ValueHead:
    """A value head of a bundle of this family, as it was exported.

    Args:
        bundle: of this family.
        file: of the head.

    Raises:
        JepaRosError: a head of another kind; the weight is named.
    """
    found = _weights(bundle, file)
    config = ValueConfig(
        latent=bundle.manifest.latent.shape[0],
        width=_size(found, "embed.0.bias", bundle),
        embedding=_size(found, "embed.6.bias", bundle),
    )
    return _filled(ValueHead(config), found, bundle).eval()


def _weights(bundle: Bundle, graph: str) -> dict[str, Tensor]:
    """Of a graph, by the names that they have in its module."""
    held = onnx.load(str(bundle.file(graph))).graph.initializer
    return {weight.name: torch.from_numpy(numpy_helper.to_array(weight).copy()) for weight in held}


def _size(found: dict[str, Tensor], name: str, bundle: Bundle) -> int:
    if name not in found:
        raise JepaRosError(f"bundle {bundle.path}: weight {name} is missing, this family has it")
    return len(found[name])


def _filled(module: _Module, found: dict[str, Tensor], bundle: Bundle) -> _Module:
    """The module with its parameters set."""
    for name, parameter in module.named_parameters():
        given = found.get(name)
        if given is None or given.shape != parameter.shape:
            has = "is missing" if given is None else f"has shape {list(given.shape)}"
            raise JepaRosError(f"bundle {bundle.path}: weight {name} {has}, this family has {list(parameter.shape)}")
        parameter.data.copy_(given)
    return module
