"""The simulated dog with the nodes that run the real one.

ros2 launch jepa_ros sim.launch.py            (jepa-launch sim.launch.py where ROS's launch is not installed)
"""

from typing import Any

from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import LifecycleNode, Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue

from jepa_ros.robots import load_robot
from jepa_ros_nodes.launch_actions import (
    DISCOVERY,
    LOG_LEVEL,
    MODEL,
    RECORD,
    argument,
    common,
    params_file_argument,
    robot_argument,
    security,
    trusted_keys,
)
from jepa_ros_nodes.robot_launch import description, ends_if_refused, ends_with
from launch import LaunchDescription

ARGUMENTS = [
    *MODEL,
    robot_argument("go2_sim"),
    params_file_argument("sim.yaml"),
    RECORD,
    LOG_LEVEL,
    DeclareLaunchArgument("room", default_value="0", description="room of the simulator (its seed)"),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of every node"),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", description="take time from /clock; true when real_time_factor is not 1"
    ),
    DeclareLaunchArgument("real_time_factor", default_value="1.0", description="simulated seconds a second"),
    DeclareLaunchArgument("autostart", default_value="true", description="configure and activate the lifecycle nodes"),
    DeclareLaunchArgument(
        "headless", default_value="true", description="render off screen with EGL; false uses the screen's OpenGL"
    ),
]


def generate_launch_description() -> LaunchDescription:
    params_file = LaunchConfiguration("params_file")
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    autostart = ParameterValue(LaunchConfiguration("autostart"), value_type=bool)

    # Whatever the robot's file says, the simulator takes joint targets.
    robot = {"robot": argument("robot"), "output": "joint_targets", "use_sim_time": use_sim_time}
    sim = Node(
        executable="sim_dog",
        name="sim_dog",
        **common("sim_dog"),
        parameters=[
            params_file,
            {
                "room": ParameterValue(LaunchConfiguration("room"), value_type=int),
                "real_time_factor": ParameterValue(LaunchConfiguration("real_time_factor"), value_type=float),
            },
        ],
    )
    joint_command = LifecycleNode(
        executable="joint_command",
        name="joint_command",
        **common("joint_command"),
        namespace="",
        parameters=[params_file, robot, {"autostart": autostart}],
    )
    watchdog = Node(
        executable="command_watchdog",
        name="command_watchdog",
        parameters=[params_file, robot],
        **common("command_watchdog"),
    )
    world_models = [
        LifecycleNode(
            executable="world_model",
            name="world_model",
            **common("world_model"),
            namespace="",
            parameters=[
                params_file,
                {"bundle": argument("bundle"), "use_sim_time": use_sim_time, "autostart": autostart},
                *keys,
            ],
            condition=condition,
        )
        for keys, condition in trusted_keys()
    ]
    recorder = Node(
        executable="recorder",
        name="recorder",
        **common("recorder"),
        parameters=[{"output": argument("record"), "use_sim_time": use_sim_time}],
        condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("record"), "")),
    )
    headless = SetEnvironmentVariable(
        "MUJOCO_GL", "egl", condition=IfCondition(EqualsSubstitution(LaunchConfiguration("headless"), "true"))
    )

    def described(context: Any) -> list[Any]:
        name = LaunchConfiguration("robot").perform(context)
        return description(load_robot(name), name, common("robot_description"), use_sim_time)

    namespace = PushRosNamespace(LaunchConfiguration("namespace"))
    frames = OpaqueFunction(function=described)
    nodes = GroupAction([namespace, sim, frames, watchdog, joint_command, *world_models, recorder])
    # Without the dog there is nothing to run, and without the watchdog nothing may: joint_command stops and sits. A
    # dead planner or commander is reported, and the safety of the others takes over.
    ends = [
        *ends_with([(sim, "the simulated dog"), (watchdog, "command_watchdog")]),
        *ends_if_refused([(joint_command, "joint_command"), *((node, "world_model") for node in world_models)]),
    ]
    secured = security("sim_dog", "joint_command", "command_watchdog", "world_model", "recorder", "robot_description")
    return LaunchDescription([*ARGUMENTS, *DISCOVERY, *secured, headless, *ends, nodes])
