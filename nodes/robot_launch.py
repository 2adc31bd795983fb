"""What a robot's file means for a launch: environment, drivers, remappings, description, and what ends it.

Imported by launch files alone: nothing else has ROS's `launch` at hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from launch.actions import RegisterEventHandler, SetEnvironmentVariable, Shutdown
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from jepa_ros.robots import RobotModel
from jepa_ros.robots.description import urdf_text
from jepa_ros_nodes.robot_environment import robot_environment

Remappings = list[tuple[str, str]]

# What a robot's drivers ask of it by themselves; shadows too in a dry run.
_REQUESTS = ("api/motion_switcher/request", "api/sport/request")
_OWN = ("joint_commands", "applied_action", "safety_status")


def middleware(robot: RobotModel, rmw: str, given: Mapping[str, str]) -> list[Any]:
    """Set the environment that the robot's file asks for.

    Args:
        robot: its `middleware` block.
        rmw: another RMW than the file's; empty for the file's.
        given: the environment of the launch.

    Raises:
        RobotError: the RMW is not installed.
    """
    return [SetEnvironmentVariable(name, value) for name, value in robot_environment(robot, rmw, given).items()]


def shadows(robot: RobotModel) -> Remappings:
    """Everything that would reach the robot, moved out of its way."""
    topics = dict.fromkeys((*_OWN, robot.output.command_topic, *_REQUESTS))
    return [(topic, f"shadow/{topic.lstrip('/')}") for topic in topics]


def camera(robot: RobotModel, topic: str) -> Remappings:
    """The images' topic: the one given, else that of the robot's file; camera_info is its neighbour."""
    found = topic or (robot.camera.topic if robot.camera is not None else "")
    if found in ("", "camera/image_raw"):
        return []
    space, slash, _ = found.rpartition("/")
    compressed = ("camera/image_raw/compressed", f"{found}/compressed")
    return [("camera/image_raw", found), compressed, ("camera/camera_info", f"{space}{slash}camera_info")]


def description(
    robot: RobotModel, name: str, common: Mapping[str, Any], use_sim_time: ParameterValue | bool = False
) -> list[Any]:
    """Who publishes `robot_description` and tf: robot_state_publisher where it is installed; nobody without a URDF.

    Args:
        robot: whose.
        name: of the robot, or path of its file.
        common: arguments of `Node` that all nodes have.
        use_sim_time: their parameter.
    """
    if robot.urdf is None:
        return []
    if not _has_package("robot_state_publisher"):
        told = {"robot": ParameterValue(name, value_type=str), "use_sim_time": use_sim_time}
        return [Node(executable="robot_description", name="robot_description", parameters=[told], **common)]
    urdf = ParameterValue(urdf_text(robot), value_type=str)
    return [
        Node(
            **{**common, "package": "robot_state_publisher"},
            executable="robot_state_publisher",
            name="robot_state_publisher",
            parameters=[{"robot_description": urdf, "use_sim_time": use_sim_time}],
        )
    ]


def _has_package(name: str) -> bool:
    prefixes = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    return any((Path(prefix) / "share" / name / "package.xml").is_file() for prefix in prefixes)


def ends_with(nodes: Sequence[tuple[Any, str]]) -> list[Any]:
    """The launch ends with any of these."""
    return [
        RegisterEventHandler(OnProcessExit(target_action=node, on_exit=[Shutdown(reason=f"{name} has ended")]))
        for node, name in nodes
    ]


def ends_if_refused(nodes: Sequence[tuple[Any, str]]) -> list[Any]:
    """The launch ends when one of these ends itself with exit code 1: it could not be configured, or cannot go on.

    One that is killed is reported, and the safety of the others takes over.
    """

    def told(name: str) -> Any:
        def on_exit(event: Any, _context: Any) -> list[Any]:
            if event.returncode == 1:
                _fail(f"{name} has ended by itself: its last error says why")
            return []

        return on_exit

    return [RegisterEventHandler(OnProcessExit(target_action=node, on_exit=told(name))) for node, name in nodes]


def _fail(reason: str) -> NoReturn:
    """End the launch with exit code 1. `Shutdown` ends it with 0: what failed in a process is nothing to it."""
    raise RuntimeError(reason)


def after_preflight(preflight: Any, reasons: Path, then: Sequence[Any]) -> Any:
    """Start the rest once the check list has passed; end the launch with its reasons if it has not.

    Args:
        preflight: the process.
        reasons: the file it writes them to.
        then: what is started.
    """

    def on_exit(event: Any, _context: Any) -> list[Any]:
        if event.returncode == 0:
            return list(then)
        text = reasons.read_text().strip() if reasons.is_file() else ""
        return _fail(text or f"refused: preflight ended with exit code {event.returncode}")

    return RegisterEventHandler(OnProcessExit(target_action=preflight, on_exit=on_exit))
