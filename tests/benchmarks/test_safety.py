"""What the safety filter costs in memory: nothing a tick, for any number of joints. Times are only printed."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros_benchmarks.safety import MANY, Walk, bytes_a_tick, many_joints, times

# A tick makes a Decision and some floats; one array of booleans over all joints would be MANY bytes.
OBJECTS = 2500


@pytest.mark.parametrize("joints", [12, MANY])
def test_a_walking_tick_makes_no_array_and_leaves_nothing_behind(joints: int):
    most, left = bytes_a_tick(Walk(many_joints(joints)))
    assert most < OBJECTS < MANY
    assert left < 1024  # for all 200 ticks: floats that were replaced by longer-lived ones


def test_one_array_would_be_seen():
    class Wasteful(Walk):
        def act(self) -> None:
            super().act()
            np.isfinite(self.targets).all()

    assert bytes_a_tick(Wasteful(many_joints(MANY)))[0] >= MANY


def test_times_are_of_each_tick():
    found = times(100)
    assert all(seconds.shape == (100, 2) and (seconds >= 0).all() for seconds in found.values())
