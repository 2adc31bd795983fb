"""Energies that mean something: at arrival, and of an ordinary prediction. Measured on runs the model never saw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros_training.dataset import Runs
from jepa_ros_training.diagnostics import encode_all
from jepa_ros_training.model import WorldModel

Float32 = NDArray[np.float32]
Distance = Callable[[Float32, Float32], Float32]

_REGION_M, _REGION_RAD = 0.25, np.deg2rad(15.0)
_PAIRS, _FEWEST = 1_000_000, 50


def latent_distance(latents: Float32, goals: Float32) -> Float32:
    """Mean squared difference of `[N, D]` and `[N, D]`, `[N]`."""
    return ((latents - goals) ** 2).mean(1, dtype=np.float32)


def arrival_energy(latents: Float32, runs: Runs, distance: Distance, seed: int = 0) -> float:
    """The energy under which a frame is at the goal: nine of ten frames at the goal region's edge lie above it.

    The region is 0.25 m and 15°; its edge is a fifth to either side. This is the only use of true poses. Runs without
    them (a real robot's: not finite), or too short to have such pairs, give the median energy of frames one step apart.
    """
    first, second = np.random.default_rng(seed).integers(0, len(latents), (2, _PAIRS))
    apart = runs.poses[first].astype(np.float64) - runs.poses[second]
    metres, turned = np.hypot(apart[:, 0], apart[:, 1]), np.abs((apart[:, 2] + np.pi) % (2 * np.pi) - np.pi)
    # In units of the region: 1 is its edge.
    off = np.maximum(metres / _REGION_M, turned / _REGION_RAD)
    edge = (off > 0.8) & (off < 1.2)
    if edge.sum() >= _FEWEST:
        return float(np.percentile(distance(latents[first[edge]], latents[second[edge]]), 10))
    begin = runs.starts(2)
    return float(np.median(distance(latents[begin], latents[begin + 1])))


def surprise(model: WorldModel, runs: Runs, latents: Float32) -> tuple[float, float]:
    """Median and 99th percentile of the energy between a one-step prediction and what was then seen."""
    context = model.config.context
    rows = runs.starts(context + 1)[:, None] + np.arange(context + 1)
    with torch.inference_mode():
        predicted = model.predictor(
            torch.from_numpy(latents[rows[:, :context]]), torch.from_numpy(runs.actions[rows[:, :context]])
        )
    energy = latent_distance(predicted.numpy(), latents[rows[:, context]])
    return float(np.percentile(energy, 50)), float(np.percentile(energy, 99))


def encode(model: WorldModel, runs: Runs) -> Float32:
    """Latents of all frames, `[N, D]`."""
    return encode_all(model, runs.images)
