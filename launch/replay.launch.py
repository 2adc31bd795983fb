"""A recording through the nodes that run the robot. What they command goes to shadow topics and never to a robot.

All of it has a namespace of its own: a live joint_command in the same domain must not take a replayed plan for one of
its own, nor anybody a replayed joint state.

ros2 launch jepa_ros replay.launch.py bag:=PATH            (jepa-launch where ROS's launch is not installed)

rate:=0 plays in lock-step, so that two replays plan alike bit for bit. With bag:="" namespace:="" nothing is played
here: start `ros2 bag play --clock` yourself, where no robot listens.
"""

from launch.actions import DeclareLaunchArgument, GroupAction, RegisterEventHandler, Shutdown
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import LifecycleNode, Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue

from jepa_ros_nodes.launch_actions import (
    DISCOVERY,
    LOG_LEVEL,
    MODEL,
    argument,
    common,
    params_file_argument,
    robot_argument,
    security,
    trusted_keys,
)
from launch import LaunchDescription

ARGUMENTS = [
    *MODEL,
    robot_argument("go2"),
    params_file_argument("sim.yaml"),
    LOG_LEVEL,
    DeclareLaunchArgument(
        "bag", description="rosbag2 folder, or an .mcap, .db3 or ROS 1 .bag file; empty plays nothing"
    ),
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
]
SHADOWS = [(name, f"shadow/{name}") for name in ("joint_commands", "applied_action", "safety_status")]


def generate_launch_description() -> LaunchDescription:
    params_file = LaunchConfiguration("params_file")
    lock_step = ParameterValue(EqualsSubstitution(LaunchConfiguration("rate"), "0"), value_type=bool)

    clocked = {"use_sim_time": True}
    joint_command = LifecycleNode(
        executable="joint_command",
        name="joint_command",
        **common("joint_command"),
        namespace="",
        # Whatever the robot's file says, nobody listens but the player: what the robot was sent is not rebuilt.
        parameters=[
            params_file,
            {"robot": argument("robot"), "output": "joint_targets", "lock_step": lock_step},
            clocked,
        ],
        remappings=SHADOWS,
    )
    world_models = [
        LifecycleNode(
            executable="world_model",
            name="world_model",
            **common("world_model"),
            namespace="",
            parameters=[params_file, {"bundle": argument("bundle"), "lock_step": lock_step}, clocked, *keys],
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
                "bag": argument("bag"),
                "bundle": argument("bundle"),
                "robot": argument("robot"),
                "goal": argument("goal"),
                "out": argument("out"),
                "remaps": argument("remaps"),
                "trusted_keys": ParameterValue(["['", LaunchConfiguration("trusted_keys"), "']"]),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
            }
        ],
        condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("bag"), "")),
    )
    ends = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[Shutdown(reason="the player has ended")]))
    nodes = GroupAction([PushRosNamespace(LaunchConfiguration("namespace")), joint_command, *world_models, player])
    secured = security("joint_command", "world_model", "player")
    return LaunchDescription([*ARGUMENTS, *DISCOVERY, *secured, ends, nodes])
