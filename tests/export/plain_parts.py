"""The smallest model that can be exported: a linear encoder, and a predictor of one matrix."""

from __future__ import annotations

import torch
from torch import nn

from jepa_ros.bundle.manifest import (
    ActionSpec,
    CameraSpec,
    CostTerm,
    Manifest,
    PlannerDefaults,
    PredictorSpec,
    StateTensor,
    Timing,
)
from jepa_ros_export.family import UNMEASURED, Parts


class Encoder(nn.Module):
    """uint8 `[N, 8, 8, 3]` → `[N, 6]`."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Linear(192, 6)

    def forward(self, image):
        return self.look(image.float().flatten(1) / 255)


class Predictor(nn.Module):
    """The last latent, pushed by the last action."""

    def __init__(self) -> None:
        super().__init__()
        self.push = nn.Linear(2, 6)

    def forward(self, latent, action):
        return latent[:, -1] + torch.tanh(self.push(action[:, -1]))


def plain_parts() -> Parts:
    """With fresh weights."""
    torch.manual_seed(0)
    manifest = Manifest(
        family="plain",
        name="plain",
        licence="Apache-2.0",
        source="made by the tests",
        created_by="tests",
        camera=CameraSpec(width=8, height=8),
        timing=Timing(step_s=0.2, history_max=2),
        state=[StateTensor(name="latent", kind="vector", shape=(6,))],
        action=ActionSpec(names=["x", "y"], units=["m/s", "m/s"], low=[-1, -1], high=[1, 1]),
        predictor=PredictorSpec(max_context=2),
        cost=[CostTerm()],
        planner=PlannerDefaults(horizon=3),
        calibration=UNMEASURED,
    )
    modules = (Encoder().eval().requires_grad_(False), Predictor().eval().requires_grad_(False))
    return Parts(*modules, manifest)
