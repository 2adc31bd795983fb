"""Direct joint motion: cubic between model steps, by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import RobotError
from jepa_ros.motion import DirectMotion
from jepa_ros.robots import load_robot
from jepa_ros.types import Imu, JointState

ROBOT = load_robot("go2")
STAND = JointState(ROBOT.stance("stand"), np.zeros(12), np.zeros(12))
LEVEL = Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3))
NAMES = ("RL_calf_joint", "FL_hip_joint")
COLUMNS = [ROBOT.joint_names.index(name) for name in NAMES]


def drive(motion: DirectMotion, action: list[float], ticks: int) -> np.ndarray:
    return np.array([motion.targets(np.array(action), STAND, LEVEL) for _ in range(ticks)])


def test_named_joints_arrive_after_one_step_and_others_stay():
    motion = DirectMotion(ROBOT, NAMES, step_s=0.2)
    motion.reset(STAND)
    way = drive(motion, [-1.5, 0.1], 10)
    assert way[-1, COLUMNS] == pytest.approx([-1.5, 0.1])
    others = [i for i in range(12) if i not in COLUMNS]
    np.testing.assert_array_equal(way[:, others], np.tile(STAND.position[others], (10, 1)))
    assert way[4, COLUMNS] == pytest.approx([-1.4, 0.05])  # half way at half time, by symmetry
    np.testing.assert_allclose(drive(motion, [-1.5, 0.1], 3)[-1], way[-1], atol=1e-12)


@given(st.lists(st.tuples(st.floats(-2.5, -0.9), st.floats(-1, 1), st.integers(1, 12)), min_size=2, max_size=6))
def test_neither_position_nor_speed_jumps_when_the_action_changes(plan: list[tuple[float, float, int]]):
    motion = DirectMotion(ROBOT, NAMES, step_s=0.2, rate_hz=500.0)
    motion.reset(STAND)
    way = np.concatenate([[STAND.position], *(drive(motion, [a, b], 10 * n) for a, b, n in plan)])
    speed = np.diff(way, axis=0) * 500.0
    # A cubic of 0.2 s over at most 2 rad, from at most 15 rad/s, accelerates by at most (6 · 2 / 0.2 + 4 · 15) / 0.2.
    assert np.abs(np.diff(speed, axis=0)).max() <= (6 * 2 / 0.2 + 4 * 15) / 0.2 / 500.0 + 1e-6


def test_not_a_number_is_passed_on():
    motion = DirectMotion(ROBOT, NAMES, step_s=0.2)
    assert np.isnan(motion.targets(np.array([np.nan, 0.0]), STAND, LEVEL)).any()


def test_bad_names_and_times_are_refused():
    with pytest.raises(RobotError, match="has no joint tail"):
        DirectMotion(ROBOT, ("tail",), step_s=0.2)
    with pytest.raises(RobotError, match="a joint twice"):
        DirectMotion(ROBOT, ("FL_hip_joint", "FL_hip_joint"), step_s=0.2)
    with pytest.raises(RobotError, match="must be above zero"):
        DirectMotion(ROBOT, NAMES, step_s=0.0)
