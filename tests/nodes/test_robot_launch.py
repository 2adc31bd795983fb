"""robot.launch.py beside a running simulated dog: the check list, a dry run that touches nothing, an operator's enable;
and how it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from jepa_ros_msgs.msg import JointCommand, SafetyStatus
from nav_msgs.msg import Odometry
from rclpy.validate_topic_name import validate_topic_name
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from jepa_ros.robots import load_robot
from jepa_ros.robots.description import frames, poses, urdf_text
from jepa_ros_nodes import qos
from jepa_ros_nodes.launching import RunningLaunch
from jepa_ros_nodes.robot_launch import camera, shadows

from .conftest import Rig

pytestmark = pytest.mark.dds


def ask(what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jepa_ros_nodes.ask", what, "--wait", "10"]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("topic", "shadow"), [("/cmd_vel", "shadow/cmd_vel"), ("base/cmd_vel", "shadow/base/cmd_vel")])
def test_an_absolute_topic_has_a_shadow_that_rcl_takes(tmp_path: Path, topic: str, shadow: str):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: go2\nname: mine\noutput: {{kind: cmd_vel, topic: {topic}}}\n")
    moved = dict(shadows(load_robot(path)))
    assert moved[topic] == shadow
    for name in moved.values():
        validate_topic_name(name)


@pytest.mark.parametrize(
    ("topic", "info"),
    [
        ("/front/image_raw", "/front/camera_info"),
        ("front/image_raw", "front/camera_info"),
        ("/image", "/camera_info"),
        ("image", "camera_info"),
    ],
)
def test_camera_info_is_the_images_neighbour(topic: str, info: str):
    assert camera(load_robot("go2"), topic) == [
        ("camera/image_raw", topic),
        ("camera/image_raw/compressed", f"{topic}/compressed"),
        ("camera/camera_info", info),
    ]


@pytest.mark.parametrize("dry_run", [True, False], ids=["dry run", "live"])
def test_from_the_check_list_to_standing_beside_the_simulated_dog(rig: Rig, tmp_path: Path, dry_run: bool):
    rig.start("sim_dog", room=0)
    truth = rig.listen(Odometry, "ground_truth/odom", qos.STATE)
    rig.wait("the dog", lambda: truth)
    commands = {name: rig.listen(JointCommand, name, qos.STATE) for name in ("joint_commands", "shadow/joint_commands")}
    space = "shadow/" if dry_run else ""
    statuses = rig.listen(SafetyStatus, f"{space}safety_status", qos.STATE)
    log, patient = tmp_path / "launch.log", tmp_path / "params.yaml"
    # The machine that tests run on is busy: plans are given 0.8 s.
    patient.write_text("/**/world_model:\n  ros__parameters: {delay_steps: 4}\n")
    arguments = {"robot": "go2_sim", "dry_run": str(dry_run).lower(), "params_file": str(patient)}
    with RunningLaunch("robot.launch.py", arguments, log, dict(os.environ)) as launched:
        rig.wait("the nodes to start after the check list", lambda: statuses or launched.process.poll(), 90.0)
        text = log.read_text()
        assert statuses, text
        for check in ("bundle", "camera", "lens", "actions", "deadline", "joints", "imu", "clock", "sources"):
            assert f"│ ok │ {check}" in text
        assert statuses[-1][1].state == "passive"
        rig.spin(1.0)
        assert not any(commands.values())  # nothing is sent before somebody asks
        rig.wait("the planner", lambda: "world_model]: bundle" in log.read_text(), 60.0)
        enabled = ask("enable")
        for _ in range(4):  # a machine that stalls damps the dog, and an operator asks again
            if "enable: damped" in enabled.stdout:
                rig.wait("to recover", lambda: ask("recover").returncode == 0)
                enabled = ask("enable")
        assert enabled.returncode == 0, enabled.stdout + log.read_text()
        assert ("dry run: nothing reaches the robot" in enabled.stdout) == dry_run
        assert "walk: " in enabled.stdout
        rig.wait("commands", lambda: commands[f"{space}joint_commands"])
        rig.wait("to stand", lambda: statuses[-1][1].state == "stand")
        height = truth[-1][1].pose.pose.position.z
        assert height < 0.15 if dry_run else height > 0.25  # m
    assert bool(commands["joint_commands"]) != dry_run
    assert bool(commands["shadow/joint_commands"]) == dry_run
    assert launched.process.returncode == 0, log.read_text()


def test_nothing_starts_where_no_robot_is_heard(rig: Rig, tmp_path: Path):
    log = tmp_path / "launch.log"
    path = tmp_path / "mine.yaml"
    path.write_text("extends: go2_sim\nname: mine\n")
    began = time.monotonic()
    with RunningLaunch("robot.launch.py", {"robot": str(path)}, log, dict(os.environ)) as launched:
        rig.wait("the launch to end", lambda: launched.process.poll() is not None, 90.0)
    text = log.read_text()
    assert launched.process.returncode == 1
    assert "Caught exception in launch (see debug for traceback): refused: " in text
    assert "/joint_states: 0 messages came: is the driver running?" in text
    assert "[joint_command-" not in text
    assert time.monotonic() - began < 60


def test_a_middleware_that_is_not_installed_is_refused_with_the_fix(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: go2_sim\nname: mine\nmiddleware: {rmw: rmw_carrierpigeon_cpp}\n")
    log = tmp_path / "launch.log"
    with RunningLaunch("robot.launch.py", {"robot": str(path)}, log, dict(os.environ)) as launched:
        assert launched.process.wait(30) == 1
    assert "apt-get install ros-jazzy-rmw-carrierpigeon-cpp" in log.read_text()


def test_the_simulator_ends_with_a_bundle_that_is_refused(rig: Rig, tmp_path: Path):
    log = tmp_path / "launch.log"
    with RunningLaunch("sim.launch.py", {"bundle": str(tmp_path / "absent")}, log, dict(os.environ)) as launched:
        rig.wait("the launch to end", lambda: launched.process.poll() is not None, 60.0)
    assert launched.process.returncode == 1
    assert "world_model has ended by itself: its last error says why" in log.read_text()


def test_the_description_and_frames_of_the_simulated_dog(rig: Rig):
    rig.start("sim_dog", room=0)
    rig.start("robot_description", robot="go2_sim")
    described = rig.listen(String, "robot_description", qos.LATCHED)
    fixed = rig.listen(TFMessage, "/tf_static", qos.LATCHED)
    moving = rig.listen(TFMessage, "/tf", qos.TRANSFORMS)
    rig.wait("a description", lambda: described and fixed and len(moving) > 3)
    robot = load_robot("go2_sim")
    assert described[0][1].data == urdf_text(robot)
    static = {t.child_frame_id: t.header.frame_id for t in fixed[0][1].transforms}
    assert static["imu_link"] == static["camera_link"] == "base_link"
    assert static["camera_optical_frame"] == "camera_link"
    legs = {t.child_frame_id: t for t in moving[-1][1].transforms}
    assert len(legs) == 12
    foot = poses(frames(described[0][1].data), dict(zip(robot.joint_names, robot.stance("sit"), strict=True)))[
        "FL_calf"
    ]
    hip = legs["FL_hip"].transform.translation
    np.testing.assert_allclose([hip.x, hip.y, hip.z], [0.1934, 0.0465, 0.0], atol=1e-9)
    assert foot[0][2] < 0.0
