"""What robot.launch.py refuses before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jepa_ros.robots import load_robot
from jepa_ros.share import share_folder
from jepa_ros_nodes.launching import RunningLaunch
from jepa_ros_nodes.parameter_files import parameters_of

RMW = {"rmw": "rmw_fastrtps_cpp"}


def refused(arguments: dict[str, str], folder: Path) -> str:
    log = folder / "launch.log"
    with RunningLaunch("robot.launch.py", arguments, log, dict(os.environ)) as launched:
        assert launched.process.wait(60) == 1
    return log.read_text()


@pytest.mark.dds
def test_a_parameter_file_that_stands_the_robot_up(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("/**/joint_command:\n  ros__parameters: {auto_stand: true}\n")
    text = refused({"robot": "go2_sim", "params_file": str(path)}, tmp_path)
    assert "auto_stand must be false on a robot" in text
    assert "[preflight-" not in text


@pytest.mark.dds
def test_a_namespace_where_the_firmware_s_topics_have_none(tmp_path: Path):
    text = refused({"robot": "go2", "namespace": "dog", **RMW}, tmp_path)
    assert "robot go2: namespace: the names of its firmware's topics stand at the root" in text
    assert "[go2_bridge-" not in text


def test_feet_that_are_not_calibrated_do_not_damp_a_real_go2_and_the_simulated_ones_do():
    on_the_robot = parameters_of("joint_command", share_folder() / "config" / "go2.yaml")
    assert on_the_robot["disabled_limits"] == ["no_foot_contact"]
    simulated = parameters_of("joint_command", share_folder() / "config" / "sim.yaml")
    assert not any(simulated.get("disabled_limits", []))
    assert load_robot("go2_sim").safety.disabled == ()
