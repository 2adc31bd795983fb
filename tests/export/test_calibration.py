from __future__ import annotations

import numpy as np
import pytest

from jepa_ros_export.calibration import arrival_energy, latent_distance
from jepa_ros_training.dataset import Runs


def runs_at(poses):
    count = len(poses)
    return Runs(
        images=np.zeros((count, 1, 1, 3), np.uint8),
        actions=np.zeros((count, 3), np.float32),
        poses=poses.astype(np.float32),
        first=np.array([0]),
        length=np.array([count]),
        step_s=0.2,
    )


def test_arrival_is_at_the_edge_of_the_goal_region_where_latents_are_places():
    poses = np.zeros((3000, 3))
    poses[:, :2] = np.random.default_rng(0).uniform(-1, 1, (3000, 2))
    energy = arrival_energy(poses[:, :2].astype(np.float32), runs_at(poses), latent_distance)
    # Mean square over the two coordinates: d² / 2, for d a little under 0.25 m.
    assert 0.2 < np.sqrt(2 * energy) < 0.25


def test_runs_without_poses_use_the_energy_of_one_step():
    poses = np.full((100, 3), np.nan)
    latents = np.arange(100, dtype=np.float32)[:, None]
    assert arrival_energy(latents, runs_at(poses), latent_distance) == pytest.approx(1.0)
