"""Which motion an action's names call for."""

from __future__ import annotations

import pytest

from jepa_ros.errors import RobotError
from jepa_ros.motion import DirectMotion, LocomotionMotion, make_motion
from jepa_ros.robots import load_robot

ROBOT = load_robot("go2")


def test_body_velocities_walk_and_joints_move_directly():
    assert isinstance(make_motion(ROBOT, ("vx", "vy", "wz")), LocomotionMotion)
    assert isinstance(make_motion(ROBOT, ("FL_hip_joint",)), DirectMotion)


@pytest.mark.parametrize("names", [(), ("vx", "FL_hip_joint"), ("vx", "thrust"), ("gripper",)])
def test_any_other_action_is_refused_by_name(names: tuple[str, ...]):
    with pytest.raises(RobotError, match="no motion accepts the action") as refused:
        make_motion(ROBOT, names)
    for strange in {"thrust", "gripper"} & set(names):
        assert f"{strange} is neither" in str(refused.value)


def test_a_robot_without_a_walking_policy_cannot_walk():
    with pytest.raises(RobotError, match="no locomotion policy"):
        make_motion(ROBOT.model_copy(update={"locomotion": None}), ("vx",))
