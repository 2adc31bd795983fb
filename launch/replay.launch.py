"""A recording through the nodes that run the robot. What they command goes to shadow topics and never to a robot.

All of it has a namespace of its own: a live joint_command in the same domain must not take a replayed plan for one of
its own, nor anybody a replayed joint state.

ros2 launch jepa_ros replay.launch.py bag:=PATH            (jepa-launch where ROS's launch is not installed)

rate:=0 plays in lock-step, so that two replays plan alike bit for bit. With bag:="" namespace:="" nothing is played
here: start `ros2 bag play --clock` yourself, where no robot listens.
"""

from typing import Any

from launch.actions import DeclareLaunchArgument, GroupAction, RegisterEventHandler, Shutdown
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, NotEqualsSubstitution, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from jepa_ros_nodes.launch_actions import DISCOVERY, enclave, security
from launch import LaunchDescription

SHARE = FindPackageShare("jepa_ros")

ARGUMENTS = [
    DeclareLaunchArgument(
        "bag", description="rosbag2 folder, or an .mcap, .db3 or ROS 1 .bag file; empty plays nothing"
    ),
    DeclareLaunchArgument(
        "bundle",
        default_value=PathJoinSubstitution([SHARE, "bundles", "default"]),
        description="folder of the world model's bundle",
    ),
    DeclareLaunchArgument(
        "trusted_keys",
        default_value="",
        description="public key files, commas between, one of which must have signed the bundle; empty: as params_file",
    ),
    DeclareLaunchArgument("robot", default_value="go2", description="name of a shipped robot, or path of a robot YAML"),
    DeclareLaunchArgument("rate", default_value="1.0", description="bag seconds a second; 0 plays in lock-step"),
    DeclareLaunchArgument(
        "goal",
        default_value="",
        description="name in the bundle, image, BAG@12.5s; empty: the bag's, else its last frame",
    ),
    DeclareLaunchArgument(
        "remaps", default_value="", description="usual:=in_the_bag with spaces between, for bags with other topic names"
    ),
    DeclareLaunchArgument("out", default_value="", description="folder of the report; empty: replays/<bag>"),
    DeclareLaunchArgument(
        "namespace", default_value="replay", description="namespace of every node; empty is for `ros2 bag play` only"
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([SHARE, "config", "sim.yaml"]),
        description="parameters of the nodes",
    ),
    DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error"),
]
SHADOWS = [(name, f"shadow/{name}") for name in ("joint_commands", "applied_action", "safety_status")]


def text(argument: str) -> ParameterValue:
    """An argument that is text whatever it looks like: an empty one would be taken for null otherwise."""
    return ParameterValue(LaunchConfiguration(argument), value_type=str)


def trusted_keys() -> list[tuple[list[dict[str, ParameterValue]], IfCondition]]:
    """Parameters of world_model, and when they are the ones: with keys in the argument, and without."""
    argument = LaunchConfiguration("trusted_keys")
    given = {"trusted_keys": ParameterValue(["[", argument, "]"])}  # a list, as YAML reads it
    return [
        ([], IfCondition(EqualsSubstitution(argument, ""))),
        ([given], IfCondition(NotEqualsSubstitution(argument, ""))),
    ]


def generate_launch_description() -> LaunchDescription:
    params_file = LaunchConfiguration("params_file")
    lock_step = ParameterValue(EqualsSubstitution(LaunchConfiguration("rate"), "0"), value_type=bool)

    def common(name: str) -> dict[str, Any]:
        return {
            "package": "jepa_ros",
            "output": "screen",
            "ros_arguments": ["--log-level", LaunchConfiguration("log_level"), *enclave(name)],
        }

    clocked = {"use_sim_time": True}
    joint_command = LifecycleNode(
        executable="joint_command",
        name="joint_command",
        **common("joint_command"),
        namespace="",
        # Whatever the robot's file says, nobody listens but the player: what the robot was sent is not rebuilt.
        parameters=[params_file, {"robot": text("robot"), "output": "joint_targets", "lock_step": lock_step}, clocked],
        remappings=SHADOWS,
    )
    # Two of which one runs: without keys here, those that the parameter file names must not be undone.
    world_models = [
        LifecycleNode(
            executable="world_model",
            name="world_model",
            **common("world_model"),
            namespace="",
            parameters=[params_file, {"bundle": text("bundle"), "lock_step": lock_step}, clocked, *keys],
            # What the robot really did stands in the bag; the shadow's safety must not end the bag's goals.
            remappings=[("safety_status", "shadow/safety_of_nobody")],
            condition=condition,
        )
        for keys, condition in trusted_keys()
    ]
    player = Node(
        executable="player",
        name="player",
        **common("player"),
        parameters=[
            {
                "bag": text("bag"),
                "bundle": text("bundle"),
                "robot": text("robot"),
                "goal": text("goal"),
                "out": text("out"),
                "remaps": text("remaps"),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
            }
        ],
        condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("bag"), "")),
    )
    ends = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[Shutdown(reason="the player has ended")]))
    nodes = GroupAction([PushRosNamespace(LaunchConfiguration("namespace")), joint_command, *world_models, player])
    secured = security("joint_command", "world_model", "player")
    return LaunchDescription([*ARGUMENTS, *DISCOVERY, *secured, ends, nodes])
