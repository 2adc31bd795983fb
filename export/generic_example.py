"""A tiny model of one's own, as the generic family takes it: three programs and a manifest."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

MANIFEST = {
    "name": "example",
    "licence": "Apache-2.0",
    "source": "random weights",
    "camera": {"width": 20, "height": 12},
    "timing": {"step_s": 0.2, "history_max": 3},
    "state": [{"name": "latent", "kind": "vector", "shape": [8]}],
    "action": {"names": ["vx", "wz"], "units": ["m/s", "rad/s"], "low": [-0.4, -0.9], "high": [0.6, 0.9]},
    "predictor": {"max_context": 3},
    "heads": {"value": {"inputs": ["latent", "goal"], "output": "steps"}},
    "cost": [{"source": "head:value", "metric": "value", "steps": "last"}],
    "planner": {"name": "cem", "horizon": 4},
}


class Encoder(nn.Module):
    """Image uint8 `[N, 12, 20, 3]` → latent `[N, 8]`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.GELU(), nn.Flatten(), nn.Linear(6 * 3 * 5, 8))

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image.permute(0, 3, 1, 2).float() / 255 - 0.5)


class Predictor(nn.Module):
    """latent `[B, 3, 8]` and action `[B, 3, 2]` in SI units → next `[B, 8]`: an offset to the last latent."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 10, 24), nn.SiLU(), nn.Linear(24, 8))

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        return latent[:, -1] + self.net(torch.cat([latent, action / 0.5], -1))


class Value(nn.Module):
    """latent and goal `[B, 8]` → steps to go `[B]`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 6)

    def forward(self, latent: Tensor, goal: Tensor) -> Tensor:
        return (self.net(latent) - self.net(goal)).square().sum(-1)


def write_example(folder: Path) -> None:
    """Write `encoder.pt2`, `predictor.pt2`, `value.pt2` and `manifest.yaml`, with weights from torch's generator."""
    image = torch.zeros(2, 12, 20, 3, dtype=torch.uint8)
    latent = torch.zeros(2, 3, 8)
    save(Encoder(), (image,), folder / "encoder.pt2")
    save(Predictor(), (latent, torch.zeros(2, 3, 2)), folder / "predictor.pt2")
    save(Value(), (latent[:, 0], latent[:, 1]), folder / "value.pt2")
    (folder / "manifest.yaml").write_text(yaml.safe_dump(MANIFEST, sort_keys=False))


def save(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    """Write a module as a program whose first dimension is free; that of the example must be above 1."""
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module.eval(), example, dynamic_shapes=tuple({0: batch} for _ in example))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's exporter
        # Writes out what only training needs: regions without gradients cannot be loaded again.
        torch.export.save(program.run_decompositions({}), path)
