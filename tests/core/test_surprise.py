"""Surprise in units of the calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jepa_ros.errors import PlanningError
from jepa_ros.surprise import SurpriseMonitor


def test_one_is_the_99th_percentile():
    monitor = SurpriseMonitor(p99=0.04)
    seen = np.zeros(4, np.float32)
    assert monitor.observe(np.full(4, 0.2, np.float32), seen) == pytest.approx(1.0)
    assert monitor.observe(np.array([0.8, 0, 0, 0], np.float32), seen) == pytest.approx(4.0)
    assert monitor.observe(seen, seen) == 0


def test_what_is_not_a_number_is_infinitely_surprising():
    assert SurpriseMonitor(1.0).observe(np.array([np.nan], np.float32), np.zeros(1, np.float32)) == math.inf


@pytest.mark.parametrize("p99", [0.0, -1.0, math.nan])
def test_a_bundle_without_calibration_is_refused(p99):
    with pytest.raises(PlanningError, match="surprise_p99"):
        SurpriseMonitor(p99)
