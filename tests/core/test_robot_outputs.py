"""The `output`, `camera`, `drivers` and `extends` of robot files, and with which bounds velocities are sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import RobotError
from jepa_ros.motion import LocomotionMotion, make_motion
from jepa_ros.motion.velocity import VelocityMotion
from jepa_ros.robots import load_robot
from jepa_ros.robots.outputs import LowCommandSpec
from jepa_ros.types import Imu, JointState

GO2 = load_robot("go2")


def written(tmp_path: Path, **fields: object) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "go2", "name": "mine", **fields}))
    return path


def test_go2_names_every_motor_once_and_not_in_the_order_of_its_joints():
    assert isinstance(GO2.output, LowCommandSpec)
    assert GO2.output.motors[:3] == ["FR_hip_joint", "FR_thigh_joint", "FR_calf_joint"]
    assert sorted(GO2.output.motors) == sorted(GO2.joint_names)
    assert GO2.output.command_topic == "lowcmd"
    assert GO2.middleware.discovery == "subnet"


def test_go2_sim_is_go2_but_for_what_it_says():
    sim = load_robot("go2_sim")
    assert (sim.joints, sim.safety, sim.gains, sim.feet) == (GO2.joints, GO2.safety, GO2.gains, GO2.feet)
    assert (sim.output.kind, sim.middleware.discovery, sim.drivers) == ("joint_targets", "localhost", [])
    assert make_motion(sim, ["vx", "wz"]).rate_hz == 50.0


def test_the_generic_robot_needs_no_python():
    robot = load_robot("generic")
    assert len(robot.joints) == 8
    assert robot.output.command_topic == "forward_position_controller/commands"
    assert make_motion(robot, robot.joint_names).action_names == robot.joint_names


def test_files_named_in_a_file_that_is_extended_are_found(tmp_path: Path):
    robot = load_robot(written(tmp_path))
    assert isinstance(make_motion(robot, ["vx"]), LocomotionMotion)
    assert robot.urdf is not None
    assert robot.urdf.is_file()


def test_a_field_takes_the_place_of_the_other_files_as_a_whole(tmp_path: Path):
    robot = load_robot(written(tmp_path, middleware={"discovery": "off"}))
    assert (robot.middleware.discovery, robot.middleware.rmw) == ("off", "")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"output": {"kind": "wheels"}}, "output: Input tag 'wheels'"),
        ({"output": {"kind": "low_command"}}, "output.low_command.motors: Field required"),
        (
            {"output": {"kind": "low_command", "motors": ["FL_hip_joint"]}},
            "output.motors: must name each of the robot's",
        ),
        ({"output": {"kind": "forward_command", "joints": [*GO2.joint_names[:-1], "FL_hip_joint"]}}, "output.joints"),
        ({"output": {"kind": "trajectory", "rate_hz": 0}}, "output.trajectory.rate_hz"),
        ({"output": {"kind": "cmd_vel", "low": [0.1, 0, 0]}}, "a stop commands zero"),
        ({"output": {"kind": "cmd_vel", "stampd": True}}, "output.cmd_vel.stampd: Extra inputs"),
        (
            {"camera": {"width": 10, "height": 10, "rate_hz": 1}},
            "camera: Value error, give either horizontal_fov_rad or k",
        ),
        ({"camera": {"width": 10, "height": 10, "rate_hz": 1, "k": [1.0]}}, "k: must be 9 numbers"),
        ({"middleware": {"discovery": "world"}}, "middleware.discovery"),
        ({"middleware": {"interface": "eth0/><x"}}, "is no network interface"),
        ({"middleware": {"domain_id": 233}}, "middleware.domain_id"),
        ({"feet": ["a", "a"]}, "feet: a name stands twice"),
        ({"drivers": [{"executable": ""}]}, "drivers.0.executable"),
        ({"extends": "unicorn"}, "robot unicorn: no file"),
        ({"extends": 3}, "extends: must be the name"),
        ({"extends": "mine.yaml"}, "extends: goes round in a circle"),
    ],
)
def test_a_bad_field_is_named_in_one_line(tmp_path: Path, fields: dict[str, object], sentence: str):
    with pytest.raises(RobotError) as refused:
        load_robot(written(tmp_path, **fields))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_another_output_than_the_files_has_its_defaults():
    assert GO2.with_output("") is GO2
    assert GO2.with_output("sport").output.command_topic == "api/sport/request"
    assert GO2.with_output("cmd_vel").velocity_bounds == ([-0.3, -0.2, -0.6], [0.4, 0.2, 0.6])
    with pytest.raises(RobotError, match=r"needs output\.motors in the robot's file"):
        load_robot("go2_sim").with_output("low_command")
    with pytest.raises(RobotError, match="no output named 'wings'; there are joint_targets"):
        GO2.with_output("wings")


def test_a_gait_that_is_not_ours_is_given_no_joint_targets_but_the_stance():
    robot = GO2.with_output("cmd_vel")
    motion = make_motion(robot, ["wz", "vx"])
    assert isinstance(motion, VelocityMotion)
    still = JointState(*np.zeros((3, 12)))
    level = Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3))
    np.testing.assert_array_equal(motion.targets(np.ones(2), still, level), robot.stance("stand"))
    with pytest.raises(RobotError, match="output cmd_vel takes vx, vy, wz"):
        make_motion(robot, ["FL_hip_joint"])


@given(st.permutations(list(GO2.joint_names)), st.integers(0, 11))
def test_an_order_is_taken_only_if_it_names_each_joint_once(order: list[str], at: int):
    robot = GO2.with_output("forward_command")
    fields = {**robot.model_dump(), "output": {"kind": "forward_command", "joints": order}}
    assert type(robot)(**fields).output.joints == order
    for wrong in (order[:at] + order[at + 1 :], [*order[:at], "tail", *order[at + 1 :]], [*order, order[at]]):
        fields["output"] = {"kind": "forward_command", "joints": wrong}
        with pytest.raises(ValueError, match=r"output\.joints: must name each"):
            type(robot)(**fields)
