"""The recorder alone, beside a robot that is running already.

ros2 launch jepa_ros record.launch.py         (jepa-launch record.launch.py where ROS's launch is not installed)
"""

from datetime import datetime

from launch.actions import DeclareLaunchArgument, GroupAction
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue

from jepa_ros_nodes.launch_actions import LOG_LEVEL, common, security
from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument(
        "output",
        default_value=f"recordings/{datetime.now():%Y-%m-%d_%H-%M-%S}",
        description="folder of the bag; must not exist yet",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of the robot's nodes"),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", description="log times from /clock; true when a simulator gives the time"
    ),
    DeclareLaunchArgument(
        "topics",
        default_value="",
        description="what to record, as '[topic:package/msg/Type, …]'; empty: what training and replay need",
    ),
    LOG_LEVEL,
]


def recorder(condition, **parameters):
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return Node(
        **common("recorder"),
        executable="recorder",
        name="recorder",
        parameters=[{"output": LaunchConfiguration("output"), "use_sim_time": use_sim_time, **parameters}],
        condition=IfCondition(condition),
    )


def generate_launch_description() -> LaunchDescription:
    topics = LaunchConfiguration("topics")
    # An empty list has no type, which a parameter must have: the recorder's own topics are had by saying nothing.
    recorders = [
        recorder(EqualsSubstitution(topics, "")),
        recorder(NotEqualsSubstitution(topics, ""), topics=topics),
    ]
    return LaunchDescription(
        [
            *ARGUMENTS,
            *security("recorder"),
            GroupAction([PushRosNamespace(LaunchConfiguration("namespace")), *recorders]),
        ]
    )
