"""MPPI's own update; what it shares with CEM is in test_cem.py."""

from __future__ import annotations

import numpy as np

from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.mppi import MPPI
from jepa_ros.planning.sampling import Workspace

from .linear_world import LinearWorld


def refit(temperature, violation=(0.0, 0.0)):
    config = PlannerConfig(samples=8, elites=2, horizon=1, temperature=temperature)
    work = Workspace(config, 1, 1)
    work.candidates[:2, 0, 0] = [0.0, 1.0]
    work.energy[:2] = [1.0, 1.5]
    work.violation[:2] = violation
    MPPI(LinearWorld(1), config)._refit(work, np.array([0, 1]), np.array([0.125], np.float32))
    return float(work.mean[0, 0]), float(work.std[0, 0])


def test_the_temperature_divides_the_energy():
    # Energies 1.0 and 1.5 at temperature 0.5: weights 1 and exp(-1).
    share = np.exp(-1) / (1 + np.exp(-1))
    mean, std = refit(temperature=0.5)
    np.testing.assert_allclose(mean, share, rtol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(share * (1 - share)), rtol=1e-6)


def test_a_low_temperature_takes_the_best_and_a_high_one_the_average():
    np.testing.assert_allclose(refit(temperature=0.01), (0.0, 0.125), atol=1e-9)
    np.testing.assert_allclose(refit(temperature=1e4), (0.5, 0.5), atol=1e-4)


def test_a_worse_violation_does_not_pull_the_mean():
    mean, _ = refit(temperature=1e4, violation=(0.0, 0.3))
    assert mean == 0.0
