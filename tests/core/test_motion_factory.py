"""Which motion an action's names call for."""

from __future__ import annotations

import pytest

from jepa_ros.errors import RobotError
from jepa_ros.motion import ACTION_NAMES, DirectMotion, LocomotionMotion, check_units, make_motion
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


@pytest.mark.parametrize(
    ("names", "units", "frame", "says"),
    [
        (ACTION_NAMES, ("m/s", "km/h", "rad/s"), "base_link", r"action\.units: vy is in km/h, and motions take m/s"),
        (("wz",), ("m/s",), "base_link", r"action\.units: wz is in m/s, and motions take rad/s"),
        (("FL_hip_joint",), ("deg",), "base_link", r"action\.units: FL_hip_joint is in deg, and motions take rad"),
        (("vx",), ("m/s",), "map", r"action\.frame is map, and body velocities are of base_link"),
    ],
)
def test_units_and_frames_that_nothing_converts_are_refused(names, units, frame, says):
    with pytest.raises(RobotError, match=says):
        check_units(names, units, frame)


def test_units_and_frames_that_motions_take():
    check_units(ACTION_NAMES, ("m/s", "m/s", "rad/s"), "base_link")
    check_units(("FL_hip_joint",), ("rad",), "anywhere")
