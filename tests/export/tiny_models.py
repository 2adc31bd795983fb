"""A tiny checkpoint, value head and held-out runs; a LeWM whose predictor goes step by step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from jepa_ros.bundle.manifest import Mount
from jepa_ros_export import lewm
from jepa_ros_export.family import Parts
from jepa_ros_export.sigreg_jepa import Export
from jepa_ros_training.checkpoint import write_atomically
from jepa_ros_training.dataset import Runs, read_runs
from jepa_ros_training.model import ModelConfig, WorldModel
from jepa_ros_training.value import ValueConfig, ValueHead

from ..training.synthetic_runs import write_runs

TINY = ModelConfig(image=16, latent=6, channels=(4, 8), hidden=16, width=16, blocks=1)
CONTEXT, LAYERS = 5, 3  # of the LeWM
CAMERA = {"fov_rad": 1.2, "mount": Mount(x=0.3, z=0.1, pitch=0.05)}


def export_of(checkpoint: Path, out: Path, **options: object) -> Export:
    """An export of runs that a camera of the tests has seen."""
    return Export(checkpoint, out, **{**CAMERA, **options})


def stepwise_parts(context: int = CONTEXT, depth: int = LAYERS) -> Parts:
    """A LeWM of few parameters, whose bundle has an incremental predictor."""
    torch.manual_seed(0)
    sizes = {"context": context, "history": min(context, 3), "depth": depth, "encoder_depth": 1}
    config = lewm.tiny().model_copy(update=sizes)
    return lewm.build(lewm.random_checkpoint(config), config)


@dataclass(frozen=True)
class Trained:
    """What an export starts from."""

    checkpoint: Path
    value: Path
    data: Path
    runs: Runs


def trained(folder: Path, poses: bool = True, held_out: tuple[str, ...] = (), **extra: object) -> Trained:
    """Write random weights as if they had been trained.

    Args:
        poses: whether the runs know them.
        held_out: names of the runs that training held out; none is a checkpoint from before these were kept.
        extra: further fields of the run files.
    """
    torch.manual_seed(0)
    model, head = WorldModel(TINY), ValueHead(ValueConfig(latent=6, width=16, embedding=8))
    for weights in (*model.parameters(), *head.parameters()):
        if len(weights.unique()) == 1:  # freshly made, and folded into its neighbours by the exporter
            torch.nn.init.normal_(weights, std=0.1)
    data = write_runs(folder / "data", count=3, length=40, poses=poses, **extra)
    runs = read_runs(data)
    model.spread_latents(torch.from_numpy(runs.images))
    checkpoint, value = folder / "checkpoint.pt", folder / "value.pt"
    recipe = {"recipe": {"held_out": held_out}} if held_out else {}
    write_atomically({"config": TINY.as_dict(), "average": model.state_dict(), **recipe}, checkpoint)
    write_atomically({"config": head.config.as_dict(), "head": head.state_dict(), **recipe}, value)
    return Trained(checkpoint, value, data, runs)
