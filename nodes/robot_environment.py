"""The environment that a robot's file asks for: the same for its launch and for an operator's terminal."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel, load_robot
from jepa_ros.robots.middleware import MiddlewareSpec, environment
from jepa_ros_nodes.fast_dds import local_environment

_ASK = "python -m jepa_ros_nodes.ask"


def robot_environment(robot: RobotModel, rmw: str, given: Mapping[str, str]) -> dict[str, str]:
    """Variables to be laid over `given`, so that a process is where the robot is.

    Args:
        robot: its `middleware` block.
        rmw: another RMW than the file's; empty for the file's.
        given: the environment of the process.

    Raises:
        RobotError: the RMW is not installed.
    """
    spec: MiddlewareSpec = robot.middleware.model_copy(update={"rmw": rmw}) if rmw else robot.middleware
    if spec.rmw and not _installed(spec.rmw):
        package = f"ros-{given.get('ROS_DISTRO', 'jazzy')}-{spec.rmw.replace('_', '-')}"
        raise RobotError(
            f"robot {robot.name}: middleware.rmw: {spec.rmw} is not installed: run `apt-get install {package}`, or "
            "give another, rmw_fastrtps_cpp for instance (rmw:=… to the launch, --rmw to ask and reach)"
        )
    folder = Path(tempfile.mkdtemp(prefix="jepa_ros_dds_")) if spec.interface else Path()
    variables = environment(spec, given, folder)
    if spec.discovery == "localhost":
        variables |= local_environment({**given, **variables})
    return variables


def _installed(rmw: str) -> bool:
    try:
        ctypes.CDLL(f"lib{rmw}.so")
    except OSError:
        return False
    return True


def enter(robot: str, rmw: str) -> None:
    """Have this process where the robot is; before `rclpy.init`, which reads the environment.

    Args:
        robot: name or path of its file; empty changes nothing.
        rmw: another RMW than the file's; empty for the file's.

    Raises:
        RobotError: no such robot, or its RMW is not installed.
    """
    if robot:
        os.environ.update(robot_environment(load_robot(robot), rmw, os.environ))
    elif rmw:
        os.environ["RMW_IMPLEMENTATION"] = rmw


def where(environment: Mapping[str, str]) -> str:
    """Where a process looks for others, for who found nobody."""
    rmw = environment.get("RMW_IMPLEMENTATION", "the default")
    return (
        f"RMW_IMPLEMENTATION ({rmw}) and ROS_DOMAIN_ID ({environment.get('ROS_DOMAIN_ID', '0')}); "
        "--robot NAME takes those of a robot's file"
    )


def ask_command(request: str, robot: str, rmw: str = "", namespace: str = "") -> str:
    """What an operator types to ask a launched robot for something."""
    options = {"--robot": robot, "--rmw": rmw, "--namespace": namespace}
    return " ".join([_ASK, request, *(f"{name} {value}" for name, value in options.items() if value)])
