"""Stand-in for ROS 2's `launch_ros`: nodes with parameters, remappings and namespaces."""

from launch_ros import actions, parameter_descriptions, substitutions

__all__ = ["actions", "parameter_descriptions", "substitutions"]
