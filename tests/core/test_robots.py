"""Robot files: what is read, and how a bad one is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from jepa_ros.errors import RobotError
from jepa_ros.robots import load_robot

GO2 = Path(load_robot("go2").folder) / "go2.yaml"


def changed(tmp_path: Path, *keys: str | int, value: object) -> Path:
    """A copy of go2.yaml with one field changed; None removes it."""
    fields = yaml.safe_load(GO2.read_text())
    at = fields
    for key in keys[:-1]:
        at = at[key]
    if value is None:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def test_go2_has_twelve_joints_and_its_limits():
    robot = load_robot("go2")
    assert len(robot.joint_names) == 12
    calf = robot.joint_names.index("RL_calf_joint")
    assert (robot.lower[calf], robot.upper[calf]) == (-2.7227, -0.83776)
    assert (robot.effort_limits[calf], robot.velocity_limits[calf]) == (35.55, 15.7)
    assert robot.safety.motions.locomotion.joint_speed.trip_after_s == 0.1


def test_index_maps_another_order_by_name():
    robot = load_robot("go2")
    theirs = list(reversed(robot.joint_names))
    values = np.arange(12.0)
    assert dict(zip(robot.joint_names, values[robot.index(theirs)], strict=True)) == dict(
        zip(theirs, values, strict=True)
    )


def test_index_names_the_joint_that_is_missing():
    robot = load_robot("go2")
    with pytest.raises(RobotError, match="RR_calf_joint is missing from the 11 names given"):
        robot.index(robot.joint_names[:-1])
    with pytest.raises(RobotError, match="stands twice"):
        robot.index([*robot.joint_names, "FL_hip_joint"])


def test_unknown_names_are_refused_with_those_that_exist(tmp_path: Path):
    robot = load_robot("go2")
    with pytest.raises(RobotError, match="no stance named 'jump'; it has sit, stand, walk"):
        robot.stance("jump")
    with pytest.raises(RobotError, match="no gains named 'jump'; it has damp, stand, walk"):
        robot.gain("jump")
    with pytest.raises(RobotError, match="shipped robots are generic, go2, go2_sim"):
        load_robot("go3")
    with pytest.raises(RobotError, match="no file"):
        load_robot(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        (("joints", 0, "upper"), -2.0, "lower -1.0472 must be below upper -2.0"),
        (("joints", 0, "effort"), 0.0, "joints.0.effort"),
        (("joints", 0, "effort"), float("nan"), "joints.0.effort"),
        (("stances", "stand", "FL_calf_joint"), None, "must name exactly the robot's joints, differs in FL_calf_joint"),
        (("stances", "stand", "FL_calf_joint"), 1.0, "FL_calf_joint is outside its range"),
        (("stances", "sit"), None, "stances.sit: is missing"),
        (("gains", "damp"), None, "gains.damp: is missing"),
        (("gains", "damp", "kp"), 3.0, "gains.damp: kp must be 0"),
        (("gains", "walk", "kp"), 0.0, "gains.walk: kp must be above 0"),
        (("safety",), None, "safety: Field required"),
        (("safety", "tilt_rad"), -1.0, "safety.tilt_rad"),
        (("safety", "motions", "direct", "target_speed"), None, "safety.motions.direct.target_speed: Field required"),
        (
            ("safety", "motions", "direct", "target_step", "limit"),
            0.05,
            "direct: Value error, target_step: must be 0.1",
        ),
        (("safety", "motions", "locomotion", "target_speed", "clamp"), True, "target_speed.clamp: Extra inputs"),
        (("safety", "motors", "stop_c"), 105.0, "stop_c 105.0 must be below damp_c 100.0"),
        (("safety", "motions", "locomotion", "effort", "clamp"), False, "locomotion.effort.clamp"),
        (("safety", "slew", "vx"), 0.0, "slew: must be above zero"),
    ],
)
def test_a_bad_field_is_named_in_one_line(tmp_path: Path, keys: tuple[str | int, ...], value: object, sentence: str):
    with pytest.raises(RobotError) as refused:
        load_robot(changed(tmp_path, *keys, value=value))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "- 1", "name: [", "\x00"])
def test_a_file_that_holds_no_robot_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    with pytest.raises(RobotError, match=r"robot file .*robot\.yaml"):
        load_robot(path)
