"""A robot: its drivers, then the check list, then the nodes. Nothing moves before an operator asks.

ros2 launch jepa_ros robot.launch.py robot:=go2 bundle:=PATH dry_run:=false        (jepa-launch without ROS's launch)

python -m jepa_ros_nodes.ask enable        (frees the motors of a robot with a gait of its own, stands, permits walking)
"""

import tempfile
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, GroupAction, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node, PushRosNamespace

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel, load_robot
from jepa_ros_nodes.launch_actions import (
    LOG_LEVEL,
    MODEL,
    RECORD,
    common,
    params_file_argument,
    robot_argument,
    security,
    text,
)
from jepa_ros_nodes.parameter_files import refuse_to_command
from jepa_ros_nodes.robot_environment import ask_command
from jepa_ros_nodes.robot_launch import (
    after_preflight,
    camera,
    description,
    ends_if_refused,
    ends_with,
    middleware,
    shadows,
)
from launch import LaunchDescription

ARGUMENTS = [
    *MODEL,
    robot_argument("go2"),
    params_file_argument("go2.yaml"),
    RECORD,
    LOG_LEVEL,
    DeclareLaunchArgument(
        "dry_run",
        default_value="true",
        choices=["true", "false"],
        description="true: all that would reach the robot goes to shadow/… topics",
    ),
    DeclareLaunchArgument(
        "output",
        default_value="",
        description="how the robot is commanded, sport for instance; empty: the robot file's",
    ),
    DeclareLaunchArgument(
        "camera_topic", default_value="", description="images of another camera; its camera_info lies beside them"
    ),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of every node"),
    DeclareLaunchArgument("rmw", default_value="", description="another RMW than the robot file's"),
]
NODES = ("preflight", "joint_command", "command_watchdog", "world_model", "recorder", "robot_description")


def setting(context: Any, name: str) -> str:
    return str(LaunchConfiguration(name).perform(context))


def drivers(context: Any, robot: RobotModel, remappings: list[tuple[str, str]]) -> list[tuple[Any, str]]:
    """The robot's drivers; not that of its camera where the images are another one's."""
    other_camera = bool(setting(context, "camera_topic"))
    return [
        (
            Node(
                **{**common(driver.executable), "package": driver.package},
                executable=driver.executable,
                name=driver.executable,
                parameters=[{"robot": text(setting(context, "robot"))}],
                remappings=remappings,
            ),
            driver.executable,
        )
        for driver in robot.drivers
        if not (driver.camera and other_camera)
    ]


def preflight(context: Any, robot: RobotModel, reasons: Path) -> Node:
    options = {
        "--robot": setting(context, "robot"),
        "--bundle": setting(context, "bundle"),
        "--output": setting(context, "output"),
        "--params-file": setting(context, "params_file"),
        "--trusted-keys": setting(context, "trusted_keys"),
        "--reasons": str(reasons),
    }
    arguments = [text for option, value in options.items() if value for text in (option, value)]
    return Node(
        **common("preflight"),
        executable="preflight",
        name="preflight",
        arguments=[*arguments, *(["--no-rmw"] if setting(context, "rmw") else [])],
        remappings=camera(robot, setting(context, "camera_topic")),
    )


def runners(context: Any, robot: RobotModel, remappings: list[tuple[str, str]]) -> list[Any]:
    """The nodes that may move the robot, and what ends the launch."""
    params_file, dry_run = setting(context, "params_file"), setting(context, "dry_run") == "true"
    told = {name: text(setting(context, name)) for name in ("robot", "output")}
    joint_command = LifecycleNode(
        **common("joint_command"),
        executable="joint_command",
        name="joint_command",
        namespace="",
        # Whatever the parameter file says: an operator alone stands a robot up.
        parameters=[params_file, {**told, "dry_run": dry_run, "auto_stand": False, "auto_walk": False}],
        remappings=remappings,
    )
    watchdog = Node(
        **common("command_watchdog"),
        executable="command_watchdog",
        name="command_watchdog",
        parameters=[params_file, told],
        remappings=remappings,
    )
    bundle: dict[str, Any] = {"bundle": text(setting(context, "bundle"))}
    if keys := setting(context, "trusted_keys"):
        bundle["trusted_keys"] = keys.split(",")
    world_model = LifecycleNode(
        **common("world_model"),
        executable="world_model",
        name="world_model",
        namespace="",
        parameters=[params_file, bundle],
        remappings=[*remappings, *camera(robot, setting(context, "camera_topic"))],
    )
    ends = [
        *ends_with([(watchdog, "command_watchdog")]),
        *ends_if_refused([(joint_command, "joint_command"), (world_model, "world_model")]),
    ]
    namespace = PushRosNamespace(LaunchConfiguration("namespace"))
    told_so = "dry run: commands go to shadow/…" if dry_run else f"commands go to {robot.output.command_topic}"
    operator = ask_command("enable", *(setting(context, name) for name in ("robot", "rmw", "namespace")))
    return [
        LogInfo(msg=told_so),
        LogInfo(msg=f"the operator's next: {operator}"),
        *ends,
        GroupAction([namespace, watchdog, joint_command, world_model]),
    ]


def recorder(context: Any, remappings: list[tuple[str, str]]) -> list[Node]:
    folder = setting(context, "record")
    if not folder:
        return []
    parameters = [{"output": text(folder)}]
    return [
        Node(**common("recorder"), executable="recorder", name="recorder", parameters=parameters, remappings=remappings)
    ]


def robot_nodes(context: Any) -> list[Any]:
    """Everything that goes by the robot's file."""
    name = setting(context, "robot")
    robot = load_robot(name).with_output(setting(context, "output"))
    refuse_to_command(Path(setting(context, "params_file")))
    if setting(context, "namespace").strip("/") and robot.drivers:
        raise RobotError(
            f"robot {robot.name}: namespace: the names of its firmware's topics stand at the root, and its drivers "
            "would look for them in the namespace: leave it out, and give a second robot a ROS_DOMAIN_ID of its own"
        )
    remappings = shadows(robot) if setting(context, "dry_run") == "true" else []
    reasons = Path(tempfile.mkdtemp(prefix="jepa_ros_preflight_")) / "reasons.txt"
    check = preflight(context, robot, reasons)
    started = drivers(context, robot, remappings)
    always = [*(node for node, _ in started), *description(robot, name, common("robot_description"))]
    return [
        *middleware(robot, setting(context, "rmw"), context.environment),
        after_preflight(check, reasons, runners(context, robot, remappings)),
        *ends_with(started),
        GroupAction(
            [PushRosNamespace(LaunchConfiguration("namespace")), *always, *recorder(context, remappings), check]
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, *security(*NODES), OpaqueFunction(function=robot_nodes)])
