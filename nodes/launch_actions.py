"""What the launch files of this package have in common: arguments, how far discovery reaches, and SROS 2.

    LaunchDescription([*MODEL, *ARGUMENTS, *DISCOVERY, *security("sim_dog", "joint_command"), …])
    Node(**common("sim_dog"), executable="sim_dog", …)

Imported by launch files alone: nothing else has ROS's `launch` at hand.
"""

from __future__ import annotations

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, NotEqualsSubstitution, PathJoinSubstitution
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from jepa_ros_nodes.fast_dds import local_environment
from jepa_ros_nodes.security import ENABLE, KEYSTORE, STRATEGY, check

SHARE = FindPackageShare("jepa_ros")

MODEL = [
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
]
LOG_LEVEL = DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error")
RECORD = DeclareLaunchArgument(
    "record", default_value="", description="folder of an MCAP recording; empty records nothing"
)


def robot_argument(default: str) -> DeclareLaunchArgument:
    """The argument `robot`."""
    return DeclareLaunchArgument(
        "robot", default_value=default, description="name of a shipped robot, or path of a robot YAML"
    )


def params_file_argument(default: str) -> DeclareLaunchArgument:
    """The argument `params_file`; `default` is a file in config/."""
    return DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([SHARE, "config", default]),
        description="parameters of the nodes",
    )


def text(value: Any) -> ParameterValue:
    """A parameter that is text whatever it looks like: a number, or nothing, would be taken for another type."""
    return ParameterValue(value, value_type=str)


def argument(name: str) -> ParameterValue:
    """A launch argument as a text parameter."""
    return text(LaunchConfiguration(name))


def trusted_keys() -> list[tuple[list[dict[str, ParameterValue]], IfCondition]]:
    """Parameters of world_model, and when they are the ones: with keys in the argument, and without.

    Two of which one holds: without keys there, those that the parameter file names must not be undone.
    """
    keys = LaunchConfiguration("trusted_keys")
    given = {"trusted_keys": ParameterValue(["[", keys, "]"])}  # a list, as YAML reads it
    return [([], IfCondition(EqualsSubstitution(keys, ""))), ([given], IfCondition(NotEqualsSubstitution(keys, "")))]


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


def common(node: str) -> dict[str, Any]:
    """What every node is started with; its enclave, where no security is asked for, is a name and nothing else."""
    enclave = ["--enclave", [LaunchConfiguration("enclave"), "/", node]]
    return {
        "package": "jepa_ros",
        "output": "screen",
        "ros_arguments": ["--log-level", LaunchConfiguration("log_level"), *enclave],
    }


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
