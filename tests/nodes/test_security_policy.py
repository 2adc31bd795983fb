"""The SROS 2 policy and the nodes agree: what a node has made is allowed, and what is allowed some node makes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jepa_ros.robots import load_robot
from jepa_ros.robots.outputs import SPECS
from jepa_ros_nodes.robot_launch import shadows

from .conftest import Rig
from .graph_rights import Rights, allowed, used

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "config" / "sros2" / "policy.xml"
BUNDLE = ROOT / "bundles" / "default"

# Made only under circumstances that no process here is in: time from /clock, a camera that compresses; and the later
# steps of `ask enable`, when a robot has taken the first ones.
RARE = {
    "ask": {("request", "go2_bridge/release"), ("subscribe", "safety_status"), ("subscribe", "shadow/safety_status")},
    "sim_dog": {("publish", "clock")},
    "world_model": {("subscribe", "camera/image_raw/compressed")},
}
COMMANDS = {"joint_commands", "lowcmd", "api/sport/request", "cmd_vel", "forward_position_controller/commands",
            "joint_trajectory_controller/joint_trajectory"}  # fmt: skip
REQUESTS = ("stand", "walk", "stop", "sit", "damp", "recover", "enable", "give_back")
ROBOTS = {"low_command": "go2"}  # whose file names its motors; the simulated robot has what the other outputs need


def variants(node: str, folder: Path) -> list[list[str]]:
    """Command lines that make everything a node may make between them."""
    outputs = [["-p", f"output:={kind}", "-p", f"robot:={ROBOTS.get(kind, 'go2_sim')}"] for kind in SPECS]
    found = {
        "joint_command": [["joint_command_node", "--ros-args", *output] for output in outputs],
        "command_watchdog": [["command_watchdog_node", "--ros-args", *output] for output in outputs],
        "world_model": [["world_model_node", "--ros-args", "-p", f"bundle:={BUNDLE}"]],
        "go2_bridge": [["unitree.bridge_node", "--ros-args", "-p", "robot:=go2"]],
        "go2_camera": [["unitree.camera_node", "--ros-args", "-p", "robot:=go2"]],
        "preflight": [["preflight", "--robot", "go2_sim", "--bundle", str(BUNDLE), "--ros-args"]],
        "robot_description": [["robot_description_node", "--ros-args", "-p", "robot:=go2_sim"]],
        "sim_dog": [["sim_dog_node", "--ros-args"]],
        "recorder": [["recorder_node", "--ros-args", "-p", f"output:={folder / 'bag'}"]],
        "ask": [["ask", request, "--wait", "60"] for request in REQUESTS],
        "reach": [["reach", "west", "--wait", "60"]],
    }
    return found[node]


def start(rig: Rig, folder: Path, arguments: list[str], space: str, name: str = "") -> None:
    module, *rest = arguments
    rest += ["-r", f"__ns:=/{space}"] if "--ros-args" in rest else ["--namespace", f"/{space}"]
    with (folder / f"{name or space}.log").open("w") as log:
        command = [sys.executable, "-m", f"jepa_ros_nodes.{module}", *rest]
        rig.processes[name or space] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def made(rig: Rig, node: str, spaces: list[str]) -> Rights:
    """What the nodes of a name have made between them, each seen from its own namespace."""
    there = set(rig.probe.get_node_names_and_namespaces())
    found = [(used(rig.probe, node, f"/{space}"), f"/{space}/") for space in spaces if (node, f"/{space}") in there]
    return {(verb, name.removeprefix(space).lstrip("/")) for rights, space in found for verb, name in rights}


@pytest.fixture(scope="module")
def policy() -> dict[str, Rights]:
    return {node: {(verb, name.lstrip("/")) for verb, name in rights} for node, rights in allowed(POLICY).items()}


FOREIGN = {"robot_state_publisher"}  # ROS's own, which is not installed where this is tested


@pytest.mark.dds
@pytest.mark.parametrize("node", sorted(set(allowed(POLICY)) - FOREIGN))
def test_a_node_makes_what_it_may_and_nothing_else(rig, tmp_path, policy, node):
    """All its variants run at once, in a namespace each."""
    lines = variants(node, tmp_path)
    spaces = [f"variant{number}" for number in range(len(lines))]
    for line, space in zip(lines, spaces, strict=True):
        start(rig, tmp_path, line, space)
    if node == "reach":  # it listens once somebody takes its goal
        start(rig, tmp_path, variants("world_model", tmp_path)[0], spaces[0], "beside")
    shadowed = {right for right in policy[node] if right[1].startswith("shadow/")}  # a test of their own, below
    needed = policy[node] - RARE.get(node, set()) - {("subscribe", "clock")} - shadowed
    rig.until(lambda: made(rig, node, spaces) >= needed, 120.0)
    rig.spin(2.0)  # for what comes last
    found = made(rig, node, spaces)
    logs = "\n".join(rig.log(space)[-500:] for space in spaces)
    assert found - policy[node] == set(), f"config/sros2/policy.xml does not allow {node} this\n{logs}"
    assert needed - found == set(), f"config/sros2/policy.xml allows {node} what it never makes\n{logs}"


def test_only_two_nodes_may_command_a_robot(policy):
    for command in COMMANDS:
        may = {node for node, rights in policy.items() if ("publish", command) in rights}
        # go2_bridge takes the robot out of the vendor's mode by a request, and that is on the sport topic too.
        assert may - {"go2_bridge" if command == "api/sport/request" else ""} == {"joint_command", "command_watchdog"}


def test_every_output_of_the_package_is_among_them(policy):
    for kind in SPECS:
        topic = load_robot(ROBOTS.get(kind, "go2_sim")).with_output(kind).output.command_topic
        assert topic in COMMANDS
        assert ("publish", topic) in policy["joint_command"]


def test_every_node_has_an_enclave(policy):
    """But the player's: a replay stays on one machine, in a namespace of its own."""
    scripts = re.findall(r'"(\w+) = jepa_ros_nodes[\w.]*:main"', (ROOT / "setup.py").read_text())
    assert set(scripts) - {"player"} <= set(policy), "config/sros2/policy.xml lacks a node"
    assert set(policy) <= {*scripts, "ask", "reach", *FOREIGN}


# Not run by robot.launch.py, which makes the shadows, or without its remappings.
UNSHADOWED = {"sim_dog", "preflight", "reach", "ask", "robot_description", "robot_state_publisher"}


def test_a_dry_run_s_shadows_are_allowed_to_whom_the_topics_are(policy):
    """Every output's remappings, as the launch gives them to its nodes: what is started is a dry run by default."""
    shadow: dict[str, str] = {}
    for kind in SPECS:
        shadow |= shadows(load_robot(ROBOTS.get(kind, "go2_sim")).with_output(kind))
    for node in set(policy) - UNSHADOWED:
        whole = {(verb, name) for verb, name in policy[node] if not name.startswith("shadow/")}
        wanted = {(verb, shadow[name]) for verb, name in whole if name in shadow and verb in ("publish", "subscribe")}
        assert {right for right in policy[node] if right[1].startswith("shadow/")} == wanted, node
    assert ("publish", "shadow/lowcmd") in policy["command_watchdog"]
    assert ("publish", "shadow/api/motion_switcher/request") in policy["go2_bridge"]


def test_ros_s_own_description_may_what_ours_may(policy):
    assert policy["robot_state_publisher"] == {
        (verb, name.replace("robot_description/", "robot_state_publisher/"))
        for verb, name in policy["robot_description"]
    }


def test_nobody_may_more_than_a_name_says(policy):
    for node, rights in policy.items():
        for _, name in rights:
            assert re.fullmatch(r"[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*", name), f"{node}: {name}: no wildcards"
