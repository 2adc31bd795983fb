"""The check list: each check can fail, and says what and why in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from jepa_ros.bundle import keys
from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import RobotError
from jepa_ros.planning.pursuit import GoalPursuit, PursuitSettings
from jepa_ros.robots import load_robot
from jepa_ros.share import default_bundle, share_folder
from jepa_ros.types import Imu
from jepa_ros_nodes import preflight_checks as checks
from jepa_ros_nodes.parameter_files import parameters_of, refuse_to_command
from jepa_ros_nodes.preflight import _compressed, of_the_machine, settings_of
from jepa_ros_nodes.preflight_checks import Heard, Stream
from jepa_ros_nodes.preflight_listening import Listener
from jepa_ros_nodes.preflight_sources import sources, stamps
from jepa_ros_nodes.robot_launch import camera

ROBOT = load_robot("go2_sim")
SIT = ROBOT.stance("sit")
LEVEL = Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, 9.81]))


def stream(rate: float, age: float = 0.01, seconds: float = 2.0) -> Stream:
    times = np.arange(0.0, seconds, 1.0 / rate)
    return Stream("topic", times.tolist(), [age] * len(times))


def heard(**other: object) -> Heard:
    found = Heard(stream(10.0), stream(125.0), stream(125.0), (128, 128), np.pi / 2, [SIT] * 9, [LEVEL] * 9)
    for name, value in other.items():
        setattr(found, name, value)
    return found


def test_a_good_robot_passes():
    found = heard()
    bundle = load_bundle(default_bundle())
    for check in (
        checks.camera(found, ROBOT, 0.2),
        checks.lens(found, ROBOT, bundle),
        checks.joints(found, ROBOT),
        checks.inertial(found, ROBOT),
        checks.clock(found),
        checks.actions(ROBOT, bundle, ["vx", "vy", "wz"]),
        checks.feet(ROBOT, None),
        sources({"imu": 1}, []),
        stamps(found),
    ):
        assert check.passed, check


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (Stream("topic"), "0 messages came: is the driver running?"),
        (stream(3.0), "3.0 Hz, needs 5.0 Hz"),
        (stream(10.0, age=1.5), "stamps 1.500 s old"),
        (stream(10.0, age=-1.5), "stamps 1.500 s from the future"),
        (Stream("topic", [0.0], [], "encoding bayer is not known"), "encoding bayer is not known"),
        (Stream("topic", stream(10.0).came, []), "header.stamp is empty: have the driver set it"),
    ],
)
def test_a_camera_that_no_plan_can_be_made_from(images: Stream, sentence: str):
    check = checks.camera(heard(images=images), ROBOT, 0.2)
    assert not check.passed
    assert sentence in check.found


def test_compressed_images_are_listened_to_where_the_model_sees_them(rig, tmp_path):
    node = Node("preflight", context=rig.context)
    listener = Listener(node, ROBOT, compressed=True)
    assert listener.heard.images.topic == "/camera/image_raw/compressed"
    pixels = np.zeros((6, 8, 3), np.uint8)
    message = CompressedImage(format="rgb8; png compressed bgr8", data=cv2.imencode(".png", pixels)[1].tobytes())
    message.header.stamp.sec = 5
    listener._on_image(message)
    assert listener.heard.size == (8, 6)
    assert len(listener.heard.images.ages) == 1
    listener._on_image(CompressedImage(format="png", data=b"none"))
    assert listener.heard.images.problem
    node.destroy_node()
    remapped = dict(camera(ROBOT, "front/image"))
    assert remapped["camera/image_raw/compressed"] == "front/image/compressed"
    (tmp_path / "params.yaml").write_text("/**/world_model: {ros__parameters: {compressed: true}}\n")
    assert _compressed(tmp_path / "params.yaml")
    assert not _compressed(None)


def test_another_lens():
    bundle = load_bundle(default_bundle())
    check = checks.lens(heard(fov_rad=0.8), ROBOT, bundle)
    assert not check.passed
    assert "the camera sees 46° across, the bundle was trained with 90°" in check.found
    told = checks.lens(heard(fov_rad=0.0), ROBOT, bundle)
    assert told.passed
    assert "by the robot's file" in told.found
    unknown = checks.lens(heard(fov_rad=0.0), ROBOT.model_copy(update={"camera": None}), bundle)
    assert not unknown.passed


def test_joints_of_another_zero_or_not_a_number():
    off = SIT.copy()
    off[2] += 3.0
    check = checks.joints(heard(positions=[off]), ROBOT)
    assert not check.passed
    assert "FL_calf_joint at 0.350 rad is outside -2.7227…-0.83776" in check.found
    off[2] = np.nan
    assert "not a number" in checks.joints(heard(positions=[off]), ROBOT).found


@pytest.mark.parametrize(
    ("imu", "sentence"),
    [
        (Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 0.5]), np.zeros(3)), "length is 0.500"),
        (Imu(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3)), "tilted by 3.14 rad"),
        (Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([9.81, 0.0, 0.0])), "differ by 1.57 rad"),
        (Imu(np.full(3, np.nan), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3)), "quaternion"),
    ],
)
def test_an_inertial_unit_with_other_axes(imu: Imu, sentence: str):
    check = checks.inertial(heard(imus=[imu]), ROBOT)
    assert not check.passed
    assert sentence in check.found


def test_a_quaternion_in_unitree_s_order_is_found_out():
    """Level is w 1, x 0, y 0, z 0; read as x, y, z, w it is upside down."""
    check = checks.inertial(
        heard(imus=[Imu(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), LEVEL.linear_acceleration)]), ROBOT
    )
    assert not check.passed


def test_a_clock_that_jumps():
    assert "jumped by -0.400 s" in checks.clock(heard(clock_steps=[0.0, -0.4, 0.001])).found


def test_a_bundle_that_plans_something_else():
    bundle = load_bundle(default_bundle())
    check = checks.actions(ROBOT, bundle, ["vx", "wz"])
    assert "the bundle plans [vx, vy, wz], joint_command's action_names are [vx, wz]" in check.found
    eight = checks.actions(load_robot("generic"), bundle, ["vx", "vy", "wz"])
    assert not eight.passed
    assert "no locomotion policy" in eight.found
    assert checks.actions(load_robot("generic").with_output("cmd_vel"), bundle, ["vx", "vy", "wz"]).passed


def test_two_drivers_or_somebody_who_commands_already():
    assert "imu has 2 publishers" in sources({"imu": 2}, []).found
    assert "teleop on cmd_vel already commands" in sources({"imu": 1}, [("teleop", "cmd_vel")]).found


def test_the_robots_own_drivers_may_ask_it_for_things_but_command_no_joints():
    bridge = [("go2_bridge", "api/sport/request")]
    assert sources({}, bridge, {"go2_bridge"}).passed
    assert not sources({}, bridge, set()).passed
    assert not sources({}, [("go2_bridge", "joint_commands")], {"go2_bridge"}).passed


def test_the_firmwares_writers_are_a_warning_and_on_joint_commands_a_refusal():
    bare = "_CREATED_BY_BARE_DDS_APP_"
    check = sources({}, [(bare, "lowcmd"), (bare, "lowcmd")])
    assert check.passed
    assert "warning: writers without a node, 2 on lowcmd" in check.found
    assert not sources({}, [(bare, "joint_commands")]).passed


def test_messages_that_do_not_say_when_they_were_made():
    images = Stream("images", [0.0, 0.1, 0.2])
    check = stamps(heard(images=images))
    assert check.passed
    assert check.found.startswith("warning: images: header.stamp is empty")


def test_feet_that_are_not_felt():
    assert "lacks RR_foot" in checks.feet(ROBOT, ["FL_foot", "FR_foot", "RL_foot"]).found


def test_plans_that_come_too_late(tiny_bundle: Path):
    bundle = load_bundle(tiny_bundle)
    assert checks.deadline(GoalPursuit(bundle)).passed
    late = checks.deadline(GoalPursuit(bundle, PursuitSettings(margin_s=0.1999)))
    assert not late.passed
    assert "raise delay_steps" in late.found
    assert not checks.provider(GoalPursuit(bundle), ["CUDAExecutionProvider"]).passed
    assert checks.provider(GoalPursuit(bundle), ["CPUExecutionProvider"]).passed


def test_what_a_parameter_file_says_for_a_node(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("/**/world_model:\n  ros__parameters: {threads: 2, margin: 0.05, seed: 3}\n")
    assert settings_of(parameters_of("world_model", path)) == PursuitSettings(threads=2, margin_s=0.05)
    assert parameters_of("joint_command", path) == {}
    path.write_text("- 1\n")
    with pytest.raises(RobotError, match=r"parameter file .*params\.yaml"):
        parameters_of("world_model", path)


@pytest.mark.parametrize("setting", ["auto_stand: true", "auto_walk: true", "lock_step: true", "dry_run: false"])
@pytest.mark.parametrize("block", ["/**/joint_command", "joint_command", "/**", "/dog/joint_command", "/dog/*"])
def test_a_parameter_file_does_not_stand_a_robot_up(tmp_path: Path, block: str, setting: str):
    path = tmp_path / "params.yaml"
    path.write_text(
        f"/**/world_model:\n  ros__parameters: {{threads: 2}}\n{block}:\n  ros__parameters: {{{setting}}}\n"
    )
    with pytest.raises(RobotError, match=rf"params\.yaml: .*{setting.partition(':')[0]}"):
        refuse_to_command(path)
    path.write_text(f"dog:\n  joint_command:\n    ros__parameters: {{{setting}}}\n")
    with pytest.raises(RobotError, match="/dog/joint_command"):
        refuse_to_command(path)


def test_a_parameter_file_may_say_that_nothing_stands_up_by_itself(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("/**/joint_command:\n  ros__parameters: {auto_stand: false, control_rate: 250.0}\n")
    refuse_to_command(path)
    refuse_to_command(share_folder() / "config" / "go2.yaml")
    with pytest.raises(RobotError, match="auto_stand"):
        refuse_to_command(share_folder() / "config" / "sim.yaml")


@pytest.mark.dds
def test_keys_of_the_command_line_are_asked_for(tiny_bundle: Path, tmp_path: Path):
    keys.make_keys(tmp_path / "owner")
    rclpy.init()
    try:
        listener = Listener(Node("preflight"), ROBOT)
        (check,) = of_the_machine(str(tiny_bundle), ROBOT, None, [f"{tmp_path}/owner.pub"], listener)
    finally:
        rclpy.shutdown()
    assert not check.passed
    assert "is not signed" in check.found
