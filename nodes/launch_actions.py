"""What the launch files of this package have in common: how far discovery reaches, and SROS 2.

    LaunchDescription([*ARGUMENTS, *DISCOVERY, *security("sim_dog", "joint_command"), …])
    Node(name="sim_dog", ros_arguments=[…, *enclave("sim_dog")], …)

Imported by launch files alone: nothing else has ROS's `launch` at hand.
"""

from __future__ import annotations

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, NotEqualsSubstitution

from jepa_ros_nodes.launching import local_environment
from jepa_ros_nodes.security import ENABLE, KEYSTORE, STRATEGY, check


def _stay_here(context: Any) -> list[Any]:
    return [SetEnvironmentVariable(name, value) for name, value in local_environment(context.environment).items()]


DISCOVERY = [
    DeclareLaunchArgument(
        "discovery",
        default_value="localhost",
        choices=["localhost", "subnet"],
        description="who finds the nodes: localhost, this machine alone; subnet, whom the environment allows",
    ),
    OpaqueFunction(
        function=_stay_here, condition=IfCondition(EqualsSubstitution(LaunchConfiguration("discovery"), "localhost"))
    ),
]
"""For launches without a robot; one with a robot goes by its file's `middleware`."""

_SECURITY_ARGUMENTS = [
    DeclareLaunchArgument(
        "keystore",
        default_value="",
        description="SROS 2 keystore: nodes without keys in it do not start; empty: as the environment says",
    ),
    DeclareLaunchArgument(
        "enclave", default_value="/jepa_ros", description="where in the keystore each node has an enclave of its name"
    ),
]


def enclave(node: str) -> list[Any]:
    """The ROS arguments that put a node into its enclave; without security it is a name and nothing else."""
    return ["--enclave", [LaunchConfiguration("enclave"), "/", node]]


def security(*nodes: str) -> list[Any]:
    """The arguments `keystore` and `enclave`, and what they ask for: checked here once, before anything starts.

    Args:
        nodes: names of all that the launch may start.
    """
    keystore = LaunchConfiguration("keystore")
    given = IfCondition(NotEqualsSubstitution(keystore, ""))
    variables = {ENABLE: "true", STRATEGY: "Enforce", KEYSTORE: keystore}

    def look(context: Any) -> None:
        root = LaunchConfiguration("enclave").perform(context)
        for node in nodes:
            check(context.environment, ["--enclave", f"{root}/{node}"])

    return [
        *_SECURITY_ARGUMENTS,
        *(SetEnvironmentVariable(name, value, condition=given) for name, value in variables.items()),
        OpaqueFunction(function=look),
    ]
