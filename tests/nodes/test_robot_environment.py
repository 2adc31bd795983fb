"""An operator's terminal is where the robot's launch is: by the robot's file, not by variables one has to know."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jepa_ros.errors import RobotError
from jepa_ros.robots import load_robot
from jepa_ros_nodes.robot_environment import ask_command, robot_environment, where

from .conftest import Rig


def robot_file(folder: Path, middleware: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"extends: go2_sim\nname: mine\nmiddleware: {{{middleware}}}\n")
    return path


def test_the_file_s_middleware_and_domain_or_another_rmw(tmp_path: Path):
    robot = load_robot(robot_file(tmp_path, "rmw: rmw_fastrtps_cpp, domain_id: 7, discovery: subnet"))
    assert robot_environment(robot, "", {}) == {
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "ROS_DOMAIN_ID": "7",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    }
    with pytest.raises(RobotError, match="apt-get install ros-jazzy-rmw-carrierpigeon-cpp"):
        robot_environment(robot, "rmw_carrierpigeon_cpp", {})


def test_the_words_name_what_has_to_agree():
    assert where({"ROS_DOMAIN_ID": "3"}).startswith("RMW_IMPLEMENTATION (the default) and ROS_DOMAIN_ID (3)")
    assert ask_command("enable", "go2") == "python -m jepa_ros_nodes.ask enable --robot go2"
    assert ask_command("damp", "a.yaml", "r", "/dog").endswith("ask damp --robot a.yaml --rmw r --namespace /dog")


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"jepa_ros_nodes.{module}", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.dds
def test_ask_finds_a_robot_in_its_file_s_domain(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mine = int(os.environ.get("ROS_DOMAIN_ID", "0"))
    other = mine + 100 if mine < 100 else mine - 100
    path = robot_file(tmp_path, f"domain_id: {other}")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("ROS_DOMAIN_ID", str(other))
        rig.start("joint_command", robot="go2_sim")
    found = run("ask", "damp", "--wait", "30", "--robot", str(path))
    assert found.returncode == 0, found.stdout + found.stderr
    lost = run("ask", "damp", "--wait", "1")
    assert lost.returncode == 1
    assert f"ROS_DOMAIN_ID ({mine}); --robot NAME" in lost.stdout
    nobody = run("reach", "west", "--wait", "1", "--robot", str(path))
    assert f"ROS_DOMAIN_ID ({other})" in " ".join(nobody.stdout.split())
